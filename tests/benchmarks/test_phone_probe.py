"""The phone columns of the units probe: labels on the frames' grid, and what can be read from units that hold them."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import phone_labels, units_probe
from benchmarks.phone_probe import PHONES, probe_phones, read_labels
from common.registry import NotAvailableError

N_PHONES = 5


def test_labels_lie_on_the_frames(tmp_path: Path) -> None:
    recording = tmp_path / "001.wav"
    assert read_labels(recording, 4) is None
    recording.with_suffix(".tsv").write_text("0.02\tSIL\n0.06\tAA\n0.07\tZH\n", encoding="utf-8")
    labels = read_labels(recording, 5)  # frame i is centred at 0.0125 + 0.02 i seconds
    assert labels is not None
    assert labels.tolist() == [-1, PHONES.index("AA"), PHONES.index("AA"), -1, -1]


def test_units_that_hold_the_phone_are_read_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    labels = [rng.integers(-1, N_PHONES, 80) for _ in range(12)]
    speakers = np.repeat([0, 1], 6)
    split = ([0, 1, 2, 3, 6, 7, 8, 9], [4, 5, 10, 11])

    def errors(units: list[np.ndarray]) -> dict[str, float]:
        return probe_phones(labels, speakers, units, units_probe.fit, split=split, seed=0)

    told = errors([np.eye(N_PHONES + 1)[one] + 0.05 * rng.standard_normal((80, N_PHONES + 1)) for one in labels])
    untold = errors([rng.standard_normal((80, N_PHONES)) for _ in labels])
    assert max(told.values()) < 0.02
    assert min(untold.values()) > 0.6


def test_one_speaker_alone_is_not_unheard() -> None:
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 2, 30) for _ in range(4)]
    units = [np.eye(2)[one] for one in labels]
    found = probe_phones(labels, np.zeros(4, int), units, units_probe.fit, split=([0, 1, 2], [3]), seed=0)
    assert found == {"phone error": 0.0}


def test_alignment_without_its_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(NotAvailableError, match="phone labels need pocketsphinx: pip install pocketsphinx"):
        phone_labels.align(np.zeros(16000), "water")
