"""Train the base model of the embedded encoder on what base_corpus made, through the phases of a schedule.

    python -m scripts.embedded.train_base -c embedded-work/base/config.json --start embedded-work/base/start \\
        --folder embedded-work/base/logs

The same command goes on where it stopped. --steps sets the length of the whole; each phase has its share of it. Then
python -m scripts.make_base -m embedded-work/base/logs/G_<last step>.pth -o pretrain/embedded/base
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common import checkpoint
from common.config import Config
from common.logs import run_script, setup_logging
from pipeline.gan_training import TrainOptions, train
from pipeline.settings import read_config
from pipeline.training import TrainingError

logger = logging.getLogger("train_base")

EVAL_INTERVAL, LOG_INTERVAL = 200, 20  # steps
KEEP = 20  # pairs


@dataclass(frozen=True)
class Phase:
    """What holds until a share of the steps is done."""

    until: float
    learning_rate: float
    c_kl: float
    adversarial: bool = True
    bf16: bool = True  # where --bf16 asks for it


# A posterior that a strong c_kl ties down before the prior knows the units says nothing, and stays so: its deviation is
# that of the prior. First the latents must carry something, then the prior must learn to foresee it. The discriminators
# wait until then. Half precision to the end would leave its rounding in the weights.
PHASES = (
    Phase(0.20, learning_rate=8e-4, c_kl=0.02, adversarial=False),
    Phase(0.35, learning_rate=6e-4, c_kl=0.1),
    Phase(0.55, learning_rate=5e-4, c_kl=0.3),
    Phase(0.90, learning_rate=3e-4, c_kl=1.0),
    Phase(1.00, learning_rate=8e-5, c_kl=1.0, bf16=False),
)


def phases_left(config: Config, *, steps: int, done: int, bf16: bool) -> Iterator[tuple[int, Config]]:
    """For each phase that is not over at step ``done``: the step at which it ends, and its config."""
    for phase in PHASES:
        end = round(phase.until * steps)
        if end > done:
            section = replace(
                config.train,
                learning_rate=phase.learning_rate,
                c_kl=phase.c_kl,
                discriminator_start=0 if phase.adversarial else steps,
                fp16_run=bf16 and phase.bf16,
                half_type="bf16",
                eval_interval=EVAL_INTERVAL,
                log_interval=LOG_INTERVAL,
                keep_ckpts=KEEP,
            )
            yield end, replace(config, train=section)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "-c", "--config", type=Path, required=True, help="of preprocess_flist_config.py --preset embedded"
    )
    parser.add_argument("--start", type=Path, required=True, help="folder of the pair that base_start wrote")
    parser.add_argument("--folder", type=Path, required=True, help="checkpoints and logs")
    parser.add_argument("--steps", type=int, default=5000, help="of the whole schedule")
    parser.add_argument("--bf16", action="store_true", help="for CUDA and CPUs with AMX: much faster there")
    parser.add_argument("-d", "--device", help="cpu, cuda, ...; chosen automatically when absent")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    try:
        config = read_config(args.config)
        setup_logging(args.folder / "train.log")
        newest = checkpoint.newest_pair(args.folder)
        for end, phase in phases_left(config, steps=args.steps, done=newest.step if newest else 0, bf16=args.bf16):
            section = phase.train
            logger.info("until step %d: learning_rate %g, c_kl %g", end, section.learning_rate, section.c_kl)
            options = TrainOptions(folder=args.folder, base=args.start, device=args.device, max_steps=end)
            if train(phase, options).step < end:
                logger.info("stopped; the same command goes on")
                break
    except (OSError, ValueError, TrainingError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
