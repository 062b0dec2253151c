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

import numpy as np
import torch
from tqdm import tqdm

from common import audio, devices
from common.formats import CLIP_SUFFIX, remove_parts
from pipeline.features import FeatureExtractor, FeatureSettings, fingerprint, is_current, write_caches
from pipeline.resampling import SILENCE_DB

logger = logging.getLogger(__name__)

BATCH_SECONDS = 60.0  # audio that is held and encoded at once


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
        ValueError: an encoder, a predictor or a device that cannot be used.
        ChildProcessError: one of several processes was killed. What was done stays.
    """
    clips = sorted(path for path in folder.rglob(f"*{CLIP_SUFFIX}") if audio.is_audio(path))
    if not clips:
        raise FileNotFoundError(f"no wav under {folder}: run python resample.py first")
    remove_parts(folder)
    report = Report()
    pending = _pending(clips, settings, report)
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
            logger.debug("%s failed", clips[0], exc_info=True)
            return [(clips[0], 0.0, _reason(clips[0], error))]

    def _extract(self, clips: list[Path]) -> list[tuple[Path, float]]:
        settings = self.extractor.settings
        made_from = [fingerprint(clip, settings) for clip in clips]
        wavs = [audio.load(clip, settings.sample_rate) for clip in clips]
        if any(np.abs(wav).max() < 10 ** (SILENCE_DB / 20) for wav in wavs):
            raise audio.AudioError(f"silence: it never reaches {SILENCE_DB} dB; remove it")
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
            report.failed.append((clip, _reason(clip, error)))
    return pending


def _reason(clip: Path, error: Exception) -> str:
    """What to say of a clip that failed; its name stands beside it already."""
    known = isinstance(error, (ValueError, OSError))  # raised with a message for the user
    return str(error).removeprefix(f"{clip}: ") if known else f"{type(error).__name__}: {error}"


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
    context = multiprocessing.get_context("spawn")  # CUDA cannot be used in a forked process
    queue = context.Queue()
    for i in range(num_processes):
        queue.put(str(chosen[i % len(chosen)]))
    threads = max(1, (os.cpu_count() or 1) // num_processes)
    with ProcessPoolExecutor(num_processes, context, _start, (settings, queue, seed, threads)) as pool:
        try:
            for job in as_completed([pool.submit(_run, batch) for batch in _batches(clips, num_processes)]):
                yield job.result()
        except BrokenProcessPool:
            raise ChildProcessError(
                "a process was killed, most likely for lack of memory: run again with a smaller --num_processes;"
                " what is done is kept"
            ) from None
