"""Make a vocoder to hand on: model.ckpt in half precision, with its config.json beside it.

python -m scripts.release_vocoder -m logs/44k/vocoder/model_8000.ckpt -o pretrain/embedded/vocoder
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import checkpoint
from common.formats import write_json
from common.logs import run_script
from scripts import releasing
from vdecoder.vocoder import build_generator, load_generator, read_vocoder_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    return releasing.parse_args(
        argv, description=__doc__, model="model_<step>.ckpt, with its config.json", output="folder of the vocoder"
    )


def make(model: Path, output: Path) -> Iterator[Path]:
    config = read_vocoder_config(model)
    generator = build_generator(config)
    load_generator(generator, model)
    target = output / "model.ckpt"
    checkpoint.save(target, {"generator": checkpoint.halved(generator.state_dict(), where=model)})
    write_json(output / "config.json", config, indent=2)
    yield target


def main(argv: Sequence[str] | None = None) -> int:
    return releasing.release(parse_args(argv), make)


if __name__ == "__main__":
    raise SystemExit(run_script(main))
