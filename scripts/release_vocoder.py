"""Make a vocoder to hand on: model.ckpt in half precision, with its config.json beside it.

python -m scripts.release_vocoder -m logs/44k/vocoder/model_8000.ckpt -o pretrain/embedded/vocoder
"""

import argparse
import logging
from pathlib import Path

from common import checkpoint
from common.formats import write_json
from common.logs import run_script, setup_logging
from vdecoder.vocoder import build_generator, load_generator, read_vocoder_config

logger = logging.getLogger("release_vocoder")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True, help="model_<step>.ckpt, with its config.json")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the vocoder")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    try:
        config = read_vocoder_config(args.model)
        generator = build_generator(config)
        load_generator(generator, args.model)
        half = checkpoint.halved(generator.state_dict(), where=args.model)
        target = args.output / "model.ckpt"
        checkpoint.save(target, {"generator": half})
        write_json(args.output / "config.json", config, indent=2)
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    logger.info("%s: %.1f MB", target, target.stat().st_size / 1e6)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
