"""SynthesizerTrn, the conditional VAE with a flow that turns content units and a melody into a singer's voice.

Symbols: B batch, D unit channels, C latent channels, F frames, T = F * hop_length samples, gin width of the speaker
vector g, S speakers. f0 in Hz, uv 1 where voiced. m and logs: mean and log standard deviation of a normal
distribution, index p prior (from units and melody), q posterior (from the spectrogram); z a latent, z_p that latent
on the prior's side of the flow. Class, attribute and argument names are a file format and an interface: keep them.

Papers: Kim, Kong and Son 2021, "VITS", arXiv:2106.06103; Wang et al. 2019, arXiv:1904.12088 (harmonic source).
Checked against: the golden cases synth_*, numbers of the reference on recipe weights.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from common.config import LEGACY_KEYS, Config, ModelConfig
from modules.attentions import CausalDecoder
from modules.discriminators import MultiPeriodDiscriminator
from modules.encoders import F0Decoder, PosteriorEncoder, PriorEncoder
from modules.flows import CouplingFlow
from modules.layers import WaveNet
from modules.masking import random_starts, sequence_mask, take_segments
from modules.pitch import hz_from_lf0, lf0_from_hz, normalize_f0, random_factor
from vdecoder import DECODERS
from vdecoder.source import Draws

__all__ = ["Latents", "MultiPeriodDiscriminator", "SynthesizerTrn", "TrainingOutput", "draw_prior_noise"]

logger = logging.getLogger(__name__)

N_COUPLINGS = 4  # of the WaveNet flow; the transformer flow takes n_flow_layer
FLOW_KERNEL = 5
INFER_SEED = 52468  # of the noise that infer draws


class Latents(NamedTuple):
    """All (B, C, F)."""

    z: Tensor
    z_p: Tensor
    m_p: Tensor
    logs_p: Tensor
    m_q: Tensor
    logs_q: Tensor


class TrainingOutput(NamedTuple):
    """What `SynthesizerTrn.forward` returns; the order is that of the reference."""

    audio: Tensor  # (B, 1, segment_size * hop_length), of the random segment
    starts: Tensor  # (B,) first frame of the segment
    mask: Tensor  # (B, 1, F), 1 where a spectrogram frame is real
    latents: Latents
    pred_lf0: Tensor  # (B, 1, F); zeros when the model has no pitch predictor
    norm_lf0: Tensor  # (B, 1, F), its input: the melody without its mean, randomly scaled
    lf0: Tensor  # (B, 1, F), its target


class SynthesizerTrn(nn.Module):
    """The synthesizer of the 4.0 and 4.1 models.

    Args:
        spec_channels: bins of the linear spectrogram, filter_length // 2 + 1.
        segment_size: frames that `forward` decodes of each clip.
        sampling_rate: Hz.
        model: section "model" of config.json (`common.config.ModelConfig`); other keys are ignored with a warning.

    Raises:
        TypeError: a key without default is missing.
        ValueError: an unknown `vocoder_name`, or sizes that do not fit each other.
    """

    def __init__(self, spec_channels: int, segment_size: int, *, sampling_rate: int = 44100, **model: Any) -> None:
        super().__init__()
        config = _model_config(model)
        hidden, gin = config.hidden_channels, config.gin_channels
        self.config, self.segment_size = config, segment_size
        self.use_automatic_f0_prediction = config.use_automatic_f0_prediction
        self.n_mixed_speakers = 0  # set by EnableCharacterMix

        # The order of these is that of the parameters in published checkpoints, and so of their optimizer states.
        self.emb_g = nn.Embedding(config.n_speakers, gin)
        if config.vol_embedding:
            self.emb_vol = nn.Linear(1, hidden)
        self.pre = nn.Conv1d(config.ssl_dim, hidden, 5, padding=2)
        self.enc_p = PriorEncoder(config)
        self.dec = DECODERS.build(
            config.vocoder_name,
            sample_rate=sampling_rate,
            inter_channels=config.inter_channels,
            resblock=config.resblock,
            resblock_kernel_sizes=config.resblock_kernel_sizes,
            resblock_dilation_sizes=config.resblock_dilation_sizes,
            upsample_rates=config.upsample_rates,
            upsample_initial_channel=config.upsample_initial_channel,
            upsample_kernel_sizes=config.upsample_kernel_sizes,
            gin_channels=gin,
        )
        self.enc_q = PosteriorEncoder(spec_channels, config)
        self.flow = _build_flow(config)
        if config.use_automatic_f0_prediction:
            self.f0_decoder = F0Decoder(config)
        self.emb_uv = nn.Embedding(2, hidden)

    @classmethod
    def from_config(cls, config: Config) -> "SynthesizerTrn":
        """The synthesizer of a whole config.json."""
        data = config.data
        segment_size = config.train.segment_size // data.hop_length
        model = asdict(config.model)
        return cls(data.filter_length // 2 + 1, segment_size, sampling_rate=data.sampling_rate, **model)

    def EnableCharacterMix(self, n_speakers_map: int, device: torch.device | str | None = None) -> None:  # noqa: N802
        """Let `g` be weights of the first `n_speakers_map` speakers. `device` is not needed: weights follow the model.

        Raises:
            ValueError: more speakers than the model has.
        """
        if not 1 <= n_speakers_map <= self.emb_g.num_embeddings:
            raise ValueError(f"cannot mix {n_speakers_map} speakers: the model has {self.emb_g.num_embeddings}")
        self.n_mixed_speakers = n_speakers_map

    def speaker_vector(self, g: Tensor) -> Tensor:
        """Ids (B,) or (B, 1) -> (B, gin, 1); weights (F, S) or (B, F, S) -> (1 or B, gin, F).

        Raises:
            ValueError: weights without `EnableCharacterMix`, or for another number of speakers.
        """
        if not g.is_floating_point():
            return self.emb_g(g.reshape(-1, 1)).transpose(1, 2)
        if g.size(-1) != self.n_mixed_speakers:
            raise ValueError(
                f"g weighs {g.size(-1)} speakers, EnableCharacterMix was called for {self.n_mixed_speakers}"
            )
        vectors = g.to(self.emb_g.weight) @ self.emb_g.weight[: self.n_mixed_speakers]
        return vectors.reshape(-1, *vectors.shape[-2:]).transpose(1, 2)

    def forward(  # noqa: PLR0913  the arguments of the reference
        self,
        c: Tensor,
        f0: Tensor,
        uv: Tensor,
        spec: Tensor,
        g: Tensor,
        c_lengths: Tensor,
        spec_lengths: Tensor,
        vol: Tensor | None = None,
    ) -> TrainingOutput:
        """Decode a random segment of each clip from its posterior, and return what the losses need.

        c (B, D, F), f0, uv, vol (B, F), spec (B, bins, F), g (B, 1) ids, lengths (B,) in frames.

        Raises:
            ValueError: the longest clip is shorter than one segment.
        """
        g = self.speaker_vector(g)  # (B, gin, 1)
        mask = sequence_mask(c_lengths, c.size(2)).to(c.dtype)
        x = self._content(c, uv, mask, vol)
        lf0 = lf0_from_hz(f0).unsqueeze(1)  # (B, 1, F)
        if self.use_automatic_f0_prediction:
            norm_lf0 = normalize_f0(lf0, mask, uv, factor=random_factor(lf0))
            pred_lf0 = self.f0_decoder(x, norm_lf0, mask, g)
        else:
            lf0 = norm_lf0 = pred_lf0 = torch.zeros_like(lf0)

        m_p, logs_p = self.enc_p(x, mask, f0)
        spec_mask = sequence_mask(spec_lengths, spec.size(2)).to(spec.dtype)
        m_q, logs_q = self.enc_q(spec, spec_mask, g)
        z = (m_q + torch.randn_like(m_q) * torch.exp(logs_q)) * spec_mask
        z_p = self.flow(z, spec_mask, g)

        starts = random_starts(spec_lengths, self.segment_size)
        z_segment = take_segments(z, starts, self.segment_size)
        f0_segment = take_segments(f0.unsqueeze(1), starts, self.segment_size).squeeze(1)
        audio = self.dec(z_segment, f0=f0_segment, g=g)
        latents = Latents(z=z, z_p=z_p, m_p=m_p, logs_p=logs_p, m_q=m_q, logs_q=logs_q)
        return TrainingOutput(audio, starts, spec_mask, latents, pred_lf0, norm_lf0, lf0)

    @torch.no_grad()
    def infer(  # noqa: PLR0913  the arguments of the reference
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
        noise: Tensor | None = None,
        draws: Draws | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Units, melody and speaker to a waveform: c (B, D, F), f0, uv, vol (B, F), g as `speaker_vector` takes it.

        The noise depends on `seed` and on the length of an item only: every run of one input gives the same, alone
        or in a batch padded to `c_lengths` (B,) frames; the process' own random state is neither used nor changed.

        Args:
            noice_scale: how much noise is added to the prior's mean, 0 to 1.
            predict_f0: sing the predicted melody instead of `f0`.
            noise: (B, C, F) to use instead of drawn noise.
            draws: phases and noise of the decoder's source to use instead of drawn ones; without `c_lengths` only.

        Returns:
            Waveform (B, 1, T), zero behind an item's length, and the f0 (B, F) it was made with.

        Raises:
            ValueError: `predict_f0` with a model that has no pitch predictor.
        """
        g = self.speaker_vector(g)
        lengths = None if c_lengths is None else [int(length) for length in c_lengths]
        mask = torch.ones_like(c[:, :1]) if c_lengths is None else sequence_mask(c_lengths, c.size(2)).to(c)
        x = self._content(c, uv, mask, vol)
        if predict_f0:
            f0 = self._predict_f0(x, f0, uv, mask, g)
        m_p, logs_p = self.enc_p(x, mask, f0)
        if noise is None:
            noise = _draw_noise(m_p, lengths, seed)
        z_p = (m_p + noise.to(m_p) * torch.exp(logs_p) * noice_scale) * mask
        z = self.flow(z_p, mask, g, reverse=True)
        if draws is not None:
            return self.dec(z * mask, f0=f0, g=g, draws=draws), f0
        return self._decode(z * mask, f0, g, lengths=lengths, seed=seed), f0

    def _content(self, c: Tensor, uv: Tensor, mask: Tensor, vol: Tensor | None) -> Tensor:
        """Units, voicing and volume as one sequence (B, hidden, F); only the units are masked."""
        x = self.pre(c * mask) * mask + self.emb_uv(uv.long()).transpose(1, 2)
        if self.config.vol_embedding and vol is not None:
            x = x + self.emb_vol(vol.to(c.dtype).unsqueeze(2)).transpose(1, 2)
        return x

    def check_predicts_f0(self) -> None:
        """Raise ValueError where there is no pitch predictor."""
        if not self.use_automatic_f0_prediction:
            raise ValueError(
                "this model cannot predict f0: it was trained with use_automatic_f0_prediction false; run without -a"
            )

    def _predict_f0(self, x: Tensor, f0: Tensor, uv: Tensor, mask: Tensor, g: Tensor) -> Tensor:
        """f0 (B, F) in Hz that the speaker would sing; it may fall below zero."""
        self.check_predicts_f0()
        lf0 = lf0_from_hz(f0.float()).unsqueeze(1)
        norm_lf0 = normalize_f0(lf0, mask, uv * mask[:, 0])
        predicted = self.f0_decoder(x, norm_lf0.to(x), mask, g, mask_input=True)
        return hz_from_lf0(predicted.float()).squeeze(1)

    def _decode(self, z: Tensor, f0: Tensor, g: Tensor, *, lengths: list[int] | None, seed: int) -> Tensor:
        """Latents (B, C, F) to audio (B, 1, T)."""
        if lengths is None:
            return self.dec(z, f0=f0, g=g, generator=torch.Generator().manual_seed(seed))
        # One by one: inside the decoder padding would reach back into an item over the width of its convolutions.
        n_frames = z.size(2)
        items = []
        for i, length in enumerate(lengths):
            item = self._decode(
                z[i : i + 1, :, :length],
                f0[i : i + 1, :length],
                g[i if g.size(0) > 1 else 0, :, :length].unsqueeze(0),
                lengths=None,
                seed=seed,
            )
            items.append(nn.functional.pad(item, (0, (n_frames - length) * self.dec.hop_length)))
        return torch.cat(items)


def _model_config(model: dict[str, Any]) -> ModelConfig:
    known = {field.name for field in fields(ModelConfig)}
    unknown = sorted(model.keys() - known - LEGACY_KEYS["model"])
    if unknown:
        logger.warning("ignoring model options that this version does not know: %s", ", ".join(unknown))
    return ModelConfig(**{key: value for key, value in model.items() if key in known})


def _build_flow(config: ModelConfig) -> CouplingFlow:
    def wavenet() -> nn.Module:
        return WaveNet(
            config.hidden_channels,
            kernel_size=FLOW_KERNEL,
            n_layers=config.n_flow_layer,
            gin_channels=config.gin_channels,
            depthwise=config.use_depthwise_conv,
        )

    def transformer() -> nn.Module:
        return CausalDecoder(
            config.hidden_channels,
            filter_channels=config.filter_channels,
            n_heads=config.n_heads,
            n_layers=config.n_layers_trans_flow,
            kernel_size=FLOW_KERNEL,
            p_dropout=config.p_dropout,
            gin_channels=config.gin_channels,
        )

    make_enc: Callable[[], nn.Module] = transformer if config.use_transformer_flow else wavenet
    return CouplingFlow(
        config.inter_channels,
        config.hidden_channels,
        n_couplings=config.n_flow_layer if config.use_transformer_flow else N_COUPLINGS,
        make_enc=make_enc,
        share=config.flow_share_parameter,
    )


def draw_prior_noise(seed: int, n_channels: int, n_frames: int) -> Tensor:
    """The standard normal noise (1, C, F) of `infer`; drawn on the CPU, so that it is the same on every device."""
    return torch.randn(1, n_channels, n_frames, generator=torch.Generator().manual_seed(seed))


def _draw_noise(like: Tensor, lengths: list[int] | None, seed: int) -> Tensor:
    """The noise of each item of a batch (B, C, F)."""
    batch, channels, n_frames = like.shape
    if lengths is None:
        return draw_prior_noise(seed, channels, n_frames).expand(batch, -1, -1)
    items = (_draw_noise(like[:1, :, :length], None, seed) for length in lengths)
    return torch.cat([nn.functional.pad(item, (0, n_frames - item.size(2))) for item in items])
