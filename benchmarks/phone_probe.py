"""How well phones can be read from units: within a speaker, and from speakers to one that the reader has not heard."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vencoder.encoder import HOP_LENGTH, SAMPLE_RATE

SILENCE = "SIL"
PHONES = (
    *(
        "AA",
        "AE",
        "AH",
        "AO",
        "AW",
        "AY",
        "B",
        "CH",
        "D",
        "DH",
        "EH",
        "ER",
        "EY",
        "F",
        "G",
        "HH",
        "IH",
        "IY",
        "JH",
        "K",
    ),
    *("L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH"),
)
FRAMES_PER_CLIP = 200
HIDDEN = 128
Fit = Callable[..., Callable[[np.ndarray], np.ndarray]]


def read_labels(recording: Path, n_frames: int) -> np.ndarray | None:
    """Indices into PHONES (n_frames,), -1 in silence, from the .tsv beside a recording; None where there is none."""
    path = recording.with_suffix(".tsv")
    if not path.is_file():
        return None
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    ends = np.array([float(end) for end, _ in rows])
    names = [PHONES.index(name) if name in PHONES else -1 for _, name in rows] + [-1]
    centres = (np.arange(n_frames) * HOP_LENGTH + 200) / SAMPLE_RATE
    return np.array(names)[np.searchsorted(ends, centres)]


def labelled_frames(labels: Sequence[np.ndarray], units: Sequence[np.ndarray], which: Sequence[int], seed: int):
    """Some frames of the clips ``which`` that are no silence: units (n, D), phones (n,)."""
    rng = np.random.default_rng(seed)
    rows = {i: rng.permutation(np.flatnonzero(labels[i] >= 0))[:FRAMES_PER_CLIP] for i in which}
    return np.concatenate([units[i][rows[i]] for i in which]), np.concatenate([labels[i][rows[i]] for i in which])


def probe_phones(
    labels: Sequence[np.ndarray], speakers: np.ndarray, units: Sequence[np.ndarray], fit: Fit, *,
    split: tuple[list[int], list[int]], seed: int,
) -> dict[str, float]:  # fmt: skip
    """Share of wrong frames: of the test clips of ``split``, and of speakers that the reader was not trained on."""

    def error(train: Sequence[int], test: Sequence[int]) -> float:
        x, phone = labelled_frames(labels, units, train, seed)
        x_test, phone_test = labelled_frames(labels, units, test, seed)
        guess = fit(x, phone, classes=len(PHONES), hidden=HIDDEN, seed=seed)(x_test).argmax(axis=1)
        return float((guess != phone_test).mean())

    known = np.unique(speakers)
    result = {"phone error": error(*split)}
    if len(known) > 1:
        across = [error(np.flatnonzero(speakers != one).tolist(), np.flatnonzero(speakers == one)) for one in known]
        result["phone error, unheard"] = float(np.mean(across))
    return result
