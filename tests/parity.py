"""Golden cases: arrays that the reference computed, and how far we may be from them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden import weights

GOLDEN = Path(__file__).parent / "golden"


class Case:
    """One folder of tests/golden: ``info`` (case.json), ``arrays`` (io.npz) and the recipe weights."""

    def __init__(self, name: str) -> None:
        self.folder = GOLDEN / name
        self.info: dict[str, Any] = json.loads((self.folder / "case.json").read_text(encoding="utf-8"))

    def arrays(self, file: str = "io.npz") -> dict[str, np.ndarray]:
        with np.load(self.folder / file) as data:
            return dict(data)

    def state_dict(self, component: str | None = None) -> dict[str, torch.Tensor]:
        """Recipe weights of a case whose case.json has a "weights" table."""
        return weights.load_case_state_dict(str(self.folder), component)

    def recipe(self, keys_file: str = "keys.json") -> dict[str, torch.Tensor]:
        """Recipe weights of a case that has one key list and one seed."""
        keys = json.loads((self.folder / keys_file).read_text(encoding="utf-8"))
        return weights.make_state_dict(
            {key: shape for key, shape, _ in keys},
            self.info["seed"],
            self.info.get("gain"),
            skip=self.info.get("skip", ()),
        )


def assert_close(got: Any, expected: Any, *, max_abs: float, mean_abs: float | None = None) -> None:
    """Compare the largest and the mean absolute difference; both are shown when either fails."""
    got, expected = (np.asarray(torch.as_tensor(x).detach().cpu(), dtype=np.float64) for x in (got, expected))
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    difference = np.abs(got - expected)
    limit = max_abs / 4 if mean_abs is None else mean_abs
    assert difference.max() <= max_abs and difference.mean() <= limit, (
        f"max difference {difference.max():.3e} (limit {max_abs:.1e}), mean {difference.mean():.3e} (limit {limit:.1e})"
    )
