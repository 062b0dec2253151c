"""From recordings of any kind to mono 44.1 kHz clips, one folder per speaker (the journey of resample.py).

Each recording is read as mono, trimmed of silence at both ends, resampled, normalised to its peak, and written whole or
cut into clips.
"""

import itertools
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from common import audio, formats
from common.failures import reason
from common.logs import setup_logging
from modules.slicing import cut_clips, trim
from pipeline.pitch_range import PitchRange, pitch_range
from pipeline.recordings import Recording, clips_of, plan, settle

SAFE_PEAK = 0.98  # what a recording that exceeds full scale is lowered to
MIN_SECONDS = 0.3  # shorter clips would be left out of the filelists
INT16_SCALE = 32767
PITCH_SECONDS, PITCH_PIECES = 60, 12  # audio per speaker from which the pitch range is taken, in so many pieces
SPEAKERS_PER_TRACKER = 8  # a process needs as long to load the tracker as to track a few speakers


@dataclass(frozen=True)
class SliceOptions:
    """How recordings are cut: clip lengths and shortest pause in seconds, level in dB below the recording's peak."""

    min_seconds: float = 5.0
    max_seconds: float = 15.0
    interval: float = 0.3
    db: float = -40.0

    def __post_init__(self) -> None:
        shortest, longest = self.min_seconds, self.max_seconds
        if not 0 < 2 * shortest <= longest:
            raise ValueError(f"--slice_max ({longest} s) must be at least twice --slice_min ({shortest} s, above 0)")
        if self.db >= 0 or self.interval <= 0:
            raise ValueError("--slice_db must be below 0 dB and --slice_interval above 0 s")


@dataclass(frozen=True)
class ResampleOptions:
    """What is done to every recording."""

    sample_rate: int = 44100
    skip_loudnorm: bool = False
    slicing: SliceOptions | None = None


@dataclass
class Outcome:
    """The clips made of one recording, or the reason why there are none."""

    recording: Recording
    clips: list[str] = field(default_factory=list)
    reason: str | None = None


@dataclass(frozen=True)
class SpeakerSummary:
    """What one speaker's folder holds after the run."""

    name: str
    clips: int
    seconds: float
    pitch: PitchRange | None  # None: nothing voiced, or no tracker, which was said then


@dataclass(frozen=True)
class ResampleReport:
    """What was made, what was rejected and why, and things to know."""

    speakers: list[SpeakerSummary]
    rejected: list[tuple[Path, str]]
    notices: list[str]

    def table(self) -> str:
        """One line per speaker, then one per rejected file."""
        rows = [("speaker", "clips", "minutes", "pitch: 5 % / median / 95 % of the voiced frames")] + [
            (s.name, str(s.clips), f"{s.seconds / 60:.1f}", str(s.pitch or "none found")) for s in self.speakers
        ]
        name, clips, minutes = (max(len(row[i]) for row in rows) for i in range(3))
        lines = [f"{a:<{name}}  {b:>{clips}}  {c:>{minutes}}  {d}" for a, b, c, d in rows]
        if self.rejected:
            lines += ["", f"rejected: {len(self.rejected)}", *(f"  {path}: {why}" for path, why in self.rejected)]
        return "\n".join(lines)


def resample_dataset(
    in_dir: Path, out_dir: Path, options: ResampleOptions, *, num_processes: int = 0
) -> ResampleReport:
    """Convert every recording under ``in_dir``/<speaker>/ into clips in ``out_dir``/<speaker>/.

    ``num_processes`` 0 means one per CPU core. A recording that cannot be used never stops the rest.

    Raises:
        FileNotFoundError: ``in_dir`` is missing or holds no recording in a speaker's folder.
        ValueError: ``out_dir`` lies in ``in_dir``, or the record of an earlier run is damaged.
    """
    planned = plan(in_dir, out_dir)
    formats.remove_parts(out_dir)
    n_workers = num_processes or os.cpu_count() or 1
    to_clips = partial(convert, out_dir=out_dir, options=options)
    done = _run(to_clips, planned.recordings, n_workers, label="resample")
    lost = "the process working on it was killed: out of memory?"
    outcomes = [o or Outcome(recording, reason=lost) for o, recording in zip(done, planned.recordings, strict=True)]
    speakers = []
    for speaker, group in itertools.groupby(outcomes, key=lambda outcome: outcome.recording.speaker):
        made = {outcome.recording: outcome.clips for outcome in group if not outcome.reason}
        if made:
            settle(out_dir / speaker, made)
        if clips_of(out_dir / speaker):
            speakers.append(speaker)
    to_summary = partial(summarise, out_dir=out_dir, sample_rate=options.sample_rate)
    n_trackers = min(n_workers, len(speakers) // SPEAKERS_PER_TRACKER)
    summaries = [summary for summary in _run(to_summary, speakers, n_trackers, label="pitch") if summary]
    rejected = planned.rejected + [(o.recording.path, o.reason) for o in outcomes if o.reason]
    return ResampleReport(summaries, sorted(rejected), planned.notices)


def convert(recording: Recording, out_dir: Path, options: ResampleOptions) -> Outcome:
    """Write the clips of one recording; whatever is wrong with it becomes the outcome's reason."""
    try:
        clips = dict(_clips(recording.stem, _prepare(recording.path, options), options))
        for name, clip in clips.items():
            samples = np.rint(np.clip(clip, -1, 1) * INT16_SCALE).astype(np.int16)
            audio.save(out_dir / recording.speaker / name, samples, options.sample_rate, subtype="PCM_16")
    except Exception as error:  # the boundary of the batch job: reported per recording
        return Outcome(recording, reason=reason(error, recording.path))
    if not clips:
        return Outcome(recording, reason=f"too short: less than {MIN_SECONDS} s of it is not silence at an end")
    return Outcome(recording, clips=list(clips))


def _prepare(path: Path, options: ResampleOptions) -> np.ndarray:
    """One recording as (T,) float32 at the wanted rate, trimmed and levelled."""
    wav, sample_rate = audio.load_native(path)
    if audio.is_silent(wav):
        raise audio.AudioError(f"silence: it never reaches {audio.SILENCE_DB} dB")
    wav = trim(wav)
    if (peak := audio.peak(wav)) > 1:
        wav = wav * np.float32(SAFE_PEAK / peak)
    wav = audio.resample(wav, sample_rate, options.sample_rate)
    return wav if options.skip_loudnorm else wav / np.float32(audio.peak(wav))


def _clips(stem: str, wav: np.ndarray, options: ResampleOptions) -> Iterator[tuple[str, np.ndarray]]:
    """Names and samples of those clips of ``wav`` that are long enough."""
    shortest = MIN_SECONDS * options.sample_rate
    if options.slicing is None:
        if len(wav) >= shortest:
            yield f"{stem}{formats.CLIP_SUFFIX}", wav
        return
    clips = cut_clips(
        wav,
        options.sample_rate,
        min_seconds=options.slicing.min_seconds,
        max_seconds=options.slicing.max_seconds,
        min_interval=options.slicing.interval,
        threshold_db=options.slicing.db + 20 * math.log10(audio.peak(wav)),
    )
    for i, clip in enumerate(clip for clip in clips if len(clip) >= shortest):
        yield f"{stem}_{i:03d}{formats.CLIP_SUFFIX}", clip


def summarise(speaker: str, out_dir: Path, sample_rate: int) -> SpeakerSummary:
    """Add up the clips of one speaker, and take the pitch range of pieces spread over them."""
    clips = clips_of(out_dir / speaker)
    seconds = [audio.info(clip).seconds for clip in clips]
    chosen = clips[:: -(-len(clips) // PITCH_PIECES)]
    length = PITCH_SECONDS * sample_rate // len(chosen)
    pieces = (_middle(audio.load(clip, sample_rate), length) for clip in chosen)
    return SpeakerSummary(speaker, clips=len(clips), seconds=sum(seconds), pitch=pitch_range(pieces, sample_rate))


def _middle(wav: np.ndarray, n_samples: int) -> np.ndarray:
    start = max(0, (len(wav) - n_samples) // 2)
    return wav[start : start + n_samples]


def _run(function: Callable[[Any], Any], items: Sequence[Any], n_workers: int, *, label: str) -> list[Any]:
    """``function`` of each item, in order, over ``n_workers`` processes; None where the process was killed."""
    if min(n_workers, len(items)) <= 1:
        return [function(item) for item in tqdm(items, desc=label)]
    with _pool(min(n_workers, len(items))) as pool:
        futures = [pool.submit(function, item) for item in items]
        # one killed process breaks the pool: what is left is done one by one, which tells whose fault it was
        return [
            _result(future) or _alone(function, item)
            for item, future in zip(tqdm(items, desc=label), futures, strict=True)
        ]


def _pool(n_workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(n_workers, mp_context=context, initializer=setup_logging)


def _alone(function: Callable[[Any], Any], item: Any) -> Any:
    with _pool(1) as pool:
        return _result(pool.submit(function, item))


def _result(future: Future) -> Any:
    try:
        return future.result()
    except BrokenProcessPool:
        return None
