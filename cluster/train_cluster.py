"""Cluster the units of each speaker (-cm and -cr of inference_main.py): kmeans_10000.pt.

Needs the features of preprocess_hubert_f0.py. docs/clusters.md says what it is good for.
"""

import argparse
import logging
import sys
from pathlib import Path

# 4.1 runs it as `python cluster/train_cluster.py`; Python then looks for modules in cluster/ and not beside it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.logs import run_script, setup_logging  # noqa: E402

logger = logging.getLogger("train_cluster")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=Path("./dataset/44k"), help="one folder per speaker")
    parser.add_argument("--output", type=Path, default=Path("logs/44k"), help="where kmeans_10000.pt goes")
    parser.add_argument("--gpu", action="store_true", help="cluster on the GPU")
    parser.add_argument("--n_clusters", type=int, default=10000, help="per speaker; fewer where it has few frames")
    parser.add_argument("--minibatch", action="store_true", help="three passes: faster, a little less exact")
    parser.add_argument("--seed", type=int, default=1234, help="of the frames that clustering begins with")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    from pipeline.clustering import train_clusters

    try:
        report = train_clusters(
            args.dataset,
            args.output,
            n_clusters=args.n_clusters,
            minibatch=args.minibatch,
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
