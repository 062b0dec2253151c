"""What is measured of a conversion: one table, from which texts, JSON and pages are made."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Measure:
    """One column.

    Attributes:
        key: its name in evaluation.json.
        title: its head in tables.
        better: which way is better; "" where neither is.
        text: writes a value.
        meaning: one line for a reader.
    """

    key: str
    title: str
    better: Better
    text: Callable[[float], str]
    meaning: str


MEASURES = (
    Measure("f0_correlation", "f0 corr.", "higher", "{:.3f}".format, "Pearson's of log f0, frames voiced in both"),
    Measure("f0_rmse_cents", "f0 RMSE", "lower", "{:.0f} ct".format, "root mean square of the pitch error, in cents"),
    Measure("off_pitch", "off pitch", "lower", "{:.1%}".format, "voiced frames more than 50 cents off"),
    Measure(
        "gross_pitch_error", "gross", "lower", "{:.1%}".format, "voiced frames more than 20 % off: octaves, mostly"
    ),
    Measure("fine_cents", "fine", "lower", "{:.0f} ct".format, "f0 RMSE of the frames that are not gross errors"),
    Measure("voicing_error", "voicing", "lower", "{:.1%}".format, "frames where only one of the two is voiced"),
    Measure("loudness_correlation", "loudness", "", "{:.3f}".format, "Pearson's of the level in dB, 50 ms windows"),
    Measure("to_target", "to target", "higher", "{:.2f}".format, "cosine of speaker embeddings: the voice asked for"),
    Measure("to_source", "to source", "lower", "{:.2f}".format, "the same with the song: the voice that leaks through"),
    Measure("mcd", "MCD", "lower", "{:.2f} dB".format, "mel-cepstral distortion to a parallel recording"),
    Measure("quality", "quality", "higher", "{:.2f}".format, "DNSMOS, 1 to 5: made for speech, compare only"),
    Measure("quality_source", "of source", "", "{:.2f}".format, "the same of the song itself"),
    Measure("word_error", "words", "lower", "{:.1%}".format, "word error rate, English"),
    Measure("real_time_factor", "RTF", "lower", "{:.2f}".format, "seconds of computing per second of song"),
)
BY_KEY = {measure.key: measure for measure in MEASURES}
FORMAT = 1  # of evaluation.json; changes when a key goes or means something else


@dataclass
class Row:
    """One conversion and what was measured of it.

    Attributes:
        transpose: semitones; None where the model sang a melody of its own.
        values: by `Measure.key`; what is not here is in ``missing``, with the reason.
        remarks: what else a reader has to know, such as different lengths.
    """

    source: Path
    conversion: Path
    speaker: str | None
    transpose: float | None
    checkpoint: str | None = None
    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    picture: bytes = b""  # PNG

    @property
    def name(self) -> str:
        return self.conversion.stem if self.checkpoint is None else f"{self.checkpoint}: {self.conversion.stem}"

    def as_dict(self) -> dict[str, Any]:
        """As in evaluation.json: every measure is there, null where it was not taken."""
        return {
            "source": self.source.as_posix(),
            "conversion": self.conversion.as_posix(),
            "speaker": self.speaker,
            "transpose": self.transpose,
            "checkpoint": self.checkpoint,
            "measures": {key: self.values.get(key) for key in BY_KEY},
            "not_measured": self.missing,
            "remarks": self.remarks,
        }


@dataclass(frozen=True)
class Standing:
    """One checkpoint among others.

    Attributes:
        criteria: means over its conversions in words, by the names in `Verdict.rule`.
        ranks: 1 is best; equal values share the mean of their ranks.
    """

    checkpoint: str
    criteria: dict[str, str]
    ranks: dict[str, float]
    mean_rank: float


@dataclass(frozen=True)
class Verdict:
    """Checkpoints, best first, and why."""

    standings: list[Standing]
    rule: str
    reason: str


@dataclass
class Evaluation:
    """All rows, what could not be evaluated with the reason, and the verdict where checkpoints were compared."""

    rows: list[Row] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    verdict: Verdict | None = None
