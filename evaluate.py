"""Compare conversions by numbers, or find the checkpoint to keep.

python evaluate.py --sources raw/song.flac --conversions results/song_*.flac --targets dataset_raw/alice
python evaluate.py --checkpoints 'logs/44k/G_*.pth' --sources raw/song.flac -s alice --targets dataset_raw/alice

Prints a table; evaluation.json and evaluation.html (pictures, players) go to --out.
"""

import argparse
import logging
from pathlib import Path

from common.logs import run_script, setup_logging
from modules.f0 import F0_PREDICTORS

logger = logging.getLogger("evaluate")

# What only one of the two ways reads.
OF_CONVERSIONS, OF_CHECKPOINTS = ("in_order",), ("config_path", "spk_list", "f0_predictor", "device")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--sources", "--songs", nargs="+", required=True, help="songs: files, folders, patterns; also names in raw/")
    add("--conversions", nargs="+", help="what was made of them, named as inference_main.py does; also in results/")
    add("--in_order", action="store_true", help="the first conversion is of the first song, whatever their names")
    add("--targets", nargs="+", type=Path, default=[], help="folders of recordings of the target speakers")
    add("--references", type=Path, help="folder of recordings of the target singing the songs, of the same names")
    add("--no_warp", action="store_true", help="--references keep time with the songs: compare without aligning them")
    add("--transcripts", help='file of lines "song<TAB>English text"; "source": what is recognised in the song')
    add("-t", "--trans", type=float, help="semitones; default: as the names say; with --checkpoints 0")
    add("--measure_f0", choices=list(F0_PREDICTORS), default="auto", help="who hears the melodies (default: auto)")
    add("--out", type=Path, default=Path("evaluation"), help="folder for the results (default: evaluation)")
    add("--embed_audio", action="store_true", help="put the audio into the page, so that it can be sent around")
    add("--checkpoints", nargs="+", help="models that sing the songs and are ranked: files, patterns")
    add("-c", "--config_path", type=Path, help="their config (default: config.json beside each)")
    add("-s", "--spk_list", nargs="+", default=[], help="with --checkpoints: speakers (default: all of the model)")
    add("-f0p", "--f0_predictor", choices=list(F0_PREDICTORS), default="pm", help="of the conversions (default: pm)")
    add("-d", "--device", help="of the conversions: cpu, cuda, cuda:N or mps; chosen automatically when absent")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    if (args.conversions is None) == (args.checkpoints is None):
        logger.error("give either --conversions, to measure them, or --checkpoints, to make them and rank the models")
        return 1
    others = OF_CONVERSIONS if args.checkpoints else OF_CHECKPOINTS
    defaults = parse_args(["--sources", "-"])
    if idle := [f"--{name}" for name in others if getattr(args, name) != getattr(defaults, name)]:
        logger.warning("without effect here: %s", ", ".join(idle))
    from pipeline.checkpoint_ranking import CheckpointOptions, evaluate_checkpoints  # after --help: brings torch
    from pipeline.evaluation import EvaluationOptions, evaluate_files
    from pipeline.evaluation_page import write_report
    from pipeline.evaluation_table import as_text

    try:
        options = EvaluationOptions(
            tuple(args.targets), args.references, args.transcripts, not args.no_warp, args.measure_f0
        )
        if args.checkpoints:
            models = CheckpointOptions(
                args.checkpoints,
                args.config_path,
                args.sources,
                args.spk_list,
                args.trans or 0.0,
                args.f0_predictor,
                args.out,
                args.device,
            )
            evaluation = evaluate_checkpoints(models, options)
        else:
            evaluation = evaluate_files(
                args.sources, args.conversions, options, transpose=args.trans, in_order=args.in_order
            )
        print(as_text(evaluation))  # noqa: T201  the product, before anything can fail to be written
        written = write_report(args.out, evaluation, options, embed_audio=args.embed_audio)
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    for path in written:
        logger.info("written: %s", path)
    for item, problem in evaluation.failed:
        logger.error("%s: %s", item, problem)
    return 1 if evaluation.failed else 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
