"""Networks to .onnx files: traced, written, and compared with torch in onnxruntime before they appear.

By tracing (torch's TorchScript exporter), because every network here is straight-line code for one item: its branches
ask about batches and paddings, which a graph does not have, and about memory. The newer exporter (dynamo) wants one
more package, and guards on lengths where attention is cut into blocks.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.formats import replacing
from common.onnx_sessions import open_session, run
from common.registry import NotAvailableError

OPSET = 18
TOLERANCE = 1e-4  # between onnxruntime and torch, of the largest value where that is above 1
PACKAGES = "pip install onnx onnxruntime -c constraints.txt"

Axes = Mapping[str, Mapping[int, str]]  # names of tensors, and of their axes whose length is free


@dataclass(frozen=True)
class Graph:
    """A network with what one file of it is called outside.

    Attributes:
        module: takes the tensors of ``example`` in their order.
        inputs, outputs: the free axes; an input that is left out has none.
        example: inputs of a length.
        lengths: the graph is traced at the first, and compared at the others.
        defaults: values of the inputs that a user may leave out.
    """

    module: nn.Module
    example: Callable[[int], dict[str, Tensor]]
    inputs: Axes
    outputs: Axes
    lengths: tuple[int, ...]
    defaults: Mapping[str, Tensor] = field(default_factory=dict)


def write_graph(graph: Graph, path: Path, *, properties: Mapping[str, str]) -> float:
    """Write ``graph`` to ``path``; returns the largest difference between onnxruntime and torch.

    Args:
        properties: what the file says of itself.

    Raises:
        NotAvailableError: onnx or onnxruntime is not installed.
        ValueError: the file gives something else than the network. It is not kept; what was at ``path`` is.
    """
    require_packages()
    graph.module.eval()
    with replacing(path) as part, torch.no_grad():
        _trace(graph, part)
        _describe(graph, part, properties)
        return _compare(graph, part, path)


def require_packages() -> None:
    """Ask for the packages before anything is loaded. Raises NotAvailableError with the command that installs them."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        raise NotAvailableError(f"ONNX export needs the package {error.name}: {PACKAGES}") from None


def _trace(graph: Graph, part: Path) -> None:
    example = graph.example(graph.lengths[0]) | dict(graph.defaults)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of branches on lengths, see above; of the exporter's age
        torch.onnx.export(
            graph.module,
            tuple(example.values()),
            str(part),
            input_names=list(example),
            output_names=list(graph.outputs),
            dynamic_axes={name: dict(axes) for name, axes in [*graph.inputs.items(), *graph.outputs.items()]},
            opset_version=OPSET,
            dynamo=False,
        )


def _describe(graph: Graph, part: Path, properties: Mapping[str, str]) -> None:
    """Say what the file is: its properties, the default values of its inputs, the shapes of its outputs."""
    import onnx

    model, example = onnx.load(str(part), format="protobuf"), graph.example(graph.lengths[0])
    for name in example.keys() - {value.name for value in model.graph.input}:  # tracing drops what is not used
        shape = [graph.inputs.get(name, {}).get(axis, size) for axis, size in enumerate(example[name].shape)]
        kind = onnx.helper.np_dtype_to_tensor_dtype(example[name].numpy().dtype)
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    made = _outputs(graph, example)
    for output, tensor in zip(model.graph.output, made, strict=True):
        for axis, (size, dim) in enumerate(zip(tensor.shape, output.type.tensor_type.shape.dim, strict=True)):
            if axis not in graph.outputs[output.name]:
                dim.dim_value = size
    for name, value in graph.defaults.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value.numpy(), name))
    onnx.helper.set_model_props(model, dict(properties))
    onnx.checker.check_model(model)
    onnx.save(model, str(part), format="protobuf")


def _compare(graph: Graph, part: Path, path: Path) -> float:
    session, largest = open_session(part, torch.device("cpu")), 0.0
    for length in graph.lengths[1:]:
        example = graph.example(length)
        feeds = {name: tensor.numpy() for name, tensor in example.items()}
        got = run(session, list(graph.outputs), feeds, where=path)
        for one, other in zip(got, _outputs(graph, example), strict=True):
            largest = max(largest, _difference(one, other.numpy()))
    if not largest <= TOLERANCE:  # NaN too
        raise ValueError(
            f"{path} is not written: onnxruntime makes something else of the graph than torch of the network"
            f" (they differ by {largest:.1e}; {TOLERANCE:.0e} is allowed)"
        )
    return largest


def _outputs(graph: Graph, example: Mapping[str, Tensor]) -> list[Tensor]:
    """What the network makes of an example, with the default values."""
    made = graph.module(*example.values(), *graph.defaults.values())
    return [made] if isinstance(made, Tensor) else list(made)


def _difference(got: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, in units of the largest expected value where that is above 1."""
    if got.shape != expected.shape:
        return np.inf
    difference = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    return float(difference.max() / max(1.0, np.abs(expected).max()))
