"""The graphs of a diffusion model for MoeVoiceStudio, which walks back from noise with them by itself (PNDM).

Symbols: F frames, N frames of the encoder, D unit channels, S speakers, H conditioning channels, M mels. Inside, a mel
is x (1, 1, M, F), and a step says how much noise is in it.
"""

import torch
from torch import Tensor, nn

from diffusion.schedule import Level, Schedule, follow_noise
from diffusion.unit2mel import Unit2Mel
from pipeline.onnx_files import Graph
from pipeline.onnx_graphs import FRAMES, aligned


class ConditionAdapter(nn.Module):
    """hubert (1, N, D), mel2ph, f0, volume (1, F), spk_mix (F, S) -> mel_pred (1, H, F), what shall be sung."""

    def __init__(self, model: Unit2Mel) -> None:
        super().__init__()
        self.model = model

    def forward(self, hubert: Tensor, mel2ph: Tensor, f0: Tensor, volume: Tensor, spk_mix: Tensor) -> Tensor:
        units = aligned(hubert, mel2ph)
        return self.model.condition(units, f0.unsqueeze(2), volume.unsqueeze(2), spk_id=spk_mix).transpose(1, 2)


class DenoiserAdapter(nn.Module):
    """noise (1, 1, M, F), time (1,), condition (1, H, F) -> noise_pred (1, 1, M, F)."""

    def __init__(self, model: Unit2Mel) -> None:
        super().__init__()
        self.network = model.decoder.denoise_fn

    def forward(self, noise: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        return self.network(noise, time, condition)


class StepAdapter(nn.Module):
    """noise, noise_pred (1, 1, M, F), time, time_prev (1,) -> noise_pred_o: x at the step time_prev."""

    alphas: Tensor
    sigmas: Tensor

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.register_buffer("alphas", schedule.alphas_cumprod.sqrt().float())
        self.register_buffer("sigmas", (1 - schedule.alphas_cumprod).sqrt().float())

    def forward(self, noise: Tensor, noise_pred: Tensor, time: Tensor, time_prev: Tensor) -> Tensor:
        return follow_noise(noise, noise_pred, self._level(time), self._level(time_prev))

    def _level(self, step: Tensor) -> Level:
        """Of tensors, not of numbers; what `follow_noise` does not read is left at 0."""
        return Level(0.0, self.alphas[step], self.sigmas[step], 0.0)  # type: ignore[arg-type]


class MelAdapter(nn.Module):
    """x (1, 1, M, F) -> mel_out (1, M, F), natural logarithm."""

    def __init__(self, model: Unit2Mel) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder.denormalised(x).transpose(1, 2)


def diffusion_graphs(model: Unit2Mel, *, n_mels: int) -> dict[str, Graph]:
    """The four graphs, by the word that ends the names of their files.

    Raises:
        ValueError: a rectified flow, which is another set of graphs.
    """
    if not model.decoder.table_names:
        raise ValueError(
            "rectified flow (model.type RectifiedFlow) is not exported: MoeVoiceStudio walks it with other graphs,"
            " whose inputs are not known for certain"
        )
    frames, mel = {1: "frames"}, {3: "frames"}
    width, steps = model.unit_embed.in_features, model.decoder.schedule.timesteps

    def conditions(length: int) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(length)
        units = max(1, length * 4 // 7)
        return {
            "hubert": torch.randn(1, units, width, generator=random),
            "mel2ph": (1 + torch.arange(length) * 4 // 7).clamp(max=units)[None],
            "f0": 100 + 500 * torch.rand(1, length, generator=random),
            "volume": torch.rand(1, length, generator=random),
            "spk_mix": torch.rand(length, model.n_spk, generator=random).softmax(dim=1),
        }

    def noisy(length: int) -> dict[str, Tensor]:
        x = torch.randn(2, 1, 1, n_mels, length, generator=torch.Generator().manual_seed(length))
        return {"noise": x[0], "noise_pred": x[1], "time": torch.tensor([steps // 2 + length % 7])}

    def to_denoise(length: int) -> dict[str, Tensor]:
        inputs = noisy(length)
        condition = torch.randn(
            1, model.unit_embed.out_features, length, generator=torch.Generator().manual_seed(length)
        )
        return {"noise": inputs["noise"], "time": inputs["time"], "condition": condition}

    def to_step(length: int) -> dict[str, Tensor]:
        return noisy(length) | {"time_prev": torch.tensor([steps // 3])}

    encoder_axes = {"hubert": {1: "units"}, "spk_mix": {0: "frames"}} | dict.fromkeys(
        ("mel2ph", "f0", "volume"), frames
    )
    return {
        "encoder": Graph(ConditionAdapter(model), conditions, encoder_axes, {"mel_pred": {2: "frames"}}, FRAMES),
        "denoise": Graph(
            DenoiserAdapter(model), to_denoise, {"noise": mel, "condition": {2: "frames"}}, {"noise_pred": mel}, FRAMES
        ),
        "pred": Graph(
            StepAdapter(model.decoder.schedule),
            to_step,
            {"noise": mel, "noise_pred": mel},
            {"noise_pred_o": mel},
            FRAMES,
        ),
        "after": Graph(
            MelAdapter(model),
            lambda length: {"x": noisy(length)["noise"]},
            {"x": mel},
            {"mel_out": {2: "frames"}},
            FRAMES,
        ),
    }
