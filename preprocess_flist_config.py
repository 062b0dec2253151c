"""Write filelists/*.txt, configs/config.json and configs/diffusion.yaml for the clips under --source_dir (step 2)."""

import argparse
import logging
from pathlib import Path

from common.logs import run_script, setup_logging
from pipeline.filelists import PRESETS, FilelistReport, make_filelists
from vencoder import SPEECH_ENCODERS

logger = logging.getLogger("preprocess_flist_config")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--train_list", type=Path, default=Path("./filelists/train.txt"), help="list to write")
    parser.add_argument("--val_list", type=Path, default=Path("./filelists/val.txt"), help="list to write")
    parser.add_argument("--config_dir", type=Path, default=Path("configs"), help="where the configs go")
    parser.add_argument("--source_dir", default="./dataset/44k", help="one folder of 44.1 kHz wav files per speaker")
    parser.add_argument(
        "--speech_encoder",
        choices=SPEECH_ENCODERS,
        default=argparse.SUPPRESS,
        help="content encoder (default: vec768l12, or the preset's own)",
    )
    parser.add_argument("--vol_aug", action="store_true", help="loudness embedding and loudness augmentation")
    parser.add_argument("--tiny", action="store_true", help="the same as --preset tiny")
    parser.add_argument("--preset", choices=PRESETS, default="default", help="template of configs_template/ to fill in")
    parser.add_argument("--seed", type=int, default=1234, help="of the split in training and validation clips")
    args = parser.parse_args(argv)
    if args.tiny:
        if args.preset not in ("default", "tiny"):
            parser.error(f"--tiny and --preset {args.preset} exclude one another")
        args.preset = "tiny"
    if "speech_encoder" not in args:
        args.speech_encoder = PRESETS[args.preset].speech_encoder
    return args


def show(report: FilelistReport) -> None:
    """Log what was left out and why, the speakers, and the files written."""
    for line in report.notices:
        logger.info("%s", line)
    for line in report.warnings:
        logger.warning("%s", line)
    for line in report.failed:
        logger.error("%s", line)
    for i, speaker in enumerate(report.speakers):
        n_train, n_val = len(speaker.train), len(speaker.val)
        logger.info("speaker %d %s: %d clips for training, %d for validation", i, speaker.name, n_train, n_val)
    logger.info("written: %s", ", ".join(path.as_posix() for path in report.written))


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    try:
        report = make_filelists(
            args.source_dir,
            train_list=args.train_list,
            val_list=args.val_list,
            config_dir=args.config_dir,
            preset=args.preset,
            speech_encoder=args.speech_encoder,
            vol_aug=args.vol_aug,
            seed=args.seed,
        )
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 1
    show(report)
    return 1 if report.failed else 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
