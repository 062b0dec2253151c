"""Merge several G_<step>.pth of one configuration into one voice. Not available yet."""

import argparse

from common.logs import run_script
from common.unavailable import refuse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    parse_args(argv)
    return refuse("mixing of models", instead="One model can hold several singers, of whom one at a time sings")


if __name__ == "__main__":
    raise SystemExit(run_script(main))
