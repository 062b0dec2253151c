"""Train the embedded content encoder on the corpus, and write its weights in half precision.

    python -m scripts.embedded.train_encoder --corpus CORPUS --state STATE -o pretrain/embedded/encoder

Goes on where it stopped: STATE/training.pth is written every --save_every steps and on Ctrl-C. The random draws of a
step depend on (seed, step) only. Uses a CUDA device when there is one.
"""

import argparse
import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from common import checkpoint, devices
from common.logs import run_script, setup_logging
from scripts.embedded import phones
from scripts.embedded.batches import Utterance, draw, read_corpus
from scripts.embedded.objectives import Heads, Weights, losses
from vencoder.nets.embedded import Architecture, ContentNet

logger = logging.getLogger("train_encoder")

WARM_UP = 200  # steps
HEADS_FASTER = 3.0  # an adversary that lags behind teaches nothing
SHARPNESS = (2.0, 4.0)  # of the bottleneck in the first and in the last third of the training
NOISE = 0.5  # standard deviation, before the squashing; that of a channel is 1
CLIP = 1.0  # norm of the gradient
SMOOTHING = 0.98  # of the losses in the log


class Training:
    """Networks, optimizer and the number of steps done."""

    def __init__(self, args: argparse.Namespace, n_voices: int, device: torch.device) -> None:
        self.device, self.total, self.learning_rate = device, args.steps, args.learning_rate
        self.weights = replace(Weights(), **{name: value for name, value in args.weight})
        torch.manual_seed(args.seed)
        self.net = ContentNet(Architecture(**args.architecture)).to(device)
        self.heads = Heads(self.net.bottleneck.out_features, n_voices).to(device)
        groups = [{"params": list(self.net.parameters())}, {"params": list(self.heads.parameters())}]
        self.optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, betas=(0.9, 0.98), weight_decay=0.02)
        self.step = 0

    def rate(self) -> float:
        """Learning rate of this step: a linear start, then half a cosine down to nothing."""
        progress = self.step / self.total
        return self.learning_rate * min(1.0, (self.step + 1) / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * progress))

    def sharpness(self) -> float:
        """Of the bottleneck's tanh at this step: it grows in the middle third of the training."""
        first, last = SHARPNESS
        return first + (last - first) * min(1.0, max(0.0, 3.0 * self.step / self.total - 1.0))

    def update(self, corpus: list[Utterance], class_weights: Tensor, *, seed: int, pairs: int) -> dict[str, float]:
        """One step; returns the terms of its loss."""
        rng = np.random.default_rng((seed, self.step))
        torch.manual_seed(int(rng.integers(2**31)))
        batch = draw(corpus, pairs, rng, self.device)
        for group, factor in zip(self.optimizer.param_groups, (1.0, HEADS_FASTER), strict=True):
            group["lr"] = self.rate() * factor
        self.net.sharpness = self.sharpness()
        lengths = batch.lengths.repeat(2)
        with torch.autocast(self.device.type, torch.bfloat16):
            content, mask = self.net.content(batch.wav.flatten(0, 1), lengths)
        inside = mask[..., 0].bool()
        units = torch.zeros_like(content, dtype=torch.float32)
        units[inside] = self.net.unit_norm(content[inside].float())
        units = units.unflatten(0, (2, -1))  # (2, B, N, R)
        noisy = self.net.squash(units + NOISE * torch.randn_like(units))
        inside = inside[: len(batch.lengths)]
        readers = {"heads": self.heads, "class_weights": class_weights}
        terms = losses(self.net.squash(units), noisy, inside, batch, **readers)
        ramp = min(1.0, self.step / (0.3 * self.total))  # the adversaries come in slowly
        weights = asdict(self.weights)
        total = sum(
            weight * terms[name] * (ramp if name in ("voice", "pitch") else 1.0) for name, weight in weights.items()
        )
        if not torch.isfinite(total):
            raise FloatingPointError(f"step {self.step}: the loss is not finite: {terms}")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        self.optimizer.step()
        self.step += 1
        return {name: float(value.detach()) for name, value in terms.items()}

    def save(self, path: Path) -> None:
        content = {"net": self.net.state_dict(), "heads": self.heads.state_dict()}
        checkpoint.save(path, content | {"optimizer": self.optimizer.state_dict(), "step": self.step})

    def load(self, path: Path) -> None:
        content = checkpoint.read(path)
        checkpoint.load_weights(self.net, content["net"], where=path)
        checkpoint.load_weights(self.heads, content["heads"], where=path)
        checkpoint.load_moments(self.optimizer, content["optimizer"], where=path)
        self.step = content["step"]


def frequencies(corpus: list[Utterance]) -> Tensor:
    """Weights of the classes: the inverse root of how often they are, 1 on average over the frames."""
    counts = torch.zeros(len(phones.CLASSES))
    for one in corpus:
        counts += torch.bincount(one.phone[one.phone >= 0].long(), minlength=len(counts)).float()
    weights = counts.clamp(min=100.0).rsqrt()
    return weights * counts.sum() / (weights * counts).sum()


def export(net: ContentNet, folder: Path) -> Path:
    """Write the weights in half precision."""
    state = {key: value.detach().cpu() for key, value in net.state_dict().items()}
    half = {key: value.half().contiguous() if value.is_floating_point() else value for key, value in state.items()}
    if not all(bool(torch.isfinite(value).all()) for value in half.values() if value.is_floating_point()):
        raise ValueError("a weight is too large for half precision")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "encoder.safetensors"
    save_file(half, path)
    return path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder that scripts.embedded.corpus made")
    parser.add_argument("--state", type=Path, required=True, help="folder of the training's own checkpoint")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--steps", type=int, default=3200, help="steps in all")
    parser.add_argument("--until", type=int, help="stop at this step; the rates are still those of --steps")
    parser.add_argument("--pairs", type=int, default=6, help="a step takes this many pairs of 3 s, or as much audio")
    parser.add_argument("--learning_rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save_every", type=int, default=500, help="steps")
    parser.add_argument("-d", "--device", default=None, help="cpu, cuda, ...; chosen automatically when absent")
    parser.add_argument(
        "--weight", nargs="*", type=_setting, default=[], metavar="NAME=VALUE", help=f"of {asdict(Weights())}"
    )
    parser.add_argument("--architecture", type=_sizes, default={}, metavar="NAME=VALUE,...", help="for experiments")
    return parser.parse_args(argv)


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value)


def _sizes(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in (item.split("=") for item in text.split(",") if item)}


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    try:
        corpus, voices = read_corpus(args.corpus)
    except FileNotFoundError as error:
        logger.error("%s", error)
        return 1
    device = devices.resolve(args.device)
    training = Training(args, len(voices), device)
    args.state.mkdir(parents=True, exist_ok=True)
    path = args.state / "training.pth"
    if path.exists():
        training.load(path)
    class_weights = frequencies(corpus).to(device)
    size = sum(parameter.numel() for parameter in training.net.parameters()) / 1e6
    logger.info("%d utterances, %d voices, %.1f M parameters, step %d", len(corpus), len(voices), size, training.step)
    smooth: dict[str, float] = defaultdict(float)
    started, first = time.monotonic(), training.step
    try:
        while training.step < (args.until or args.steps):
            terms = training.update(corpus, class_weights, seed=args.seed, pairs=args.pairs)
            for name, value in terms.items():
                smooth[name] = (
                    value if training.step == first + 1 else SMOOTHING * smooth[name] + (1 - SMOOTHING) * value
                )
            if training.step % 100 == 0:
                pace = (time.monotonic() - started) / (training.step - first)
                logger.info("%d: %s (%.2f s)", training.step, " ".join(f"{k} {v:.3f}" for k, v in smooth.items()), pace)
            if training.step % args.save_every == 0:
                training.save(path)
    finally:
        training.save(path)
    written = export(training.net, args.output)
    logger.info("%s: %.1f MB", written, written.stat().st_size / 1e6)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
