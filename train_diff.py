"""Train the shallow diffusion model that refines conversions. Not available yet."""

import argparse
from pathlib import Path

from common.logs import run_script
from common.unavailable import refuse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("-c", "--config", type=Path, default=Path("configs/diffusion.yaml"), help="its settings")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    parse_args(argv)
    return refuse("training of shallow diffusion", instead="Conversion does not need it: train with train.py alone")


if __name__ == "__main__":
    raise SystemExit(run_script(main))
