"""What a model is worth: every speaker of it sings every song, and the results are measured.

    python -m benchmarks.base_model -m logs/44k/G_4000.pth -c logs/44k/config.json --songs raw --recordings dataset_raw

The measures are those of evaluate.py; the melody is heard by Praat's tracker, which the conversion does not use.
"""

import argparse
import tempfile
from pathlib import Path

from common.logs import setup_logging
from pipeline.checkpoint_ranking import CheckpointOptions, evaluate_checkpoints
from pipeline.evaluation import EvaluationOptions
from pipeline.evaluation_table import as_text


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True, help="G_<step>.pth")
    parser.add_argument("-c", "--config", type=Path, required=True, help="the config it was trained with")
    parser.add_argument("--songs", type=Path, required=True, help="folder of songs")
    parser.add_argument("--recordings", type=Path, required=True, help="one folder of recordings per speaker")
    parser.add_argument("--speakers", nargs="+", metavar="NAME", help="of the model; all of them when absent")
    parser.add_argument("-f0p", "--f0_predictor", default="fcpe")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    measured = EvaluationOptions((args.recordings,), f0_predictor="pm", pictures=False)
    with tempfile.TemporaryDirectory() as folder:
        models = CheckpointOptions(
            checkpoints=[str(args.model)],
            config_path=args.config,
            songs=[str(args.songs)],
            speakers=args.speakers or [],
            transpose=0.0,
            f0_predictor=args.f0_predictor,
            out_dir=Path(folder),
            device="cpu",
        )
        evaluation = evaluate_checkpoints(models, measured)
    print(as_text(evaluation))  # noqa: T201  the product
    for item, problem in evaluation.failed:
        print(f"{item}: {problem}")  # noqa: T201
    return 1 if evaluation.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
