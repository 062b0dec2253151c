"""Fine-tune the mel vocoder on your own voices (optional); run it again to go on where it stopped.

python train_vocoder.py -m 44k --base pretrain/nsf_hifigan/model
python train_vocoder.py -m 44k --init_from pretrain/embedded/small/G_0.pth
python train_vocoder.py -m 44k -c configs_template/vocoder_subtractive_template.json
"""

import argparse
import logging
from pathlib import Path

from common.logs import run_script, setup_logging

logger = logging.getLogger("train_vocoder")
TEMPLATE = Path(__file__).resolve().parent / "configs_template" / "vocoder_template.json"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        *("-c", "--config"),
        type=Path,
        default=TEMPLATE,
        help="settings; default: configs_template/vocoder_template.json, of which you may change a copy",
    )
    parser.add_argument("-m", "--model", required=True, help="name: checkpoints and logs go to logs/NAME/vocoder")
    parser.add_argument("-d", "--device", help="cpu, cuda, cuda:N or mps; chosen automatically when absent")
    parser.add_argument("--base", type=Path, help="vocoder to start from, with its config.json beside it")
    parser.add_argument("--init_from", type=Path, help="G_<step>.pth whose decoder is the start of a small vocoder")
    parser.add_argument("--max_steps", type=int, help="stop when this step is reached")
    parser.add_argument("--max_minutes", type=float, help="stop after this many minutes")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    from common.vocoder_config import load_vocoder_config  # after --help: torch takes seconds to import
    from pipeline.training import TrainingError
    from pipeline.vocoder_training import VocoderOptions, train_vocoder

    setup_logging()
    options = VocoderOptions(
        folder=Path("logs") / args.model / "vocoder",
        base=args.base,
        init_from=args.init_from,
        device=args.device,
        max_steps=args.max_steps,
        max_minutes=args.max_minutes,
    )
    try:
        config = load_vocoder_config(args.config)
        setup_logging(options.folder / "train.log")  # not before: a wrong -c leaves no folder behind
        train_vocoder(config, options)
    except (OSError, ValueError, TrainingError) as error:  # each says what is wrong and what to do
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
