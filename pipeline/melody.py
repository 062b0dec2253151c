"""The melody of a whole song, and what each of its pieces takes from it.

A song is tracked piece by piece, and the frames of a piece need not lie on the grid of the song. Its melody has one
point per frame of the song: the frame of the piece that is heard there, at the moment where that frame lies, at most
half a frame beside the grid. A piece that looks up its frames is therefore given, to the bit, what was tracked there.

Letters: T samples of a song, N points of its melody, F frames of a piece.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from modules.f0.predictor import fill_unvoiced
from pipeline import pieces
from pipeline.features import FeatureExtractor, Track
from pipeline.pieces import Piece

F0_LOWEST, F0_HIGHEST = 20.0, 4000.0  # Hz; no voice goes beyond
SECONDS_DIGITS = 6  # of a point's time: it is the same number in a file and in memory
SAME_SECONDS = 2e-6  # two moments this close are one: more than rounding, less than a sample
LONGEST_STEP, USUAL_STEPS = 0.1, 5  # a hole is longer than so many seconds, and than so many usual steps

Problem = tuple[int, str]  # number of a point, and what is wrong there


@dataclass(frozen=True, eq=False)
class Melody:
    """f0 of a whole song.

    Args:
        seconds: moments (N,), increasing; any distance, the same or not.
        f0: (N,) Hz, 0 where unvoiced.

    Raises:
        ValueError: shapes that differ, times that do not increase, f0 that no voice has.
    """

    seconds: np.ndarray
    f0: np.ndarray

    def __post_init__(self) -> None:
        if self.seconds.ndim != 1 or self.seconds.shape != self.f0.shape or not len(self.seconds):
            shapes = f"{self.seconds.shape} and {self.f0.shape}"
            raise ValueError(f"a melody has as many moments as f0 values, at least one; got shapes {shapes}")
        if problem := find_problem(self.seconds, self.f0):
            raise ValueError("melody, point {}: {}".format(*problem))

    @property
    def voiced_hz(self) -> np.ndarray:
        """f0 of the voiced points alone."""
        return self.f0[self.f0 > 0]

    def check_covers(self, duration: float) -> None:
        """Raise ValueError unless there are points for all of a song of ``duration`` seconds, and none beyond it."""
        if problem := find_hole(self.seconds, duration):
            raise ValueError("melody, point {}: {}".format(*problem))

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """f0 at any moments: (F,) seconds -> (F,) float32 Hz, 0 where the nearest point is unvoiced.

        Between two voiced points it runs straight in log f0; a point that is hit gives its own value.
        """
        after = np.clip(np.searchsorted(self.seconds, seconds), 1, max(len(self.seconds) - 1, 1))
        before, after = after - 1, np.minimum(after, len(self.seconds) - 1)
        since, until = seconds - self.seconds[before], self.seconds[after] - seconds
        nearest = np.where(since <= until, before, after)
        low, high = self.f0[before].astype(np.float64), self.f0[after].astype(np.float64)
        share = np.clip(since / np.maximum(since + until, SAME_SECONDS), 0.0, 1.0)
        # The floor keeps unvoiced points, whose result is not used, out of the powers.
        between = np.maximum(low, F0_LOWEST) ** (1 - share) * np.maximum(high, F0_LOWEST) ** share
        hit = np.minimum(np.abs(since), np.abs(until)) <= SAME_SECONDS
        return np.where((low > 0) & (high > 0) & ~hit, between, self.f0[nearest]).astype(np.float32)

    def of_piece(self, piece: Piece, hop_length: int, sample_rate: int) -> Track:
        """f0 (F,) without gaps and uv (F,) for the frames of a piece; what it does not hear is unvoiced."""
        position = frame_positions(piece, hop_length)
        track = self.at(position / sample_rate)
        track[(position < piece.first) | (position >= piece.last)] = 0
        return fill_unvoiced(track)


def track_song(
    wav: np.ndarray,
    planned: Sequence[Piece],
    extractor: FeatureExtractor,
    *,
    tell: Callable[[float], object] = lambda _: None,
) -> Melody:
    """The melody of (T,), its pieces tracked one by one; ``tell`` is given the seconds of each that is done."""
    sample_rate, hop_length = extractor.settings.sample_rate, extractor.settings.hop_length
    n_points = (len(wav) - 1 + hop_length // 2) // hop_length + 1  # the last is the nearest to the last sample
    position, f0_song = np.arange(n_points) * hop_length, np.zeros(n_points, np.float32)
    borders = [(before.end + after.start) // 2 for before, after in zip(planned, planned[1:], strict=False)]
    for piece, begin, end in zip(planned, [0, *borders], [*borders, n_points * hop_length], strict=False):
        f0, uv = extractor.track(pieces.heard(wav, piece))
        own = frame_positions(piece, hop_length)
        point = (own + hop_length // 2) // hop_length  # of the song's grid, the nearest to each frame
        used = (point * hop_length >= begin) & (point * hop_length < end)
        used &= (own >= piece.first) & (own < piece.last)
        position[point[used]], f0_song[point[used]] = own[used], np.where(uv > 0, f0, 0)[used]
        tell((piece.end - piece.start) / sample_rate)
    return Melody(np.round(position / sample_rate, SECONDS_DIGITS), f0_song)


def frame_positions(piece: Piece, hop_length: int) -> np.ndarray:
    """Samples of the song (F,) on which the frames of a piece are centred."""
    return piece.left + hop_length * np.arange((piece.right - piece.left) // hop_length)


def find_problem(seconds: np.ndarray, f0: np.ndarray) -> Problem | None:
    """The first of N points that cannot be part of a melody."""

    def found() -> Iterator[tuple[np.ndarray, Callable[[int], str]]]:
        yield ~np.isfinite(seconds), lambda i: f"time is {seconds[i]:g}"
        yield seconds < 0, lambda i: f"time {seconds[i]:g} is negative"
        yield (
            np.diff(seconds, prepend=-np.inf) <= 0,
            lambda i: f"time {seconds[i]:.10g} does not come after {seconds[i - 1]:.10g}: times must increase",
        )
        yield ~np.isfinite(f0), lambda i: f"f0 is {f0[i]:g}; where nothing is sung it must be 0"
        yield f0 < 0, lambda i: f"f0 {f0[i]:g} Hz is negative; where nothing is sung it must be 0"
        outside = (f0 > 0) & ((f0 < F0_LOWEST) | (f0 > F0_HIGHEST))
        yield outside, lambda i: f"f0 {f0[i]:g} Hz lies outside {F0_LOWEST:g} to {F0_HIGHEST:g} Hz"

    problems = [(int(np.argmax(wrong)), tell) for wrong, tell in found() if wrong.any()]
    if not problems:
        return None
    i, tell = min(problems, key=lambda problem: problem[0])
    return i, tell(i)


def find_hole(seconds: np.ndarray, duration: float) -> Problem | None:
    """Where points (N,) are missing of a song of ``duration`` seconds, or go on after its end."""
    steps = np.diff(seconds)
    longest = max(LONGEST_STEP, USUAL_STEPS * float(np.median(steps)) if len(steps) else 0.0)
    last, song = len(seconds) - 1, f"the song lasts {duration:.1f} s"
    if seconds[0] > longest:
        return 0, f"the first {seconds[0]:.1f} s of the song are missing"
    if len(steps) and steps.max() > longest:
        i = int(np.argmax(steps > longest)) + 1
        text = f"{steps[i - 1]:.1f} s are missing between {seconds[i - 1]:.3f} s and {seconds[i]:.3f} s"
        return i, f"{text}; what is not sung needs rows too, with f0 0"
    if duration - seconds[-1] > longest:
        return last, f"it ends at {seconds[-1]:.1f} s, {song}: {duration - seconds[-1]:.1f} s are missing"
    if seconds[-1] - duration > longest:
        return last, f"it goes on to {seconds[-1]:.1f} s, {song}: is it of another song?"
    return None
