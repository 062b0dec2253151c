"""Every clip of a dataset -> the caches beside it: the journey behind preprocess_hubert_f0.py."""

import logging
import math
import multiprocessing
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from common import audio, devices
from common.audio import SILENCE_DB
from common.failures import reason
from common.formats import CLIP_SUFFIX, remove_parts
from pipeline.caches import (
    SEED,
    fingerprint,
    read_fingerprint,
    stale_parts,
    write_caches,
    write_fingerprint,
    write_melody,
)
from pipeline.features import FeatureExtractor, Features, FeatureSettings

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


def extract_dataset(
    folder: Path, settings: FeatureSettings, *, device: str | None = None, num_processes: int = 1, seed: int = SEED
) -> Report:
    """Write the caches of every wav under ``folder`` that has none, or stale ones; a bad clip never stops the rest.

    A clip that takes down the process working on it is among the failed ones, if there are several processes.

    Args:
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
    pending = _pending(clips, settings, report, seed)
    num_processes = min(num_processes or os.cpu_count() or 1, max(1, len(pending)))
    chosen = [devices.resolve(device)] if device else devices.visible()
    with tqdm(total=len(clips), initial=report.skipped + len(report.failed), unit="clip", desc="features") as bar:
        for outcomes in _outcomes(pending, settings, chosen, num_processes=num_processes, seed=seed):
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

    def __init__(self, settings: FeatureSettings, device: torch.device, seed: int) -> None:
        self.extractor, self.seed = FeatureExtractor(settings, device), seed

    def extract(self, clips: list[Path]) -> list[Outcome]:
        """Extract a batch; when it fails as a whole, each clip is tried alone, so that the bad one is found."""
        try:
            return [(clip, seconds, "") for clip, seconds in self._extract(clips)]
        except Exception as error:  # the boundary of the batch job: reported per clip
            if len(clips) > 1:
                return [outcome for clip in clips for outcome in self.extract([clip])]
            return [(clips[0], 0.0, reason(error, clips[0]))]

    def _extract(self, clips: list[Path]) -> list[tuple[Path, float]]:
        settings = self.extractor.settings
        made_from = [fingerprint(clip, settings, self.seed) for clip in clips]
        wavs = [audio.load(clip, settings.sample_rate) for clip in clips]
        if any(audio.is_silent(wav) for wav in wavs):
            raise audio.AudioError(f"silence: it never reaches {SILENCE_DB} dB; remove it")
        new = [i for i, clip in enumerate(clips) if stale_parts(clip, made_from[i]).units]
        units = dict(zip(new, self.extractor.units([wavs[i] for i in new]), strict=True))
        for i, (clip, wav, source) in enumerate(zip(clips, wavs, made_from, strict=True)):
            f0, uv, volume = self.extractor.melody(wav)
            if i not in units:  # those that are there were made from the same
                write_melody(clip, f0, uv, volume=volume, made_from=source)
                continue
            copy_seed = zlib.crc32(f"{self.seed}{source['audio']}".encode())  # the same copies in any order of work
            features = Features(units=units[i], f0=f0, uv=uv, volume=volume)
            write_caches(clip, features, self.extractor.perturbed_units(wav, copy_seed), source)
        return [(clip, len(wav) / settings.sample_rate) for clip, wav in zip(clips, wavs, strict=True)]


def _pending(clips: list[Path], settings: FeatureSettings, report: Report, seed: int) -> list[Path]:
    """Clips whose caches are absent or stale; unreadable ones go to the report at once."""
    pending = []
    for clip in tqdm(clips, desc="check", unit="clip"):
        try:
            audio.info(clip)
            current = fingerprint(clip, settings, seed)
            if any(stale_parts(clip, current)):
                pending.append(clip)
                continue
            report.skipped += 1
            if read_fingerprint(clip) != current:  # copied or touched: it need not be read again the next time
                write_fingerprint(clip, current)
        except (audio.AudioError, OSError) as error:
            report.failed.append((clip, reason(error, clip)))
    return pending


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
    clips: list[Path], settings: FeatureSettings, chosen: list[torch.device], *, num_processes: int, seed: int
) -> Iterator[list[Outcome]]:
    """What became of the clips, batch by batch, worked on here or in several processes."""
    if num_processes > 1:
        yield from _parallel(clips, settings, chosen, num_processes=num_processes, seed=seed)
    elif clips:
        worker = _Worker(settings, chosen[0], seed)
        yield from map(worker.extract, _batches(clips, 1))


_worker: _Worker | Exception  # one per process of the pool


def _start(settings: FeatureSettings, queue: "multiprocessing.Queue[str]", seed: int, threads: int) -> None:
    global _worker
    torch.set_num_threads(threads)
    try:
        _worker = _Worker(settings, torch.device(queue.get()), seed)
    except Exception as error:  # raised by `_run`: an initializer that fails breaks the pool without a word
        _worker = error


def _run(batch: list[Path]) -> list[Outcome]:
    if isinstance(_worker, Exception):
        raise _worker
    return _worker.extract(batch)


def _parallel(
    clips: list[Path], settings: FeatureSettings, chosen: list[torch.device], *, num_processes: int, seed: int
) -> Iterator[list[Outcome]]:
    lost: list[Path] = []
    with _pool(settings, chosen, num_processes=num_processes, seed=seed) as pool:
        jobs = {pool.submit(_run, batch): batch for batch in _batches(clips, num_processes)}
        for job in as_completed(jobs):
            try:
                yield job.result()
            except BrokenProcessPool:  # one killed process breaks the pool
                lost += jobs[job]
    if lost:
        logger.warning("a process was killed, most likely for lack of memory: going on clip by clip, in one process")
    while lost:
        with _pool(settings, chosen, num_processes=1, seed=seed) as pool:
            while lost:
                clip = lost.pop(0)
                try:
                    yield pool.submit(_run, [clip]).result()
                except BrokenProcessPool:
                    yield [(clip, 0.0, KILLED)]
                    break


def _pool(
    settings: FeatureSettings, chosen: list[torch.device], *, num_processes: int, seed: int
) -> ProcessPoolExecutor:
    """Processes that each hold a `_Worker`, spread over the devices."""
    context = multiprocessing.get_context("spawn")  # CUDA cannot be used in a forked process
    queue = context.Queue()
    for i in range(num_processes):
        queue.put(str(chosen[i % len(chosen)]))
    threads = max(1, (os.cpu_count() or 1) // num_processes)
    return ProcessPoolExecutor(num_processes, context, _start, (settings, queue, seed, threads))
