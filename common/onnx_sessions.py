"""The one door to .onnx models: onnxruntime on the device that the rest of the program uses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from common.registry import NotAvailableError

if TYPE_CHECKING:
    import onnxruntime

CUDA = "CUDAExecutionProvider"


def open_session(path: Path, device: torch.device) -> "onnxruntime.InferenceSession":
    """Load the model in ``path``.

    On a CUDA device it runs there, but for operators that CUDA lacks; elsewhere on the CPU, with as many threads as
    torch uses, so that several processes do not fight over the cores.

    Raises:
        NotAvailableError: onnxruntime is not installed, or ``device`` is a CUDA device and it cannot use CUDA.
        FileNotFoundError: no such file.
        ValueError: it is no model that onnxruntime can load; the message gives the first line of its reason.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise NotAvailableError(f"{path} needs a package: pip install onnxruntime") from error
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; warnings about shapes say nothing to a user
    providers: list[str | tuple[str, dict[str, int]]] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if CUDA not in onnxruntime.get_available_providers():
            raise NotAvailableError(
                f"{path} on {device} needs another package: pip uninstall onnxruntime; pip install onnxruntime-gpu"
                " (or run with -d cpu)"
            )
        providers.insert(0, (CUDA, {"device_id": device.index or 0}))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime raises a class of its own for each of its status codes
        raise ValueError(f"{path} is damaged, cut off, or no ONNX model: {_reason(error)}") from None
    if device.type == "cuda" and CUDA not in session.get_providers():  # it goes on with the CPU after a word in its log
        raise NotAvailableError(
            f"{path}: onnxruntime cannot start CUDA on {device}; the lines above say why, most often that its version"
            " wants other CUDA libraries than are installed (or run with -d cpu)"
        )
    return session


def run(
    session: "onnxruntime.InferenceSession",
    outputs: Sequence[str],
    feeds: Mapping[str, NDArray[Any]],
    *,
    where: Path,
) -> list[NDArray[Any]]:
    """The arrays called ``outputs`` for ``feeds``, the inputs by name; ``where`` is the file, for messages.

    Raises:
        ValueError: the model fails; the message gives the first line of onnxruntime's reason.
    """
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4  # what it would log is raised
    try:
        return session.run(list(outputs), dict(feeds), options)
    except Exception as error:  # onnxruntime raises a class of its own for each of its status codes
        raise ValueError(f"{where} cannot be run: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0]
