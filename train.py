"""Train the singing voice model (step 4 of the README); run it again to go on where it stopped.

python train.py -c configs/config.json -m 44k
torchrun --nproc_per_node 2 train.py -c configs/config.json -m 44k
"""

import argparse
import logging
from pathlib import Path

from common.logs import run_script, setup_logging

logger = logging.getLogger("train")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-c", "--config", type=Path, default=Path("configs/config.json"), help="default: configs/config.json"
    )
    parser.add_argument("-m", "--model", required=True, help="name: checkpoints and logs go to logs/NAME")
    parser.add_argument("-d", "--device", help="cpu, cuda, cuda:N or mps; chosen automatically when absent")
    parser.add_argument("--base", type=Path, help="folder of the base model G_0.pth, D_0.pth; default: logs/NAME")
    parser.add_argument("--max_steps", type=int, help="stop when this step is reached")
    parser.add_argument("--max_minutes", type=float, help="stop after this many minutes")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    from common import processes  # after --help: torch takes seconds to import
    from pipeline.gan_training import TrainOptions, train
    from pipeline.settings import read_config
    from pipeline.training import TrainingError

    first = processes.rank() == 0  # the other processes of torchrun would say the same
    level, folder = logging.INFO if first else logging.WARNING, Path("logs") / args.model
    setup_logging(level=level)
    options = TrainOptions(
        folder=folder, base=args.base, device=args.device, max_steps=args.max_steps, max_minutes=args.max_minutes
    )
    try:
        config = read_config(args.config)
        if first:  # not before: a wrong -c leaves no folder behind
            setup_logging(folder / "train.log")
        train(config, options)
    except (OSError, ValueError, TrainingError) as error:  # each says what is wrong and what to do
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
