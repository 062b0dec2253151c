"""Extract content units, f0 and volume for every wav under --in_dir (step 3 of the README).

Clips whose features are there and up to date are passed over, so that the step can be repeated at no cost.
"""

import argparse
import logging
from pathlib import Path

from common.logs import run_script, setup_logging
from modules.f0 import CONFIDENT, F0_MAX, F0_MIN, F0_PREDICTORS

logger = logging.getLogger("preprocess_hubert_f0")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("-d", "--device", help="cpu, cuda, cuda:N or mps; None: chosen automatically")
    parser.add_argument("--in_dir", type=Path, default=Path("dataset/44k"), help="one folder per speaker")
    parser.add_argument("--use_diff", action="store_true", help="also make the mels that train_diff.py needs")
    parser.add_argument("--f0_predictor", choices=list(F0_PREDICTORS), default="rmvpe", help="pitch tracker")
    parser.add_argument("--num_processes", type=int, default=1, help="clips worked on at once; 0: one per CPU core")
    parser.add_argument("-c", "--config", type=Path, default=Path("configs/config.json"), help="names the encoder")
    parser.add_argument(
        *("-dc", "--diffusion_config"),
        **{"type": Path, "default": Path("configs/diffusion.yaml"), "help": "with --use_diff: names the vocoder"},
    )
    own = "of the tracker, Hz; rmvpe, fcpe and auto have one of their own until this is set"
    parser.add_argument("--f0_min", type=float, default=F0_MIN, help=f"lower end of the range {own}")
    parser.add_argument("--f0_max", type=float, default=F0_MAX, help=f"upper end of the range {own}")
    confident = f"confidence below which {', '.join(CONFIDENT)} hear no pitch"
    parser.add_argument("-ft", "--f0_filter_threshold", type=float, default=0.05, help=confident)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    from pipeline.diffusion_settings import dataset_mel_format, read_project_config
    from pipeline.diffusion_task import how_to_get_base
    from pipeline.features import FeatureSettings
    from pipeline.preprocessing import extract_dataset
    from pipeline.settings import read_config

    try:
        config = read_config(args.config)
        settings = FeatureSettings.of(
            config,
            args.f0_predictor,
            f0_min=args.f0_min,
            f0_max=args.f0_max,
            f0_threshold=args.f0_filter_threshold,
        )
        mel_format = dataset_mel_format(args.diffusion_config, config) if args.use_diff else None
        report = extract_dataset(
            *(args.in_dir, settings), mel_format=mel_format, device=args.device, num_processes=args.num_processes
        )
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    for clip, problem in report.failed:
        logger.error("%s: %s", clip, problem)
    logger.info("%d clips extracted, %d up to date, %d failed", report.done, report.skipped, len(report.failed))
    if not report.failed:
        logger.info("next: python train.py -c %s -m 44k", args.config)
        if args.use_diff:
            advice = how_to_get_base(read_project_config(args.diffusion_config))
            logger.info("and: python train_diff.py -c %s%s", args.diffusion_config, advice and f"; {advice}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
