"""Merge several models of one configuration into one voice.

python mix_models.py -c configs/config.json -m logs/44k/G_800.pth:60 logs/44k/G_1600.pth:40
"""

import argparse
import logging
from pathlib import Path

from common.logs import run_script, setup_logging

logger = logging.getLogger("mix_models")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        *("-c", "--config"),
        type=Path,
        default=Path("configs/config.json"),
        help="of all the models; default: configs/config.json",
    )
    parser.add_argument(
        *("-m", "--models"), nargs="+", required=True, metavar="MODEL:RATE", help="two or more; rates in percent"
    )
    parser.add_argument(
        "--mode",
        choices=["convex", "linear"],
        default="convex",
        help="convex: softmax of rate / 100, which makes 1 and evens out; linear: rate / 100 as it is; default: convex",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("output.pth"), help="default: output.pth")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    from pipeline.model_mixing import mix, parse_ingredient  # after --help: torch takes seconds to import

    try:
        mix([parse_ingredient(text) for text in args.models], args.output, args.config, mode=args.mode)
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
