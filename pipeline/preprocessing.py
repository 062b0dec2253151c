"""Every clip of a dataset -> the caches beside it: the journey behind preprocess_hubert_f0.py."""

import logging
import math
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common import audio, devices
from common.audio import SILENCE_DB
from common.failures import reason
from common.formats import CLIP_SUFFIX, remove_parts
from pipeline.caches import (
    SEED,
    copy_seed,
    fingerprint,
    read_fingerprint,
    stale_parts,
    write_caches,
    write_fingerprint,
    write_melody,
)
from pipeline.features import FeatureExtractor, Features, FeatureSettings
from pipeline.mel_caches import make_mels, mel_fingerprint, mels_are_current, write_mels
from vdecoder.mel_format import MelFormat

logger = logging.getLogger(__name__)

BATCH_SECONDS = 60.0  # audio that is held and encoded at once
KILLED = "the process working on it was killed, most likely for lack of memory: use a smaller --num_processes"


@dataclass
class Report:
    """How many clips were done, were up to date, and failed (with the reason)."""

    done: int = 0
    skipped: int = 0
    seconds: float = 0.0  # of audio, in the clips that were done
    failed: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Wanted:
    """What shall lie beside every clip."""

    settings: FeatureSettings
    mel_format: MelFormat | None  # None: no mels
    seed: int


def extract_dataset(
    folder: Path,
    settings: FeatureSettings,
    *,
    mel_format: MelFormat | None = None,
    device: str | None = None,
    num_processes: int = 1,
    seed: int = SEED,
) -> Report:
    """Write the caches of every wav under ``folder`` that has none, or stale ones; a bad clip never stops the rest.

    A clip that takes down the process working on it is among the failed ones, if there are several processes.

    Args:
        mel_format: of the mels that train_diff.py needs; None writes none.
        device: where the networks run; None takes the best, and spreads several processes over all CUDA devices.
        num_processes: how many clips are worked on at once; 0 means one process per CPU core.

    Raises:
        FileNotFoundError: no wav under ``folder``, or a weights file is missing.
        ValueError: an encoder, a predictor or a device that cannot be used.
    """
    clips = sorted(path for path in folder.rglob(f"*{CLIP_SUFFIX}") if audio.is_audio(path))
    if not clips:
        raise FileNotFoundError(f"no wav under {folder}: run python resample.py first")
    remove_parts(folder)
    report = Report()
    wanted = Wanted(settings, mel_format, seed)
    pending = _pending(clips, wanted, report)
    num_processes = min(num_processes or os.cpu_count() or 1, max(1, len(pending)))
    chosen = [devices.resolve(device)] if device else devices.visible()
    with tqdm(total=len(clips), initial=report.skipped + len(report.failed), unit="clip", desc="features") as bar:
        for outcomes in _outcomes(pending, wanted, chosen, num_processes=num_processes):
            for clip, seconds, problem in outcomes:
                if problem:
                    report.failed.append((clip, problem))
                else:
                    report.done += 1
                    report.seconds += seconds
                bar.update()
    return report


Outcome = tuple[Path, float, str]  # clip, its seconds, what went wrong ("" when nothing did)


class _Worker:
    """One process' extractor and what it does with a batch of clips."""

    def __init__(self, wanted: Wanted, device: torch.device) -> None:
        self.wanted, self.extractor = wanted, FeatureExtractor(wanted.settings, device)

    def extract(self, clips: list[Path]) -> list[Outcome]:
        """Extract a batch; when it fails as a whole, each clip is tried alone, so that the bad one is found."""
        try:
            return [(clip, seconds, "") for clip, seconds in self._extract(clips)]
        except Exception as error:  # the boundary of the batch job: reported per clip
            if len(clips) > 1:
                return [outcome for clip in clips for outcome in self.extract([clip])]
            return [(clips[0], 0.0, reason(error, clips[0]))]

    def _extract(self, clips: list[Path]) -> list[tuple[Path, float]]:
        settings = self.wanted.settings
        made_from = [fingerprint(clip, settings, self.wanted.seed) for clip in clips]
        wavs = [audio.load(clip, settings.sample_rate) for clip in clips]
        if any(audio.is_silent(wav) for wav in wavs):
            raise audio.AudioError(f"silence: it never reaches {SILENCE_DB} dB; remove it")
        stale = [stale_parts(clip, source) for clip, source in zip(clips, made_from, strict=True)]
        new = [i for i, parts in enumerate(stale) if parts.units]
        units = dict(zip(new, self.extractor.units([wavs[i] for i in new]), strict=True)) if new else {}
        for i, (clip, wav, source) in enumerate(zip(clips, wavs, made_from, strict=True)):
            if any(stale[i]):
                self._write_features(clip, wav, units.get(i), source)
            self._write_mels(clip, wav, source["audio"])
        return [(clip, len(wav) / settings.sample_rate) for clip, wav in zip(clips, wavs, strict=True)]

    def _write_features(self, clip: Path, wav: np.ndarray, units: Tensor | None, source: dict[str, Any]) -> None:
        f0, uv, volume = self.extractor.melody(wav)
        if units is None:  # those that are there were made from the same
            write_melody(clip, f0, uv, volume=volume, made_from=source)
            return
        copies = self.extractor.perturbed_units(wav, copy_seed(self.wanted.seed, source["audio"]))
        write_caches(clip, Features(units=units, f0=f0, uv=uv, volume=volume), copies, source)

    def _write_mels(self, clip: Path, wav: np.ndarray, digest: str) -> None:
        mel_format, seed = self.wanted.mel_format, self.wanted.seed
        if mel_format is None:
            return
        source = mel_fingerprint(digest, mel_format, seed)
        if not mels_are_current(clip, source):
            write_mels(clip, make_mels(wav, mel_format, copy_seed(seed, digest)), source)


def _pending(clips: list[Path], wanted: Wanted, report: Report) -> list[Path]:
    """Clips whose caches are absent or stale; unreadable ones go to the report at once."""
    pending = []
    for clip in tqdm(clips, desc="check", unit="clip"):
        try:
            audio.info(clip)
            current = fingerprint(clip, wanted.settings, wanted.seed)
            if any(stale_parts(clip, current)) or _lacks_mels(clip, wanted, current["audio"]):
                pending.append(clip)
                continue
            report.skipped += 1
            if read_fingerprint(clip) != current:  # copied or touched: it need not be read again the next time
                write_fingerprint(clip, current)
        except (audio.AudioError, OSError) as error:
            report.failed.append((clip, reason(error, clip)))
    return pending


def _lacks_mels(clip: Path, wanted: Wanted, digest: str) -> bool:
    if wanted.mel_format is None:
        return False
    return not mels_are_current(clip, mel_fingerprint(digest, wanted.mel_format, wanted.seed))


def _batches(clips: list[Path], n_parts: int) -> list[list[Path]]:
    """Clips in batches of at most ``BATCH_SECONDS``, and no longer than leaves work for ``n_parts`` processes."""
    lengths = [audio.info(clip).seconds for clip in clips]
    limit = min(BATCH_SECONDS, sum(lengths) / n_parts)
    batches: list[list[Path]] = []
    seconds = math.inf
    for clip, length in zip(clips, lengths, strict=True):
        if seconds + length > limit:
            batches.append([])
            seconds = 0.0
        batches[-1].append(clip)
        seconds += length
    return batches


def _outcomes(
    clips: list[Path], wanted: Wanted, chosen: list[torch.device], *, num_processes: int
) -> Iterator[list[Outcome]]:
    """What became of the clips, batch by batch, worked on here or in several processes."""
    if num_processes > 1:
        yield from _parallel(clips, wanted, chosen, num_processes=num_processes)
    elif clips:
        worker = _Worker(wanted, chosen[0])
        yield from map(worker.extract, _batches(clips, 1))


_worker: _Worker | Exception  # one per process of the pool


def _start(wanted: Wanted, queue: "multiprocessing.Queue[str]", threads: int) -> None:
    global _worker
    torch.set_num_threads(threads)
    try:
        _worker = _Worker(wanted, torch.device(queue.get()))
    except Exception as error:  # raised by `_run`: an initializer that fails breaks the pool without a word
        _worker = error


def _run(batch: list[Path]) -> list[Outcome]:
    if isinstance(_worker, Exception):
        raise _worker
    return _worker.extract(batch)


def _parallel(
    clips: list[Path], wanted: Wanted, chosen: list[torch.device], *, num_processes: int
) -> Iterator[list[Outcome]]:
    lost: list[Path] = []
    with _pool(wanted, chosen, num_processes=num_processes) as pool:
        jobs = {pool.submit(_run, batch): batch for batch in _batches(clips, num_processes)}
        for job in as_completed(jobs):
            try:
                yield job.result()
            except BrokenProcessPool:  # one killed process breaks the pool
                lost += jobs[job]
    if lost:
        logger.warning("a process was killed, most likely for lack of memory: going on clip by clip, in one process")
    while lost:
        with _pool(wanted, chosen, num_processes=1) as pool:
            while lost:
                clip = lost.pop(0)
                try:
                    yield pool.submit(_run, [clip]).result()
                except BrokenProcessPool:
                    yield [(clip, 0.0, KILLED)]
                    break


def _pool(wanted: Wanted, chosen: list[torch.device], *, num_processes: int) -> ProcessPoolExecutor:
    """Processes that each hold a `_Worker`, spread over the devices."""
    context = multiprocessing.get_context("spawn")  # CUDA cannot be used in a forked process
    queue = context.Queue()
    for i in range(num_processes):
        queue.put(str(chosen[i % len(chosen)]))
    threads = max(1, (os.cpu_count() or 1) // num_processes)
    return ProcessPoolExecutor(num_processes, context, _start, (wanted, queue, threads))
