"""Train the shallow diffusion model that refines conversions; run it again to go on where it stopped.

python preprocess_hubert_f0.py --use_diff
python train_diff.py -c configs/diffusion.yaml
torchrun --nproc_per_node 2 train_diff.py -c configs/diffusion.yaml
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from common.logs import run_script, setup_logging

logger = logging.getLogger("train_diff")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-c", "--config", type=Path, default=Path("configs/diffusion.yaml"), help="default: configs/diffusion.yaml"
    )
    parser.add_argument("-m", "--model", help="name: writes to logs/NAME/diffusion instead of env.expdir")
    parser.add_argument("-d", "--device", help="cpu, cuda, cuda:N or mps; default: what the configuration says")
    parser.add_argument("--base", type=Path, help="base model or its folder; default: model_0.pt in env.expdir")
    parser.add_argument("--max_steps", type=int, help="stop when this step is reached")
    parser.add_argument("--max_minutes", type=float, help="stop after this many minutes")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    from common import processes  # after --help: torch takes seconds to import
    from pipeline.diffusion_settings import read_project_config
    from pipeline.diffusion_training import DiffusionOptions, train
    from pipeline.training import TrainingError

    first = processes.rank() == 0  # the other processes of torchrun would say the same
    level = logging.INFO if first else logging.WARNING
    setup_logging(level=level)
    options = DiffusionOptions(
        base=args.base, device=args.device, max_steps=args.max_steps, max_minutes=args.max_minutes
    )
    try:
        config = read_project_config(args.config)
        if args.model:
            config = replace(config, env=replace(config.env, expdir=f"logs/{args.model}/diffusion"))
        if first:  # not before: a wrong -c leaves no folder behind
            setup_logging(Path(config.env.expdir) / "train.log")
        train(config, options)
    except (OSError, ValueError, TrainingError) as error:  # each says what is wrong and what to do
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
