"""Reduce a G_<step>.pth to what conversion needs. Not available yet."""

import argparse
from pathlib import Path

from common.logs import run_script
from common.unavailable import refuse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("-c", "--config", type=Path, default=Path("configs/config.json"), help="of the model")
    parser.add_argument("-i", "--input", type=Path, help="checkpoint to read")
    parser.add_argument("-o", "--output", type=Path, help="file to write")
    parser.add_argument("-hf", "--half", action="store_true", help="store half-precision numbers")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    parse_args(argv)
    return refuse("compression", instead="Share the G_<step>.pth and its config.json: those two are all")


if __name__ == "__main__":
    raise SystemExit(run_script(main))
