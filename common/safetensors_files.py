"""Model files in the safetensors format: tensors, and texts that say what they are. Nothing in them can be run."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from common.formats import write_atomically

SUFFIX = ".safetensors"


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the metadata: each value as what its JSON says, or as text where it is none.

    Raises:
        ValueError: damaged, or a file of another kind.
    """
    with _open(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}, _values(file.metadata())  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, Any]:
    """What `read` returns beside the tensors, without reading those. Raises ValueError as it does."""
    with _open(path) as file:
        return _values(file.metadata())


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write ``path`` whole or not at all; the values of ``metadata`` are anything that JSON can hold."""
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()}
    # The format knows no tensors that share memory, as those of flow_share_parameter do.
    apart = {key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}
    write_atomically(path, lambda file: file.write(save(apart, {"format": "pt", **texts})))  # save_file hides it (0600)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from None


def _values(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    return {key: _value(text) for key, text in (metadata or {}).items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a text of another tool
        return text
