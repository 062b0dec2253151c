"""An exported synthesizer in the place of `models.SynthesizerTrn`: the same call, made by onnxruntime.

Symbols: B batch, D unit channels, C latent channels, F frames, T = F * hop_length samples, S speakers.
"""

from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from common.config import Config
from common.onnx_sessions import open_session, run
from models import INFER_SEED, draw_prior_noise
from pipeline.onnx_graphs import PHASES, SOURCE_NOISE
from vdecoder.source import draw

REQUIRED = ("c", "f0", "mel2ph", "uv", "noise", "sid")
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class OnnxSynthesizer:
    """A model that onnx_export.py wrote, or another tool with the same names of inputs.

    Ours is given the phases and the noise of its source, so that it sounds as the checkpoint would with the same seed;
    others have a random source of their own, which may differ from run to run.

    Args:
        config: the config.json that it was exported with.

    Raises:
        NotAvailableError, FileNotFoundError: as `open_session`.
        ValueError: no such model, or one of another configuration; the message says what differs.
    """

    def __init__(self, path: Path, config: Config, device: torch.device) -> None:
        self.path, self.config, self.device = path, config, device
        self.session = open_session(path, device)
        self._inputs = {item.name: item for item in self.session.get_inputs()}
        self._inputs |= {item.name: item for item in self.session.get_overridable_initializers()}
        self._output = self.session.get_outputs()[0].name
        self._check()

    @property
    def mixes(self) -> bool:
        """Whether it takes weights of its speakers in each frame."""
        return "float" in self._inputs["sid"].type

    def EnableCharacterMix(self, n_speakers_map: int, device: object = None) -> None:  # noqa: N802
        """Whether weights of that many speakers can be given is in the file.

        Raises:
            ValueError: they cannot.
        """
        if not self.mixes:
            raise ValueError(f"{self.path} takes one speaker: it was exported without the mixing of speakers")
        if not 1 <= n_speakers_map <= self._n_speakers:
            raise ValueError(f"cannot mix {n_speakers_map} speakers: {self.path} has {self._n_speakers}")

    def check_predicts_f0(self) -> NoReturn:
        """Raise ValueError: the predictor is not in the file."""
        raise ValueError(f"{self.path} cannot predict f0, as no exported model can: run without -a")

    @torch.no_grad()
    def infer(  # noqa: PLR0913  the arguments of SynthesizerTrn.infer
        self,
        c: Tensor,
        f0: Tensor,
        uv: Tensor,
        g: Tensor,
        noice_scale: float = 0.35,
        seed: int = INFER_SEED,
        predict_f0: bool = False,
        vol: Tensor | None = None,
        *,
        c_lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `SynthesizerTrn.infer`; the items of a batch go through one by one.

        Raises:
            ValueError: ``predict_f0``, weights of speakers for a model that takes one id or the reverse, or a model
                that fails or gives something else than audio.
        """
        if predict_f0:
            self.check_predicts_f0()
        batch, n_frames = f0.shape
        lengths = [n_frames] * batch if c_lengths is None else [int(length) for length in c_lengths]
        audio = torch.zeros(batch, 1, n_frames * self.config.data.hop_length)
        for i, length in enumerate(lengths):
            tensors = {
                "c": c[i : i + 1, :, :length].transpose(1, 2),  # (1, F, D)
                "f0": f0[i : i + 1, :length],
                "mel2ph": torch.arange(1, length + 1)[None],  # the units are on the grid of the frames already
                "uv": uv[i : i + 1, :length],
                "noise": noice_scale * draw_prior_noise(seed, self.config.model.inter_channels, length),
                "sid": self._speaker(g, i, length),
            }
            if vol is not None:
                tensors["vol"] = vol[i : i + 1, :length]
            n_samples = length * self.config.data.hop_length
            audio[i, 0, :n_samples] = self._run(tensors, n_samples, seed)
        return audio.to(f0), f0

    def _speaker(self, g: Tensor, item: int, n_frames: int) -> Tensor:
        """What the model takes of ids (B,) or (B, 1), or of weights (F, S) or (B, F, S), for one item."""
        if g.is_floating_point():
            self.EnableCharacterMix(g.size(-1))
            weights = (g if g.dim() == 2 else g[item % len(g)])[:n_frames]
            return torch.nn.functional.pad(weights, (0, self._n_speakers - weights.size(1)))
        ids = g.reshape(-1)
        speaker = ids[item % len(ids)].cpu()
        if not self.mixes:
            return speaker[None]
        return torch.nn.functional.one_hot(speaker, self._n_speakers).expand(n_frames, -1)

    @property
    def _n_speakers(self) -> int:
        declared = self._inputs["sid"].shape[-1]
        return declared if isinstance(declared, int) else max(self.config.spk.values()) + 1

    def _run(self, tensors: dict[str, Tensor], n_samples: int, seed: int) -> Tensor:
        """(T,) of one item."""
        if SOURCE_NOISE in self._inputs:
            generator = torch.Generator().manual_seed(seed)
            draws = draw(n_samples, n_harmonics=self._inputs[PHASES].shape[1], generator=generator)
            tensors |= {PHASES: draws.phases, SOURCE_NOISE: draws.noise}
        feeds = {
            name: tensor.cpu().numpy().astype(TYPES[self._inputs[name].type], copy=False)
            for name, tensor in tensors.items()
        }
        (audio,) = run(self.session, [self._output], feeds, where=self.path)
        if audio.size != n_samples:
            raise ValueError(
                f"{self.path} gives {audio.shape} for {n_samples // self.config.data.hop_length} frames, where"
                f" {n_samples} samples were expected: -c must name the config.json it was exported with"
            )
        return torch.from_numpy(audio.astype(np.float32)).reshape(-1)

    def _check(self) -> None:
        """Compare what the model takes with the contract, and its sizes with the configuration."""
        model = self.config.model
        wanted = {*REQUIRED, *(["vol"] if model.vol_embedding else [])}
        needed = {item.name for item in self.session.get_inputs()}
        if missing := {*REQUIRED} - needed or needed - {*REQUIRED, "vol"}:
            raise ValueError(
                f"{self.path} is no synthesizer that can be used here: it takes {', '.join(sorted(needed))}, where"
                f" {', '.join(REQUIRED)}[, vol] are known (differing: {', '.join(sorted(missing))})"
            )
        problems = []
        if wanted != needed:
            problems.append(f"model.vol_embedding: {model.vol_embedding}, but its inputs are {', '.join(needed)}")
        for name, axis, key in (("c", 2, "ssl_dim"), ("noise", 1, "inter_channels")):
            size, own = self._inputs[name].shape[axis], getattr(model, key)
            if isinstance(size, int) and size != own:
                problems.append(f"model.{key}: {own} in the configuration, {size} in the model")
        n_speakers, declared = max(self.config.spk.values()) + 1, self._inputs["sid"].shape[-1]
        if self.mixes and isinstance(declared, int) and declared != n_speakers:
            problems.append(f"spk: ids up to {n_speakers - 1} in the configuration, {declared} speakers in the model")
        if unknown := [item.type for item in self._inputs.values() if item.type not in TYPES]:
            problems.append(f"inputs of the type {', '.join(unknown)}")
        if problems:
            raise ValueError(
                "\n  ".join([f"{self.path} does not fit its configuration:", *problems])
                + "\n  -c must name the config.json it was exported with"
            )
