"""Make a base pair of a trained model: G_0.pth and D_0.pth in half precision, without the optimizer.

python -m scripts.make_base -m logs/44k/G_4000.pth -o pretrain/embedded/small
"""

import argparse
import logging
from pathlib import Path

from common import checkpoint
from common.logs import run_script, setup_logging

logger = logging.getLogger("make_base")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True, help="G_<step>.pth, with its D_<step>.pth beside it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the base pair")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    step = int(args.model.stem.removeprefix("G_"))
    trained, base = checkpoint.pair_at(args.model.parent, step), checkpoint.pair_at(args.output, 0)
    try:
        for source, target in ((trained.generator, base.generator), (trained.discriminator, base.discriminator)):
            state, extra = checkpoint.read_model(source)
            half = checkpoint.halved(state, where=source)
            content = {"model": half, "iteration": 0, "optimizer": None, "learning_rate": extra["learning_rate"]}
            checkpoint.save(target, content)
            logger.info("%s: %.1f MB", target, target.stat().st_size / 1e6)
    except ValueError as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
