"""kmeans_10000.pt as 4.1 writes it: {speaker name: {n_features_in_, _n_threads, cluster_centers_}}."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cluster.kmeans import LARGEST
from common import unpickle
from common.failures import shown
from common.formats import write_atomically

FILE_NAME = "kmeans_10000.pt"  # whatever the number of clusters


class _OldNumpyPickler(pickle._Pickler):  # type: ignore[name-defined]
    """Calls numpy's functions what numpy 1 called them: numpy 2 reads these names, numpy 1 not those of numpy 2."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if getattr(obj, "__module__", "") == "numpy._core.multiarray":
            self.write(pickle.GLOBAL + f"numpy.core.multiarray\n{obj.__name__}\n".encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)


def write_centres(path: Path, centres: Mapping[str, Tensor]) -> None:
    """Write centres (K, D) by the name of the speaker."""
    content = {
        name: {
            "n_features_in_": table.shape[1],
            "_n_threads": 1,  # of scikit-learn, which old tools hand this to
            "cluster_centers_": np.ascontiguousarray(table.numpy(), np.float32),
        }
        for name, table in centres.items()
    }
    module: Any = SimpleNamespace(__name__=__name__, Pickler=_OldNumpyPickler)
    write_atomically(path, lambda file: torch.save(content, file, pickle_module=module))


def read_centres(path: Path) -> dict[str, Tensor]:
    """Centres (K, D) by the name of the speaker.

    Raises:
        UnsafePickleError: reading the file would call code.
        ValueError: damaged, or no such file; the message names it.
        FileNotFoundError: it is not there.
    """
    content = unpickle.read_file(path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds no clusters: run python cluster/train_cluster.py for some")
    return {str(name): _centres(entry, f"{path}, speaker {shown(name)}") for name, entry in content.items()}


def _centres(entry: Any, where: str) -> Tensor:
    table = entry.get("cluster_centers_") if isinstance(entry, dict) else None
    if isinstance(table, Tensor):
        table = table.float().numpy()
    if not isinstance(table, np.ndarray) or table.dtype.kind != "f" or table.ndim != 2 or 0 in table.shape:
        raise ValueError(f"{where}: no table of cluster centres: run python cluster/train_cluster.py for some")
    with np.errstate(over="ignore"):
        centres = torch.from_numpy(table.astype(np.float32))
    if not (centres.square().sum(1) < LARGEST).all():  # nor is NaN
        raise ValueError(f"{where}: centres that are not finite, or too large to be units")
    return centres
