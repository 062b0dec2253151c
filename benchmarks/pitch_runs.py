"""Every predictor over the signals of `benchmarks.pitch_signals`: tracks, scores and speed."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.pitch_metrics import PitchScore, average, score
from benchmarks.pitch_signals import HOP_LENGTH, SAMPLE_RATE, Signal
from common.failures import reason
from modules import f0 as f0_predictors
from modules.f0.predictor import F0Predictor

logger = logging.getLogger("pitch")

SLOW = ("crepe",)  # several seconds per second of audio
NOT_SUNG = ("pure tones", "harmonic tones", "no fundamental")  # groups that the mean leaves out


@dataclass
class Run:
    """One predictor with one range, and its track (f0 (F,), uv (F,)) of every signal it was given, by index."""

    name: str
    f0_range: tuple[float, float]  # Hz
    predictor: F0Predictor
    tracks: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    audio_seconds: float = 0.0
    cpu_seconds: float = 0.0

    def track(self, index: int, signal: Signal) -> None:
        started = time.process_time()
        self.tracks[index] = self.predictor.compute_f0_uv(signal.wav)
        self.cpu_seconds += time.process_time() - started
        self.audio_seconds += signal.seconds

    @property
    def speed(self) -> float:
        """Seconds of audio per second of CPU time."""
        return self.audio_seconds / max(self.cpu_seconds, 1e-9)


@dataclass(frozen=True)
class Result:
    """Everything measured; ``slow_part`` are the indices of the signals that the slow predictors were given."""

    signals: list[Signal]
    runs: list[Run]
    absent: dict[str, str]  # predictors that could not be built: why
    slow_part: list[int]

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(signal.group for signal in self.signals))

    @property
    def everything(self) -> list[int]:
        return list(range(len(self.signals)))

    def score(self, run: Run, among: Sequence[int]) -> PitchScore:
        """The score over all frames of the signals ``among``."""
        f0, uv = (np.concatenate([run.tracks[i][k] for i in among]) for k in (0, 1))
        truth = np.concatenate([self.signals[i].truth(run.predictor.instant) for i in among])
        return score(truth, f0, uv)

    def by_group(self, run: Run, among: Sequence[int]) -> dict[str, PitchScore]:
        """The score of each group that has signals ``among``, and under "mean" the mean over those that are sung."""
        members = {group: [i for i in among if self.signals[i].group == group] for group in self.groups}
        scores = {group: self.score(run, indices) for group, indices in members.items() if indices}
        return scores | {"mean": average([each for group, each in scores.items() if group not in NOT_SUNG])}


def build_runs(
    names: Sequence[str], ranges: Sequence[tuple[float, float]], device: str
) -> tuple[list[Run], dict[str, str]]:
    """A run per predictor and range, and why others cannot be built; slow ones run with the last range only."""
    runs, absent = [], {}
    for name in names:
        for low, high in ranges[-1:] if name in SLOW else ranges:
            try:
                made = f0_predictors.build(name, SAMPLE_RATE, HOP_LENGTH, device=device, f0_min=low, f0_max=high)
            except (FileNotFoundError, ValueError, ImportError) as error:
                absent[name] = "weights missing" if isinstance(error, FileNotFoundError) else reason(error)
                logger.warning("not measured: %s: %s", name, reason(error))
                break
            runs.append(Run(name, (low, high), made))
    return runs, absent


def measure(signals: list[Signal], runs: list[Run], absent: dict[str, str], slow_seconds: float) -> Result:
    """Track every signal with every run; the slow ones are given up to ``slow_seconds`` of each group."""
    part = middle_part(signals, slow_seconds)
    for index, signal in enumerate(signals):
        for run in runs:
            if run.name not in SLOW or index in part:
                run.track(index, signal)
        logger.info("%d of %d: %s, %s", index + 1, len(signals), signal.group, signal.name)
    return Result(signals, runs, absent, part)


def middle_part(signals: Sequence[Signal], seconds: float) -> list[int]:
    """Indices of signals about the middle of each group, at least one, together at most ``seconds`` per group."""
    chosen: list[int] = []
    for group in dict.fromkeys(signal.group for signal in signals):
        members = [i for i, signal in enumerate(signals) if signal.group == group]
        middle = members[len(members) // 2]
        left = seconds - signals[middle].seconds
        chosen.append(middle)
        for i in sorted(set(members) - {middle}, key=lambda i: (abs(i - middle), i)):
            left -= signals[i].seconds
            if left < 0:
                break
            chosen.append(i)
    return sorted(chosen)
