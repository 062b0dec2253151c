"""Convert songs into the voice of a trained model (step 5 of the README).

python inference_main.py -m logs/44k/G_10000.pth -c logs/44k/config.json -n song -s alice -t 0
Results go to results/<song>_<transposition>key_<speaker>_sovits_<f0 predictor>.flac

To see and change the melody: --f0_export song.csv, edit the file, --f0_import song.csv
To refine the sound: -shd -dm logs/44k/diffusion/model_10000.pt -dc logs/44k/diffusion/config.yaml
"""

import argparse
import logging
from dataclasses import fields
from pathlib import Path

from common.logs import run_script, setup_logging
from pipeline.inference_arguments import make_parser
from spkmix import spk_mix_map

logger = logging.getLogger("inference_main")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return make_parser(__doc__).parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    from pipeline.batch_conversion import BatchOptions, convert_songs, export_melodies  # after --help: brings torch
    from pipeline.conversion import Converter
    from pipeline.conversion_options import ConversionOptions
    from pipeline.conversion_tools import ToolFiles
    from pipeline.model_loading import read_voice

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
            speaker_mix=args.spk_mix or (spk_mix_map if args.use_spk_mix else None),
        )
        if args.f0_only:
            voice = read_voice(args.diffusion_config_path if args.only_diffusion else args.config_path)
            report = export_melodies(voice, batch, options, device=args.device)
        else:
            files = ToolFiles(
                args.diffusion_model_path,
                args.diffusion_config_path,
                cluster_model=Path(args.cluster_model_path) if args.cluster_model_path else None,
                vocoder=args.vocoder,
            )
            model = (None, None) if args.only_diffusion else (args.model_path, args.config_path)
            report = convert_songs(Converter(*model, device=args.device, files=files), batch, options)
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
