"""Units moved towards a target voice's own: to the nearest cluster centre, or to the nearest of its recorded frames.

Letters: F frames, D unit channels, K neighbours.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cluster.centres_file import FILE_NAME, read_centres
from cluster.feature_index import FeatureIndex
from cluster.index_file import read_indexes
from cluster.kmeans import nearest
from common.unpickle import UnsafePickleError
from pipeline.clustering import INDEX_NAME
from pipeline.voice import Voice

logger = logging.getLogger(__name__)

N_NEIGHBOURS = 8  # as in the reference
SMALLEST_DISTANCE = 1e-12  # squared; a frame that is in the index counts as this near
MAKE = {False: "python cluster/train_cluster.py", True: "python train_index.py"}


class UnitMixer(ABC):
    """Mixes units with what a file knows of a speaker's.

    ``widths`` are D by speaker id, ``known`` says who is in the file.
    """

    def __init__(self, path: Path, voice: Voice, *, widths: Mapping[int, int], known: Iterable[str]) -> None:
        self.path, self.voice = path, voice
        self.widths, self.known = widths, list(known)

    def check(self, speaker_id: int) -> None:
        """Raise ValueError unless the file has this speaker, with units of the model's encoder."""
        if speaker_id not in self.widths:
            names = {i: name for name, i in self.voice.speakers.items()}
            who = f"{names[speaker_id]} (id {speaker_id})" if speaker_id in names else f"id {speaker_id}"
            raise ValueError(f"{self.path} has no speaker {who}; it has: {', '.join(self.known)}")
        if self.widths[speaker_id] != self.voice.unit_channels:
            raise ValueError(
                f"{self.path} holds units of {self.widths[speaker_id]} channels, the model's encoder "
                f"{self.voice.speech_encoder} makes {self.voice.unit_channels}: it belongs to another model"
            )

    def mix(self, units: Tensor, speaker_id: int, *, ratio: float) -> Tensor:
        """``ratio`` parts of the speaker's own units and 1 - ``ratio`` of ``units`` (F, D), on the frame grid.

        Raises:
            ValueError: a ratio outside 0 to 1, and as `check`.
        """
        if not 0 <= ratio <= 1:
            raise ValueError(f"the share of the target's own units must lie between 0 and 1, got {ratio}")
        self.check(speaker_id)
        return units if ratio == 0 else torch.lerp(units, self.own(units, speaker_id), ratio)

    @abstractmethod
    def own(self, units: Tensor, speaker_id: int) -> Tensor:
        """What the speaker has instead of ``units`` (F, D)."""


class ClusterMixer(UnitMixer):
    """The cluster centre with the smallest Euclidean distance."""

    def __init__(self, path: Path, voice: Voice, device: torch.device) -> None:
        found = read_centres(path)
        self.centres = {
            voice.speakers[name]: table.to(device) for name, table in found.items() if name in voice.speakers
        }
        super().__init__(path, voice, widths={i: table.size(1) for i, table in self.centres.items()}, known=found)

    def own(self, units: Tensor, speaker_id: int) -> Tensor:
        centres = self.centres[speaker_id]
        return centres[nearest(units, centres)[0]]


class RetrievalMixer(UnitMixer):
    """The mean of the nearest recorded frames, weighted by one over the fourth power of their distance."""

    def __init__(
        self, path: Path, voice: Voice, device: torch.device, *, neighbours: int = N_NEIGHBOURS, probes: int | None
    ) -> None:
        indexes = read_indexes(path)
        if None in indexes:  # a file of another tool, of one voice
            logger.info("%s names no speaker: its voice is taken for the one that is asked for", path)
            indexes = dict.fromkeys(voice.speakers.values(), indexes[None])
        self.indexes: dict[int, FeatureIndex] = {i: index for i, index in indexes.items() if i is not None}
        widths = {i: index.vectors.size(1) for i, index in self.indexes.items()}
        super().__init__(path, voice, widths=widths, known=[f"id {i}" for i in widths])
        self.device, self.neighbours, self.probes = device, neighbours, probes

    def own(self, units: Tensor, speaker_id: int) -> Tensor:
        index = self.indexes[speaker_id] = self.indexes[speaker_id].to(self.device)
        distances, positions = index.search(units, self.neighbours, self.probes)  # (F, K)
        distances = distances.clamp(min=SMALLEST_DISTANCE)
        weights = (distances.amin(1, keepdim=True) / distances).square()  # of the nearest one: 1
        weights /= weights.sum(1, keepdim=True)
        return (index.vectors[positions] * weights[:, :, None]).sum(1)


def default_path(feature_retrieval: bool) -> Path:
    """Where the two scripts write to when nothing else is said."""
    return Path("logs/44k") / (INDEX_NAME if feature_retrieval else FILE_NAME)


def load_unit_mixer(
    path: Path,
    *,
    feature_retrieval: bool,
    voice: Voice,
    device: torch.device,
    neighbours: int = N_NEIGHBOURS,
    probes: int | None = None,
) -> UnitMixer:
    """Read clusters, or an index for ``feature_retrieval``, of the speakers of ``voice``.

    Args:
        neighbours: how many frames retrieval averages.
        probes: how many lists of the index it looks through; None takes the file's own number, which is 1.

    Raises:
        FileNotFoundError: there is no such file; the message names the script that makes one.
        UnsafePickleError: reading the file would call code.
        ValueError: damaged, of the other kind, or settings that cannot be.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: run {MAKE[feature_retrieval]} for it, or name another with -cm")
    if neighbours < 1 or (probes is not None and probes < 1):
        raise ValueError(f"retrieval needs at least one neighbour and one probe, got {neighbours} and {probes}")
    try:
        if feature_retrieval:
            return RetrievalMixer(path, voice, device, neighbours=neighbours, probes=probes)
        return ClusterMixer(path, voice, device)
    except UnsafePickleError:
        raise
    except ValueError:
        if feature_retrieval and _readable(read_centres, path):
            raise ValueError(f"{path} holds clusters: leave -fr out, or name a feature index with -cm") from None
        if not feature_retrieval and _readable(read_indexes, path):
            raise ValueError(f"{path} is a feature index: add -fr, or name clusters with -cm") from None
        raise


def _readable(read: Callable[[Path], Any], path: Path) -> bool:
    try:
        read(path)
    except ValueError:
        return False
    return True
