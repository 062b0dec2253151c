"""Cluster the units of each speaker (-cm and -cr of inference_main.py). Not available yet."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as python cluster/train_cluster.py

from common.logs import run_script  # noqa: E402
from common.unavailable import refuse  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=Path("./dataset/44k"), help="one folder per speaker")
    parser.add_argument("--output", type=Path, default=Path("logs/44k"), help="where kmeans_10000.pt goes")
    parser.add_argument("--gpu", action="store_true", help="cluster on the GPU")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    parse_args(argv)
    return refuse("clustering", instead="Convert with -cr 0, which is the default")


if __name__ == "__main__":
    raise SystemExit(run_script(main))
