"""Build the feature index for retrieval (-fr of inference_main.py). Not available yet."""

import argparse
from pathlib import Path

from common.logs import run_script
from common.unavailable import refuse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("-c", "--config", type=Path, default=Path("configs/config.json"), help="of the model")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    parse_args(argv)
    return refuse("feature retrieval", instead="Convert without -fr and with -cr 0, which is the default")


if __name__ == "__main__":
    raise SystemExit(run_script(main))
