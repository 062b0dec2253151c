"""Make a base pair of a trained model: G_0.pth and D_0.pth in half precision, without the optimizer.

python -m scripts.make_base -m logs/44k/G_4000.pth -o pretrain/embedded/small
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import checkpoint
from common.logs import run_script
from scripts import releasing


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    return releasing.parse_args(
        argv,
        description=__doc__,
        model="G_<step>.pth, with its D_<step>.pth beside it",
        output="folder of the base pair",
    )


def make(model: Path, output: Path) -> Iterator[Path]:
    step = model.stem.removeprefix("G_")
    if not step.isdecimal():
        raise ValueError(f"{model} is no G_<step>.pth: name one of a training run, such as logs/44k/G_4000.pth")
    trained, base = checkpoint.pair_at(model.parent, int(step)), checkpoint.pair_at(output, 0)
    for source, target in ((trained.generator, base.generator), (trained.discriminator, base.discriminator)):
        state, extra = checkpoint.read_model(source)
        half = checkpoint.halved(state, where=source)
        content = {"model": half, "iteration": 0, "optimizer": None, "learning_rate": extra["learning_rate"]}
        checkpoint.save(target, content)
        yield target


def main(argv: Sequence[str] | None = None) -> int:
    return releasing.release(parse_args(argv), make)


if __name__ == "__main__":
    raise SystemExit(run_script(main))
