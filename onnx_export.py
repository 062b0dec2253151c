"""Export checkpoints/<project>/{model.pth,config.json} to ONNX. Not available yet."""

import argparse

from common.logs import run_script
from common.unavailable import refuse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("-n", metavar="PROJECT", help="folder under checkpoints/")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    parse_args(argv)
    return refuse("ONNX export", instead="Convert with inference_main.py, or pipeline.conversion.Converter in Python")


if __name__ == "__main__":
    raise SystemExit(run_script(main))
