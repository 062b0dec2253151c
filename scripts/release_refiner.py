"""Make a base refiner of a trained one: model_0.pt in half precision, with its config.yaml beside it.

python -m scripts.release_refiner -m logs/44k/diffusion/model_24000.pt -o pretrain/embedded/refiner
"""

import argparse
import logging
from dataclasses import asdict
from pathlib import Path

import yaml

from common import checkpoint
from common.diffusion_config import DataSection, EnvSection
from common.formats import write_text
from common.logs import run_script, setup_logging
from diffusion.loading import build_unit2mel, load_state, read_diffusion_config

logger = logging.getLogger("release_refiner")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True, help="model_<step>.pt, with its config.yaml")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the base refiner")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    try:
        config = read_diffusion_config(args.model.with_name("config.yaml"))
        state, _ = checkpoint.read_model(args.model, only=())
        load_state(build_unit2mel(config), state, where=args.model)  # what is handed on can be loaded
        target = args.output / "model_0.pt"
        checkpoint.save(target, {"global_step": 0, "model": checkpoint.halved(state, where=args.model)})
        sections = config.as_dict()
        # Places on the machine that trained it say nothing elsewhere.
        sections["data"] |= {key: getattr(DataSection, key) for key in ("training_files", "validation_files")}
        sections["env"] = asdict(EnvSection())
        write_text(args.output / "config.yaml", yaml.safe_dump(sections, sort_keys=False))
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    logger.info("%s: %.1f MB", target, target.stat().st_size / 1e6)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
