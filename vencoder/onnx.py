"""Speech encoders that somebody exported to .onnx, as MoeVoiceStudio's tools do: audio (1, 1, T) in, (1, N, D) out."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.onnx_sessions import open_session, run
from vencoder.encoder import HOP_LENGTH, SpeechEncoder

FLOAT = "tensor(float)"


class OnnxEncoder(SpeechEncoder):
    """The first output of a model for its first input, whatever their names; (D, N).

    Args:
        dim: channels D that the model must give.
        padding: zeros that the model itself adds on both sides.

    Raises:
        ValueError: the model takes or gives something else; the message names the file and what that is.
    """

    def __init__(self, weights: Path, device: torch.device, *, dim: int, padding: int = 0) -> None:
        super().__init__(dim, device)
        self.path, self.padding = weights, padding
        self.session = open_session(weights, device)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        _check("takes", [(i.name, i.type, i.shape) for i in inputs], (1, 1, "samples"), weights)
        _check("gives", [(o.name, o.type, o.shape) for o in outputs[:1]], (1, "frames", dim), weights)
        self.input, self.output = inputs[0].name, outputs[0].name

    def encode_padded(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """wavs (B, T), each with ``padding`` zeros or, inside a long clip, samples on both sides -> (B, D, N).

        One item after the other: a model of fixed batch size 1 would take no more.
        """
        units = wavs.new_zeros(len(wavs), self.dim, (wavs.shape[1] - self.field) // HOP_LENGTH + 1)
        for i, length in enumerate(lengths.tolist()):
            # Without what the model adds again: frame 0 of what is left is frame 0 of what came.
            wav = wavs[i, self.padding : length - self.padding].cpu().numpy()
            n_frames = (length - self.field) // HOP_LENGTH + 1
            units[i, :, :n_frames] = torch.from_numpy(self._run(wav, n_frames)).T.to(units)
        return units

    def _run(self, wav: np.ndarray, n_frames: int) -> np.ndarray:
        """wav (T,) -> (N, D)"""
        (units,) = run(self.session, [self.output], {self.input: wav[None, None]}, where=self.path)
        if units.shape != (1, n_frames, self.dim):
            raise ValueError(
                f"{self.path} gives {units.shape} for {len(wav)} samples, where {(1, n_frames, self.dim)} was expected:"
                " it is the export of another encoder"
            )
        return units[0]


def _check(verb: str, declared: list[tuple], expected: tuple, where: Path) -> None:
    """Compare one declared (name, type, shape) with float32 of a shape whose named dimensions must be left open."""
    name, kind, shape = declared[0]
    # A model may leave open what it wants: a name or None for a dimension, no shape at all.
    fits = len(shape) == 3 and all(
        not isinstance(size, int) or size == wanted for size, wanted in zip(shape, expected, strict=True)
    )
    if len(declared) > 1 or kind != FLOAT or (shape and not fits):
        found = ", ".join(f"{name} {kind} {shape}" for name, kind, shape in declared)
        raise ValueError(f"{where} {verb} {found}, where one {FLOAT} {list(expected)} was expected")
