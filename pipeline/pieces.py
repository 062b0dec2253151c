"""How a song is taken apart for conversion and put together again.

A song becomes pieces that are converted one by one, each with context on both sides that is dropped afterwards.
Neighbours keep a few samples in common, over which one fades into the other. Between pieces there is silence.

Letters: T samples, K conversions of the same song that are made side by side.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from modules.slicing import FRAME_SECONDS, WINDOW_FRAMES, Chunk, frame_rms, slice_at_silences

FADE_SECONDS = 0.02  # where two pieces meet: long enough not to click, short enough not to blur an onset
MAX_SECONDS = 30.0  # of a piece: bounds the memory that a song without pauses takes
MIN_HEARD_SECONDS = 0.2  # pitch trackers need several periods of the lowest note


class Piece(NamedTuple):
    """Samples ``start`` to ``end`` of a song, converted from the frames that lie between ``left`` and ``right``.

    Of those, ``first`` to ``last`` is heard, the rest is silence; ``left`` may be negative, ``right`` beyond the song.
    """

    start: int
    end: int
    left: int
    right: int
    first: int
    last: int


class Span(NamedTuple):
    """Samples ``start`` to ``end``; ``inside`` a phrase when it begins where the one before breaks off."""

    start: int
    end: int
    inside: bool = False


def plan(  # noqa: PLR0913  what the command line offers
    wav: np.ndarray,
    sample_rate: int,
    hop_length: int,
    *,
    slice_db: float = -40.0,
    pad_seconds: float = 0.5,
    clip_seconds: float = 0.0,
    overlap_seconds: float = 0.0,
    overlap_retain: float = 0.75,
) -> list[Piece]:
    """Cut (T,) in its pauses; the pieces are in order, and what lies between them is silent.

    Args:
        hop_length: samples per frame; what is heard lasts long enough for whole frames to cover what is kept.
        slice_db: level below which there is a pause, dB relative to full scale.
        pad_seconds: context on both sides; never less than the joins need.
        clip_seconds: cut at this distance, wherever that is, instead of in the quietest places; 0 does not.
        overlap_seconds: such clips begin this much earlier.
        overlap_retain: share of the overlap over which one clip fades into the next.
    """
    fade = 2 * round(sample_rate * FADE_SECONDS / 2)
    context = max(int(sample_rate * pad_seconds), hop_length + fade)
    clip, overlap = round(sample_rate * clip_seconds), round(sample_rate * overlap_seconds)
    spans: list[Span] = []
    for chunk in slice_at_silences(wav, sample_rate, threshold_db=slice_db):
        if chunk.is_silent or not wav[chunk.start : chunk.end].any():
            continue
        if clip:
            spans += _clips(chunk, clip, overlap)
        else:
            spans += _split_long(wav, sample_rate, chunk)
    return _pieces(spans, context, fade=fade, retain=overlap_retain, shortest=round(sample_rate * MIN_HEARD_SECONDS))


def _pieces(spans: list[Span], context: int, *, fade: int, retain: float, shortest: int) -> list[Piece]:
    """Give each span its context, and neighbours the samples over which they fade into each other.

    Context is silence, as in the reference, but for what the joins need and where a phrase is broken without overlap:
    there the voice must be heard going on.
    """
    starts, ends = [span.start for span in spans], [span.end for span in spans]
    for i, (before, after) in enumerate(zip(spans[:-1], spans[1:], strict=True)):
        if after.start > before.end:
            continue  # silence lies between
        shared = before.end - after.start
        length = max(int(shared * retain), min(fade, 2 * (after.end - after.start), 2 * (before.end - before.start)))
        starts[i + 1] = after.start + (shared - length) // 2
        ends[i] = starts[i + 1] + length
    breaks = [span.inside for span in spans] + [False]
    pieces = []
    for i, span in enumerate(spans):
        left, right = span.start - context, max(span.end + context, span.start - context + shortest)
        first = left if breaks[i] else min(span.start, starts[i])
        last = right if breaks[i + 1] else max(span.end, ends[i])
        pieces.append(Piece(starts[i], ends[i], left, right, first, last))
    return pieces


def _clips(chunk: Chunk, length: int, overlap: int) -> Iterator[Span]:
    """Cut a chunk every ``length`` samples; each clip but the first begins ``overlap`` samples earlier."""
    for start in range(chunk.start, chunk.end, length):
        inside = start > chunk.start and overlap == 0
        yield Span(max(start - overlap, chunk.start), min(start + length, chunk.end), inside)


def _split_long(wav: np.ndarray, sample_rate: int, chunk: Chunk) -> Iterator[Span]:
    """Cut a chunk that is longer than `MAX_SECONDS` at the quietest frames that the length allows."""
    longest, hop = int(sample_rate * MAX_SECONDS), round(sample_rate * FRAME_SECONDS)
    start = chunk.start
    while chunk.end - start > longest:
        first = start + longest // 2
        window = wav[first : min(start + longest, chunk.end - longest // 4)]
        cut = first + hop * int(np.argmin(frame_rms(window, WINDOW_FRAMES * hop, hop)[: len(window) // hop]))
        yield Span(start, cut, inside=start > chunk.start)
        start = cut
    yield Span(start, chunk.end, inside=start > chunk.start)


def heard(wav: np.ndarray, piece: Piece) -> np.ndarray:
    """What a piece is converted from: (right - left,) of the song (T,), silence where it hears nothing."""
    source = np.zeros(piece.right - piece.left, dtype=np.float32)
    first, last = max(piece.first, 0), min(piece.last, len(wav))
    source[first - piece.left : last - piece.left] = wav[first:last]
    return source


def join(
    converted: Iterable[tuple[Piece, np.ndarray]], n_samples: int, *, n_conversions: int, fade: int
) -> Iterator[np.ndarray]:
    """Pieces in order, each (K, end - start), to blocks (K, n) that follow one another and last ``n_samples`` in all.

    Where a piece borders on silence inside the song, its own first or last ``fade`` samples are faded.
    """
    pending, position = np.zeros((n_conversions, 0), dtype=np.float32), 0  # pending ends at position
    for piece, wav in converted:
        wav = wav.copy()
        shared = position - piece.start
        if shared > 0:
            yield pending[:, :-shared]
            wav[:, :shared] = cross_fade(pending[:, -shared:], wav[:, :shared])
        else:
            if piece.start > 0:
                _fade_in(wav, fade)
            if position > 0:
                _fade_in(pending[:, ::-1], fade)
                yield pending
            yield np.zeros((n_conversions, -shared), dtype=np.float32)
        pending, position = wav, piece.end
    if position < n_samples:
        _fade_in(pending[:, ::-1], fade)
    yield pending
    yield np.zeros((n_conversions, n_samples - position), dtype=np.float32)


def _fade_in(wav: np.ndarray, length: int) -> None:
    length = min(length, wav.shape[1])
    wav[:, :length] *= np.sin(_quarter_circle(length)).astype(np.float32)


def cross_fade(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Fade from one (K, n) into the other at constant power.

    Sine and cosine do that when the two are unrelated, and give up to 3 dB too much when they are alike: their
    correlation is measured and taken out, so that two equal signals are joined without a trace.
    """
    angle = _quarter_circle(before.shape[1])
    rise, fall = np.sin(angle), np.cos(angle)
    energy = np.sqrt((before**2).sum(axis=1) * (after**2).sum(axis=1))
    alike = np.clip((before * after).sum(axis=1) / np.maximum(energy, 1e-12), 0.0, 1.0)[:, None]  # (K, 1)
    return ((before * fall + after * rise) / np.sqrt(1 + 2 * rise * fall * alike)).astype(np.float32)


def _quarter_circle(n: int) -> np.ndarray:
    return (np.arange(n) + 0.5) * (math.pi / 2 / max(n, 1))
