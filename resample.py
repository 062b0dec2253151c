"""Turn the recordings under --in_dir/<speaker>/ into mono 16-bit clips under --out_dir2/<speaker>/ (step 1)."""

import argparse
import logging
from pathlib import Path

from common.logs import run_script, setup_logging
from pipeline.resampling import ResampleOptions, SliceOptions, resample_dataset

logger = logging.getLogger("resample")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--sr2", type=int, default=44100, help="rate of the clips, Hz; models need 44100")
    parser.add_argument("--in_dir", type=Path, default=Path("./dataset_raw"), help="one folder per speaker")
    parser.add_argument("--out_dir2", type=Path, default=Path("./dataset/44k"), help="where the clips go")
    parser.add_argument("--num_processes", type=int, default=0, help="0 means one per CPU core")
    parser.add_argument("--skip_loudnorm", action="store_true", help="keep the loudness, else each peak becomes 0 dB")
    slicing = SliceOptions()
    parser.add_argument("--slice", action="store_true", help="cut recordings at silences, as the options below say")
    parser.add_argument("--slice_min", type=float, default=slicing.min_seconds, help="shortest clip, seconds")
    parser.add_argument("--slice_max", type=float, default=slicing.max_seconds, help="longest clip, seconds")
    parser.add_argument("--slice_interval", type=float, default=slicing.interval, help="shortest pause, seconds")
    parser.add_argument("--slice_db", type=float, default=slicing.db, help="what counts as silence, dB below the peak")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    try:
        slicing = (
            SliceOptions(args.slice_min, args.slice_max, args.slice_interval, args.slice_db) if args.slice else None
        )
        options = ResampleOptions(sample_rate=args.sr2, skip_loudnorm=args.skip_loudnorm, slicing=slicing)
        report = resample_dataset(args.in_dir, args.out_dir2, options, num_processes=args.num_processes)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 1
    for notice in report.notices:
        logger.info("%s", notice)
    print(report.table())  # noqa: T201 -- the script's product
    return 1 if report.rejected else 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
