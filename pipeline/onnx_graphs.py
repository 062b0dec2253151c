"""The networks as MoeVoiceStudio and other tools know them: names, shapes and order of inputs and outputs.

Every graph is the network itself behind a thin adapter; the batch is 1. Symbols: F frames, N frames of the encoder,
D unit channels, S speakers, M mels, T samples, K frames of 10 ms.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.registry import NotAvailableError
from models import INFER_SEED, SynthesizerTrn
from modules.f0.rmvpe import N_FFT, RmvpePredictor
from modules.f0.salience import HOP_LENGTH, decode
from modules.mel_processing import dft_kernels, log_mel, stft_power_by_convolution
from pipeline.onnx_files import Graph
from vdecoder.source import Draws, draw
from vdecoder.subtractive import SubtractiveVocoder
from vdecoder.vocoder import Vocoder
from vencoder.hubert import HubertEncoder

NOISE_FRAMES = 1024  # of the source's noise in a file, after which it repeats: 12 s, 2 MB
FRAMES = (50, 41, 130)  # lengths at which graphs are traced, and compared
SAMPLES = (16000, 12345, 32001)
PHASES, SOURCE_NOISE = "source_phases", "source_noise"  # inputs with default values


def aligned(units: Tensor, mel2ph: Tensor) -> Tensor:
    """units (1, N, D), mel2ph (1, F), the number of its unit for each frame, from 1; 0 is silence -> (1, F, D)."""
    return F.pad(units, (0, 0, 1, 0))[0].index_select(0, mel2ph[0]).unsqueeze(0)


def repeated(noise: Tensor, n_samples: int) -> Tensor:
    """(1, any, 1) -> (1, T, 1), from its beginning again where it ends."""
    return noise.index_select(1, torch.arange(n_samples) % noise.size(1))


def source_defaults(hop_length: int) -> dict[str, Tensor]:
    """The first draws of a conversion with the default seed."""
    draws = draw(NOISE_FRAMES * hop_length, generator=torch.Generator().manual_seed(INFER_SEED))
    return {PHASES: draws.phases, SOURCE_NOISE: draws.noise}


class SynthesizerAdapter(nn.Module):
    """c (1, N, D), f0, mel2ph, uv (1, F), noise (1, C, F), sid (1,) or (F, S)[, vol (1, F)] -> audio (1, 1, T).

    ``noise`` is standard normal, times the noise scale: that is the caller's to choose.
    """

    def __init__(self, model: SynthesizerTrn) -> None:
        super().__init__()
        self.model = model

    def forward(  # noqa: PLR0913  the inputs of the graph
        self, c: Tensor, f0: Tensor, mel2ph: Tensor, uv: Tensor, noise: Tensor, sid: Tensor, *rest: Tensor
    ) -> Tensor:
        """``rest``: vol, where the model has it; phases and noise of the source."""
        *vol, phases, source_noise = rest
        draws = Draws(phases, repeated(source_noise, f0.size(1) * self.model.dec.hop_length))
        c = aligned(c, mel2ph).transpose(1, 2)  # (1, D, F)
        audio, _ = self.model.infer(
            c, f0, uv, sid, noice_scale=1.0, vol=vol[0] if vol else None, noise=noise, draws=draws
        )
        return audio


def synthesizer_graph(model: SynthesizerTrn, n_speakers: int) -> Graph:
    """The graph of a model; with several speakers it takes the weights of each in each frame, not one's number."""
    config, frames = model.config, {1: "frames"}
    if n_speakers > 1:
        model.EnableCharacterMix(n_speakers)

    def example(length: int) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(length)
        uv = (torch.rand(1, length, generator=random) > 0.3).float()
        inputs = {
            "c": torch.randn(1, max(1, length * 4 // 7), config.ssl_dim, generator=random),
            "f0": 100 + 500 * torch.rand(1, length, generator=random),
            "mel2ph": (1 + torch.arange(length) * 4 // 7).clamp(max=max(1, length * 4 // 7))[None],
            "uv": uv,
            "noise": 0.4 * torch.randn(1, config.inter_channels, length, generator=random),
            "sid": torch.zeros(1, dtype=torch.int64),
        }
        inputs["f0"][:, length // 2 : length // 2 + 5] = 0
        if n_speakers > 1:
            inputs["sid"] = torch.rand(length, n_speakers, generator=random).softmax(dim=1)
        if config.vol_embedding:
            inputs["vol"] = torch.rand(1, length, generator=random)
        return inputs

    inputs = {"c": {1: "units"}, "f0": frames, "mel2ph": frames, "uv": frames, "noise": {2: "frames"}}
    if n_speakers > 1:
        inputs["sid"] = {0: "frames"}
    if config.vol_embedding:
        inputs["vol"] = frames
    return Graph(
        SynthesizerAdapter(model),
        example,
        inputs=inputs | {SOURCE_NOISE: {1: "source_samples"}},
        outputs={"audio": {2: "samples"}},
        lengths=FRAMES,
        defaults=source_defaults(model.dec.hop_length),
    )


class EncoderAdapter(nn.Module):
    """source (1, 1, T) at 16 kHz -> embed (1, N, D)."""

    def __init__(self, encoder: HubertEncoder) -> None:
        super().__init__()
        self.net, self.padding, self.normalize = encoder.net, encoder.padding, encoder.normalize

    def forward(self, source: Tensor) -> Tensor:
        wav = source[:, 0]
        if self.normalize:  # layer_norm would keep the length that it is traced with
            variance, mean = torch.var_mean(wav, dim=1, correction=0, keepdim=True)
            wav = (wav - mean) / (variance + 1e-5).sqrt()
        wav = F.pad(wav, (self.padding, self.padding))
        return self.net(wav, torch.full((1,), wav.size(1)))


def encoder_graph(encoder: HubertEncoder) -> Graph:
    """The graph of a speech encoder of the HuBERT family."""
    return Graph(
        EncoderAdapter(encoder),
        lambda length: {"source": _noisy_tone(length)[None]},
        inputs={"source": {2: "samples"}},
        outputs={"embed": {1: "units"}},
        lengths=SAMPLES,
    )


class VocoderAdapter(nn.Module):
    """c (1, M, F), natural-log mel, f0 (1, F) -> audio (1, 1, T)."""

    def __init__(self, vocoder: Vocoder) -> None:
        super().__init__()
        self.generator = vocoder.generator

    def forward(self, c: Tensor, f0: Tensor, phases: Tensor, source_noise: Tensor) -> Tensor:
        draws = Draws(phases, repeated(source_noise, f0.size(1) * self.generator.hop_length))
        return self.generator(c, f0, draws=draws)


def vocoder_graph(vocoder: Vocoder) -> Graph:
    """The graph of a stand-alone vocoder.

    Raises:
        NotAvailableError: one with another source, or with noise inside, than MoeVoiceStudio's contract is made for.
    """
    if isinstance(vocoder.generator, SubtractiveVocoder):
        raise NotAvailableError(
            "a subtractive vocoder cannot be exported: take nsf-hifigan-2024, or pretrain/embedded/vocoder/model.ckpt"
        )
    if vocoder.generator.mini_nsf or vocoder.generator.noise_sigma:
        raise NotAvailableError("a vocoder with mini_nsf or noise_sigma cannot be exported: take nsf-hifigan-2024")

    def example(length: int) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(length)
        mel = -5 + 2 * torch.randn(1, vocoder.n_mels, length, generator=random)
        return {"c": mel, "f0": 100 + 500 * torch.rand(1, length, generator=random)}

    return Graph(
        VocoderAdapter(vocoder),
        example,
        inputs={"c": {2: "frames"}, "f0": {1: "frames"}, SOURCE_NOISE: {1: "source_samples"}},
        outputs={"audio": {2: "samples"}},
        lengths=FRAMES,
        defaults=source_defaults(vocoder.hop_length),
    )


class RmvpeAdapter(nn.Module):
    """waveform (1, T) at 16 kHz, threshold (1,) -> f0 (1, K) in Hz, 0 where unvoiced; uv (1, K), true there."""

    filters: Tensor
    kernels: Tensor
    cents: Tensor

    def __init__(self, predictor: RmvpePredictor) -> None:
        super().__init__()
        self.network = predictor.network
        self.register_buffer("filters", predictor.filters)
        self.register_buffer("kernels", dft_kernels(N_FFT))
        self.register_buffer("cents", predictor.cents())

    def forward(self, waveform: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
        power = stft_power_by_convolution(waveform, self.kernels, HOP_LENGTH)
        salience = self.network(log_mel(self.filters @ power.sqrt()))  # (1, K, P)
        f0 = decode(salience[0], self.cents, threshold=threshold)[None]
        return f0, f0 == 0


def rmvpe_graph(predictor: RmvpePredictor) -> Graph:
    """The graph of the pitch tracker."""
    frames = {1: "frames"}
    return Graph(
        RmvpeAdapter(predictor),
        lambda length: {"waveform": _noisy_tone(length), "threshold": torch.tensor([0.03])},
        inputs={"waveform": {1: "samples"}},
        outputs={"f0": frames, "uv": frames},
        lengths=SAMPLES,
    )


def _noisy_tone(n_samples: int) -> Tensor:
    """(1, T): 220 Hz with overtones and noise at 16 kHz."""
    cycles = 220 * torch.arange(n_samples) / 16000
    tone = sum(torch.sin(2 * torch.pi * k * cycles) / k for k in range(1, 12))
    noise = torch.randn(n_samples, generator=torch.Generator().manual_seed(n_samples))
    return (0.2 * tone + 0.01 * noise)[None]
