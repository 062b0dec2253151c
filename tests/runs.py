"""What a training run left in its folder, read back for comparison."""

import re
from pathlib import Path

import torch

STEP_LINE = re.compile(r"epoch (\d+)  step (\d+)  (.*?)  lr (\S+)")


def weights(folder: Path | str, step: int) -> dict[str, torch.Tensor]:
    """All tensors of the pair of ``step``: parameters and second moments of both networks."""
    found = {}
    for letter in "GD":
        content = torch.load(Path(folder) / f"{letter}_{step}.pth", weights_only=True)
        found |= {f"{letter}.{key}": value for key, value in content["model"].items()}
        moments = content["optimizer"]["state"]
        found |= {f"{letter}.moments.{i}": value["exp_avg_sq"] for i, value in moments.items()}
    return found


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    """Keys of tensors that are not the same to the bit."""
    assert a.keys() == b.keys()
    return [key for key in a if not torch.equal(a[key], b[key])]


def logged_losses(folder: Path | str) -> dict[int, set[str]]:
    """Epoch, losses and learning rate of each step as train.log tells them; more than one where runs disagree."""
    found: dict[int, set[str]] = {}
    for epoch, step, losses, rate in STEP_LINE.findall((Path(folder) / "train.log").read_text(encoding="utf-8")):
        found.setdefault(int(step), set()).add(f"{epoch} {losses} {rate}")
    return found
