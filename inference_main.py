"""Convert songs into the voice of a trained model (step 5 of the README).

python inference_main.py -m logs/44k/G_10000.pth -c logs/44k/config.json -n song -s alice -t 0
Results go to results/<song>_<transposition>key_<speaker>_sovits_<f0 predictor>.flac

To see and change the melody: --f0_export song.csv, edit the file, --f0_import song.csv
"""

import argparse
import logging
from dataclasses import fields

from common.logs import run_script, setup_logging
from common.unavailable import refuse, set_by_user
from pipeline.inference_arguments import LATER, ONLY_WITH_LATER, make_parser

logger = logging.getLogger("inference_main")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return make_parser(__doc__).parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if later := set_by_user(args, parse_args([]), LATER):
        return refuse(*later, instead="Convert without")
    setup_logging()
    if idle := set_by_user(args, parse_args([]), ONLY_WITH_LATER):
        logger.warning("without effect, as what reads it is not available yet: %s", ", ".join(idle))
    from pipeline.batch_conversion import BatchOptions, convert_songs, export_melodies  # after --help: brings torch
    from pipeline.conversion import ConversionOptions, Converter

    try:
        known = {field.name for field in fields(ConversionOptions)}
        options = ConversionOptions(**{name: value for name, value in vars(args).items() if name in known})
        batch = BatchOptions(
            args.clean_names,
            args.spk_list,
            args.trans,
            args.in_dir,
            args.out_dir,
            wav_format=args.wav_format,
            f0_export=args.f0_export,
            f0_import=args.f0_import,
        )
        if args.f0_only:
            report = export_melodies(args.config_path, batch, options, device=args.device)
        else:
            report = convert_songs(Converter(args.model_path, args.config_path, device=args.device), batch, options)
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    for path in report.done:
        logger.info("written: %s", path)
    for name, problem in report.failed:
        logger.error("%s: %s", name, problem)
    return 1 if report.failed else 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
