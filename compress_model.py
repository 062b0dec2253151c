"""Reduce a G_<step>.pth to what conversion needs: a quarter of its size, an eighth with -hf.

python compress_model.py -c configs/config.json -i logs/44k/G_800.pth -o logs/44k/release.pth
"""

import argparse
import logging
from pathlib import Path

from common.logs import run_script, setup_logging

logger = logging.getLogger("compress_model")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        *("-c", "--config"),
        type=Path,
        default=Path("configs/config.json"),
        help="of the model; it is put inside; default: configs/config.json",
    )
    parser.add_argument("-i", "--input", type=Path, required=True, help="checkpoint to read")
    parser.add_argument("-o", "--output", type=Path, help="file to write; default: <input>_release.pth")
    parser.add_argument("-hf", "--half", action="store_true", help="store half-precision numbers")
    parser.add_argument(
        "--format", choices=["pth", "safetensors"], help="default: safetensors where -o ends so, otherwise pth"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    from pipeline.releases import compress  # after --help: torch takes seconds to import

    safetensors = None if args.format is None else args.format == "safetensors"
    try:
        compress(args.input, args.output, args.config, half=args.half, safetensors=safetensors)
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
