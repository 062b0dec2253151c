"""Every clip of a dataset -> the caches beside it: the journey behind preprocess_hubert_f0.py."""

import logging
import multiprocessing
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from common import audio, devices
from common.formats import CLIP_SUFFIX
from pipeline.features import FeatureExtractor, FeatureSettings, fingerprint, is_current, write_caches

logger = logging.getLogger(__name__)

BATCH_SECONDS = 60  # audio that is held and encoded at once


@dataclass
class Report:
    """How many clips were done, were up to date, and failed (with the reason)."""

    done: int = 0
    skipped: int = 0
    seconds: float = 0.0  # of audio, in the clips that were done
    failed: list[tuple[Path, str]] = field(default_factory=list)


def extract_dataset(
    folder: Path, settings: FeatureSettings, *, device: str | None = None, num_processes: int = 1, seed: int = 1234
) -> Report:
    """Write the caches of every wav under ``folder`` that has none, or stale ones; a bad clip never stops the rest.

    Args:
        device: where the networks run; None takes the best, and spreads several processes over all CUDA devices.
        num_processes: how many clips are worked on at once; 0 means one process per CPU core.

    Raises:
        FileNotFoundError: no wav under ``folder``, or a weights file is missing.
    """
    clips = sorted(path for path in folder.rglob(f"*{CLIP_SUFFIX}") if audio.is_audio(path))
    if not clips:
        raise FileNotFoundError(f"no wav under {folder}: run python resample.py first")
    report = Report()
    pending = _pending(clips, settings, report)
    num_processes = min(num_processes or os.cpu_count() or 1, max(1, len(pending)))
    chosen = [devices.resolve(device)] if device else devices.visible()
    with tqdm(total=len(clips), initial=report.skipped + len(report.failed), unit="clip", desc="features") as bar:
        if num_processes == 1:
            worker = _Worker(settings, chosen[0], seed) if pending else None
            results = (worker.extract(batch) for batch in _batches(pending) if worker)
        else:
            results = _parallel(pending, settings, chosen, num_processes=num_processes, seed=seed)
        for outcomes in results:
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
            logger.debug("%s failed", clips[0], exc_info=True)
            return [(clips[0], 0.0, f"{type(error).__name__}: {error}")]

    def _extract(self, clips: list[Path]) -> list[tuple[Path, float]]:
        settings = self.extractor.settings
        made_from = [fingerprint(clip, settings) for clip in clips]
        wavs = [audio.load(clip, settings.sample_rate) for clip in clips]
        for clip, wav, features, source in zip(clips, wavs, self.extractor.extract_batch(wavs), made_from, strict=True):
            copy_seed = zlib.crc32(f"{self.seed}{source['audio']}".encode())  # the same copies in any order of work
            write_caches(clip, features, self.extractor.perturbed_units(wav, copy_seed), source)
        return [(clip, len(wav) / settings.sample_rate) for clip, wav in zip(clips, wavs, strict=True)]


def _pending(clips: list[Path], settings: FeatureSettings, report: Report) -> list[Path]:
    """Clips whose caches are absent or stale; unreadable ones go to the report at once."""
    pending = []
    for clip in clips:
        try:
            audio.info(clip)
            if is_current(clip, fingerprint(clip, settings)):
                report.skipped += 1
            else:
                pending.append(clip)
        except (audio.AudioError, OSError) as error:
            report.failed.append((clip, str(error)))
    return pending


def _batches(clips: list[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    seconds = 0.0
    for clip in clips:
        length = audio.info(clip).seconds
        if batch and seconds + length > BATCH_SECONDS:
            yield batch
            batch, seconds = [], 0.0
        batch.append(clip)
        seconds += length
    if batch:
        yield batch


_worker: _Worker | None = None  # one per process of the pool


def _start(settings: FeatureSettings, queue: "multiprocessing.Queue[str]", seed: int, threads: int) -> None:
    global _worker
    torch.set_num_threads(threads)
    _worker = _Worker(settings, torch.device(queue.get()), seed)


def _run(batch: list[Path]) -> list[Outcome]:
    assert _worker is not None
    return _worker.extract(batch)


def _parallel(
    clips: list[Path], settings: FeatureSettings, chosen: list[torch.device], *, num_processes: int, seed: int
) -> Iterator[list[Outcome]]:
    context = multiprocessing.get_context("spawn")  # CUDA cannot be used in a forked process
    queue = context.Queue()
    for i in range(num_processes):
        queue.put(str(chosen[i % len(chosen)]))
    threads = max(1, (os.cpu_count() or 1) // num_processes)
    with ProcessPoolExecutor(num_processes, context, _start, (settings, queue, seed, threads)) as pool:
        jobs = [pool.submit(_run, batch) for batch in _batches(clips)]
        for job in as_completed(jobs):
            yield job.result()
