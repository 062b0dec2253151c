"""Silence detection: where a recording may be cut.

Two uses: `slice_at_silences` gives the chunks that are converted one by one, with the boundaries of the reference;
`cut_clips` gives training clips of a wanted length. Levels are RMS per frame of 20 ms, in dB relative to full scale.
"""

from typing import NamedTuple

import numpy as np

FRAME_SECONDS = 0.02
WINDOW_FRAMES = 4  # the RMS window is at most so many frames long
TRIM_WINDOW, TRIM_HOP = 2048, 512  # samples, at the recording's own rate
PHRASE_COST = 20.0  # dB; what a cut outside a pause costs beside its level
RMS_BLOCK_FRAMES = 2048  # frames whose squares are held at once: an hour of audio costs no more than a minute


class Chunk(NamedTuple):
    """Samples ``start`` (included) to ``end`` (excluded) of a recording; ``is_silent`` parts need no conversion."""

    start: int
    end: int
    is_silent: bool


class Run(NamedTuple):
    """Frames ``start`` (included) to ``end`` (excluded)."""

    start: int
    end: int


def frame_rms(wav: np.ndarray, window: int, hop: int) -> np.ndarray:
    """RMS (F,) of (T,) in windows of ``window`` samples centred on every ``hop``-th sample; zeros beyond both ends."""
    n_frames = (len(wav) + 2 * (window // 2) - window) // hop + 1
    blocks = []
    for first in range(0, n_frames, RMS_BLOCK_FRAMES):
        left = first * hop - window // 2
        right = left + (min(RMS_BLOCK_FRAMES, n_frames - first) - 1) * hop + window
        padded = np.pad(wav[max(left, 0) : right], (max(-left, 0), max(right - len(wav), 0)))
        frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]  # (F, window), a view
        blocks.append(np.sqrt(np.mean(np.square(frames), axis=1)))
    return np.concatenate(blocks)


def trim(wav: np.ndarray, top_db: float = 40.0) -> np.ndarray:
    """Cut the ends of (T,) that stay ``top_db`` or more below the loudest frame; the result is a view."""
    rms = frame_rms(wav, TRIM_WINDOW, TRIM_HOP)
    loud = np.flatnonzero(rms > rms.max() * 10 ** (-top_db / 20))
    if not len(loud):
        return wav[:0]
    return wav[loud[0] * TRIM_HOP : (loud[-1] + 1) * TRIM_HOP]


def slice_at_silences(
    wav: np.ndarray,
    sample_rate: int,
    *,
    threshold_db: float = -40.0,
    min_length: float = 5.0,
    min_interval: float = 0.3,
    max_kept: float = 5.0,
) -> list[Chunk]:
    """Cut (T,) into chunks that follow one another without a gap from sample 0 to T, at the quietest frame of a pause.

    A pause is at least ``min_interval`` seconds below ``threshold_db``. A chunk of sound that is cut at one is at least
    ``min_length`` seconds long. What a pause holds beyond ``max_kept`` seconds at either side, and a pause at the end,
    becomes a silent chunk; a shorter pause is only a cut.
    """
    hop = round(sample_rate * FRAME_SECONDS)
    rms = frame_rms(wav, window=min(round(sample_rate * min_interval), WINDOW_FRAMES * hop), hop=hop)
    n_interval, n_length, n_kept = (
        round(sample_rate * seconds / hop) for seconds in (min_interval, min_length, max_kept)
    )
    pauses: list[Run] = []
    sound_start = 0
    for run in silent_runs(rms, threshold_db):
        n_silent = run.end - run.start
        if run.end == len(rms):
            if n_silent >= n_interval:
                pauses.append(Run(_quietest(rms, run.start, min(run.end, run.start + n_kept + 1)), run.end))
        elif (run.start == 0 and n_silent > n_kept) or (n_silent >= n_interval and run.end - sound_start >= n_length):
            pauses.append(_pause_within(rms, run, n_kept))
            sound_start = pauses[-1].end
    return _chunks(pauses, hop, len(wav))


def silent_runs(rms: np.ndarray, threshold_db: float) -> list[Run]:
    """The stretches of frames of ``rms`` (F,) that lie below ``threshold_db``, in order."""
    silent = np.concatenate(([False], rms < 10 ** (threshold_db / 20), [False]))
    edges = np.flatnonzero(silent[1:] != silent[:-1])
    return [Run(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _quietest(rms: np.ndarray, start: int, end: int) -> int:
    return start + int(np.argmin(rms[start:end]))


def _pause_within(rms: np.ndarray, run: Run, n_kept: int) -> Run:
    """The part of a silent ``run`` that is left out: empty (a cut) unless the run is longer than ``n_kept`` frames.

    The windows searched include the first loud frame after the run, as in the reference.
    """
    start, end = run
    if end - start <= n_kept:
        cut = _quietest(rms, start, end + 1)
        return Run(0 if start == 0 else cut, cut)
    left = _quietest(rms, start, start + n_kept + 1)
    right = _quietest(rms, end - n_kept, end + 1)
    if start == 0:
        return Run(0, right)
    if end - start <= 2 * n_kept:  # the two kept parts overlap, so left may lie behind right
        middle = _quietest(rms, end - n_kept, start + n_kept + 1)
        return Run(min(left, middle), max(right, middle))
    return Run(left, right)


def _chunks(pauses: list[Run], hop: int, n_samples: int) -> list[Chunk]:
    """Sound and silence in turn; empty ones are dropped."""
    chunks, position = [], 0
    for pause in pauses:
        start, end = (min(frame * hop, n_samples) for frame in pause)
        chunks += [Chunk(position, start, False), Chunk(start, end, True)]
        position = end
    chunks.append(Chunk(position, n_samples, False))
    return [chunk for chunk in chunks if chunk.end > chunk.start]


def cut_clips(
    wav: np.ndarray,
    sample_rate: int,
    *,
    min_seconds: float = 5.0,
    max_seconds: float = 15.0,
    min_interval: float = 0.3,
    threshold_db: float = -40.0,
    max_pause: float = 1.0,
) -> list[np.ndarray]:
    """Cut (T,) into training clips of ``min_seconds`` to ``max_seconds``; audio shorter than that stays one clip.

    Pauses are first shortened to ``max_pause`` seconds. Of all the ways to place the cuts, the one with the least sound
    at them is taken: in pauses of at least ``min_interval`` seconds below ``threshold_db`` where those allow the
    lengths, in the quietest frames of a phrase where they do not.

    Raises:
        ValueError: lengths that cannot be met (``max_seconds`` below twice ``min_seconds``).
    """
    if not 0 < 2 * min_seconds <= max_seconds:
        raise ValueError(f"the longest clip ({max_seconds} s) must be at least twice the shortest ({min_seconds} s)")
    hop = round(sample_rate * FRAME_SECONDS)
    rms = frame_rms(wav, window=WINDOW_FRAMES * hop, hop=hop)
    per_second = sample_rate / hop
    runs = silent_runs(rms, threshold_db)
    pauses = [run for run in runs if run.end - run.start >= min_interval * per_second]
    kept = _without_long_pauses(pauses, len(rms), int(max_pause * per_second))
    if not len(kept):
        return []
    wav = np.concatenate([wav[run.start * hop : run.end * hop] for run in _runs_of(kept)])

    level_db = 20 * np.log10(np.maximum(rms, 1e-5))
    cost = np.maximum(level_db - threshold_db, 0.0) + PHRASE_COST  # of a cut at each frame
    for pause in pauses:
        cost[pause.start : pause.end] = 1e-3 * rms[pause.start : pause.end]
    cuts = _cheapest_cuts(cost[kept], round(min_seconds * per_second), int(max_seconds * per_second))
    return [wav[start * hop : end * hop] for start, end in zip(cuts[:-1], cuts[1:], strict=True)]


def _without_long_pauses(pauses: list[Run], n_frames: int, max_pause: int) -> np.ndarray:
    """Frame numbers that stay: of each pause, half of ``max_pause`` frames at either side that touches sound."""
    keep = np.ones(n_frames, dtype=bool)
    for start, end in pauses:
        left = start if start == 0 else start + max_pause // 2
        right = end if end == n_frames else end - max_pause // 2
        keep[left : max(left, right)] = False
    return np.flatnonzero(keep)


def _runs_of(frames: np.ndarray) -> list[Run]:
    """Sorted frame numbers as stretches of consecutive ones."""
    breaks = np.flatnonzero(np.diff(frames) > 1) + 1
    return [Run(int(part[0]), int(part[-1]) + 1) for part in np.split(frames, breaks)]


def _cheapest_cuts(cost: np.ndarray, shortest: int, longest: int) -> list[int]:
    """Positions 0 = c0 < c1 < ... < F of least total ``cost`` (F,) with steps of ``shortest`` to ``longest`` frames.

    Dynamic programming over the frames: ``total[i]`` is the least cost of cutting up the first ``i`` frames.
    """
    n_frames = len(cost)
    if n_frames <= longest:
        return [0, n_frames]
    total = np.full(n_frames + 1, np.inf)
    previous = np.zeros(n_frames + 1, dtype=np.int64)
    total[0] = 0.0
    for i in range(shortest, n_frames + 1):
        first = max(0, i - longest)
        candidates = total[first : i - shortest + 1]
        best = int(np.argmin(candidates))
        total[i] = candidates[best] + (cost[i] if i < n_frames else 0.0)
        previous[i] = first + best
    cuts = [n_frames]
    while cuts[-1]:
        cuts.append(int(previous[cuts[-1]]))
    return cuts[::-1]
