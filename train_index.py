"""Build the feature index of each speaker for retrieval (-fr, -cm and -cr of inference_main.py).

Needs the features of preprocess_hubert_f0.py. docs/clusters.md says what it is good for.
"""

import argparse
import logging
from pathlib import Path

from common.logs import run_script, setup_logging

logger = logging.getLogger("train_index")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("-c", "--config", type=Path, default=Path("configs/config.json"), help="names the speakers")
    parser.add_argument("--root_dir", type=Path, default=Path("dataset/44k"), help="one folder per speaker")
    parser.add_argument("--output_dir", type=Path, default=Path("logs/44k"), help="where the index goes")
    kinds = "pkl: feature_and_index.pkl; index: Index-<speaker id>.index for each speaker"
    parser.add_argument("--index_format", choices=("pkl", "index"), default="pkl", help=kinds)
    parser.add_argument("--gpu", action="store_true", help="cluster on the GPU")
    parser.add_argument("--seed", type=int, default=1234, help="of the frames that clustering begins with")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    from pipeline.clustering import train_indexes
    from pipeline.settings import read_config

    try:
        report = train_indexes(
            read_config(args.config),
            args.root_dir,
            args.output_dir,
            index_format=args.index_format,
            gpu=args.gpu,
            seed=args.seed,
        )
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    for problem in report.failed:
        logger.error("%s", problem)
    for path in report.written:
        logger.info("written: %s", path)
    return 1 if report.failed else 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
