"""The one door to .onnx models: onnxruntime on the device that the rest of the program uses."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from common.registry import NotAvailableError

if TYPE_CHECKING:
    import onnxruntime

CUDA = "CUDAExecutionProvider"


def open_session(path: Path, device: torch.device) -> "onnxruntime.InferenceSession":
    """Load the model in ``path``.

    On CUDA it runs there when the installed onnxruntime can, and so does any operator that CUDA lacks on the CPU; the
    threads on a CPU are as many as torch uses, so that several processes do not fight over the cores.

    Raises:
        NotAvailableError: onnxruntime is not installed, or has no CUDA and ``device`` is a CUDA device.
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
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime raises a class of its own for each of its status codes
        why = str(error).splitlines()[0]
        raise ValueError(f"{path} is damaged, cut off, or no ONNX model: {why}") from None
