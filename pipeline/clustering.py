"""Cached units of every speaker -> cluster centres or feature indexes, which a conversion can lean on.

The journeys of cluster/train_cluster.py and train_index.py.
"""

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from cluster.centres_file import FILE_NAME, write_centres
from cluster.feature_index import FeatureIndex, build_index
from cluster.index_file import FORMATS, write_index, write_pickle
from cluster.kmeans import kmeans
from common import devices
from common.config import Config
from common.failures import reason
from pipeline.unit_frames import FrameFile, SpeakerUnits, scan_units, shuffled_frames, speaker_folders

logger = logging.getLogger(__name__)

N_CLUSTERS = 10_000
FRAMES_PER_CLUSTER = 2  # at least, on average: centres of single frames would be frames, not clusters
INDEX_NAME = "feature_and_index.pkl"
MAX_VECTORS = 200_000  # of an index; more are first reduced to N_CLUSTERS centres


@dataclass
class ClusterReport:
    """What was written, and what could not be used (clip or speaker, with the reason)."""

    written: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def train_clusters(
    dataset: Path, output: Path, *, n_clusters: int = N_CLUSTERS, minibatch: bool = False, gpu: bool = False, seed: int
) -> ClusterReport:
    """Cluster the units of each speaker's folder in ``dataset`` and write kmeans_10000.pt to ``output``.

    Raises:
        FileNotFoundError: no speaker in the dataset.
        ValueError: no clusters asked for, or a GPU that is not there.
    """
    if n_clusters < 1:
        raise ValueError(f"--n_clusters must be at least 1, got {n_clusters}")
    device, report = _device(gpu), ClusterReport()
    centres: dict[str, Tensor] = {}
    for folder in speaker_folders(dataset):
        units = _scan(folder, report)
        if units is None:
            continue
        n_frames = sum(units.n_frames)
        k = max(1, min(n_clusters, n_frames // FRAMES_PER_CLUSTER))
        if k < n_clusters:
            logger.info("%s: %d clusters instead of %d, since it has %d frames", folder.name, k, n_clusters, n_frames)
        with shuffled_frames(units, output, seed) as frames:
            centres[folder.name] = kmeans(
                frames, k, device=device, seed=seed, minibatch=minibatch, description=folder.name
            )
    if centres:
        write_centres(output / FILE_NAME, centres)
        report.written.append(output / FILE_NAME)
    return report


def train_indexes(
    config: Config, dataset: Path, output: Path, *, index_format: str = "pkl", gpu: bool = False, seed: int
) -> ClusterReport:
    """Build the feature index of every speaker of ``config`` from ``dataset`` and write them to ``output``.

    "pkl" makes one feature_and_index.pkl, "index" one Index-<speaker id>.index for each speaker.

    Raises:
        ValueError: unknown format, or a GPU that is not there.
    """
    if index_format not in FORMATS:
        raise ValueError(f"unknown index format {index_format!r}; choose one of: {', '.join(FORMATS)}")
    report = ClusterReport()
    indexes = _indexes(config, dataset, output, report, device=_device(gpu), seed=seed)
    if index_format == "index":
        for speaker_id, index in indexes:
            path = output / f"Index-{speaker_id}.index"
            write_index(path, index)
            report.written.append(path)
    elif (first := next(indexes, None)) is not None:
        write_pickle(output / INDEX_NAME, itertools.chain([first], indexes))
        report.written.append(output / INDEX_NAME)
    return report


def _indexes(
    config: Config, dataset: Path, work_folder: Path, report: ClusterReport, *, device: torch.device, seed: int
) -> Iterator[tuple[int, FeatureIndex]]:
    """Speaker id and index of one speaker after the other, so that one at a time is in memory."""
    for name, speaker_id in sorted(config.spk.items(), key=lambda item: item[1]):
        units = _scan(dataset / name, report)
        if units is None:
            continue
        with shuffled_frames(units, work_folder, seed) as frames:
            yield speaker_id, _index(frames, name, device=device, seed=seed)


def _index(frames: FrameFile, name: str, *, device: torch.device, seed: int) -> FeatureIndex:
    n_frames = frames.shape[0]
    if n_frames <= MAX_VECTORS:
        vectors = frames[0:n_frames]
    else:
        logger.info("%s: %d frames, of which %d cluster centres go into the index", name, n_frames, N_CLUSTERS)
        reduced = kmeans(frames, N_CLUSTERS, device=device, seed=seed, minibatch=True, description=name)
        vectors = reduced.numpy()
    index = build_index(vectors, device=device, seed=seed, description=f"{name}: lists")
    logger.info("%s: index of %d vectors in %d lists", name, len(vectors), len(index.sizes))
    return index


def _scan(folder: Path, report: ClusterReport) -> SpeakerUnits | None:
    """The units of a speaker, or None where there are none that can be used; ``report`` says why."""
    try:
        units = scan_units(folder)
    except FileNotFoundError as error:
        report.failed.append(f"speaker {folder.name}: {reason(error)}")
        return None
    report.failed += [f"{clip}: {problem}" for clip, problem in units.failed]
    return units if units.clips else None


def _device(gpu: bool) -> torch.device:
    device = devices.resolve(None if gpu else "cpu")
    if gpu and device.type == "cpu":
        raise ValueError("--gpu was asked for, but no GPU is present: leave it out")
    return device
