"""Make a base refiner of a trained one: model_0.pt in half precision, with its config.yaml beside it.

python -m scripts.release_refiner -m logs/44k/diffusion/model_24000.pt -o pretrain/embedded/refiner
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from common import checkpoint
from common.diffusion_config import DataSection, EnvSection
from common.formats import write_text
from common.logs import run_script
from diffusion.loading import TIMBRES_KEY, build_unit2mel, load_state, read_diffusion_config, read_timbres
from scripts import releasing


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    return releasing.parse_args(
        argv, description=__doc__, model="model_<step>.pt, with its config.yaml", output="folder of the base refiner"
    )


def make(model: Path, output: Path) -> Iterator[Path]:
    config = read_diffusion_config(model.with_name("config.yaml"))
    state, extra = checkpoint.read_model(model, only=(TIMBRES_KEY,))
    load_state(build_unit2mel(config), state, where=model)  # what is handed on can be loaded
    target, content = output / "model_0.pt", {"global_step": 0, "model": checkpoint.halved(state, where=model)}
    if (timbres := read_timbres(extra, config, where=model)) is not None:
        content[TIMBRES_KEY] = checkpoint.halved(timbres._asdict(), where=f"{model}, {TIMBRES_KEY}")
    checkpoint.save(target, content)
    sections = config.as_dict()
    # Places on the machine that trained it say nothing elsewhere.
    sections["data"] |= {key: getattr(DataSection, key) for key in ("training_files", "validation_files")}
    sections["env"] = asdict(EnvSection())
    write_text(output / "config.yaml", yaml.safe_dump(sections, sort_keys=False))
    yield target


def main(argv: Sequence[str] | None = None) -> int:
    return releasing.release(parse_args(argv), make)


if __name__ == "__main__":
    raise SystemExit(run_script(main))
