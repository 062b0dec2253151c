"""Pieces in a voice: units drawn to the singer's own, the synthesizer, and what refines its sound.

Letters: B pieces, F frames, D unit channels, S speakers, T = F * hop_length samples.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from modules.volume import match_loudness
from pipeline.conversion_options import ConversionOptions
from pipeline.conversion_tools import Tools
from pipeline.features import FeatureExtractor
from pipeline.model_loading import Synthesizer
from pipeline.piece_batch import PieceBatch
from pipeline.voice import Voice


class Target(NamedTuple):
    """One of the conversions of a song."""

    speaker_id: int | None  # None: the mix of speakers that the options hold
    transpose: float  # semitones


class Renderer:
    """The networks of a model and its tools, and the order in which they work.

    Args:
        model: the synthesizer; None for diffusion that sings alone.
    """

    def __init__(self, voice: Voice, model: Synthesizer | None, tools: Tools, device: torch.device) -> None:
        self.voice, self.model, self.tools, self.device = voice, model, tools, device

    @torch.no_grad()
    def render(
        self, batch: PieceBatch, target: Target, options: ConversionOptions, extractor: FeatureExtractor
    ) -> list[np.ndarray]:
        """B pieces -> B waveforms (F_i * hop_length,); ``extractor`` made their features.

        Raises:
            ValueError: a network's output that is not finite, or options that the model cannot do.
        """
        speaker = self._speaker(batch, target, options)
        units = self._units(batch, speaker, options)
        f0 = batch.f0 * 2 ** (target.transpose / 12)
        wavs: list[Tensor] | None = None
        if self.model is not None and not options.only_diffusion:
            wavs, f0 = self._sing(batch, units, f0, speaker=speaker, options=options)
        if options.refines:
            hears_source = wavs is None or self.voice.takes_volume
            wavs = self.tools.refiner.refine(
                *(batch, units, f0),
                voice=self.voice,
                speaker=speaker,
                wavs=wavs,
                volume=batch.volume if hears_source else None,
                extractor=extractor,
                options=options,
            )
        assert wavs is not None  # `Converter` has a model, or its options ask for diffusion alone
        if options.enhances:
            wavs = [self._enhanced(wav, row, options) for wav, row in zip(wavs, f0, strict=True)]
        return [_finished(wav, source, self.voice, options) for wav, source in zip(wavs, batch.sources, strict=True)]

    def _speaker(self, batch: PieceBatch, target: Target, options: ConversionOptions) -> Tensor:
        """Ids (B, 1), or weights (B, F, S)."""
        if target.speaker_id is not None:
            return torch.full((len(batch.lengths), 1), target.speaker_id, device=self.device)
        assert options.speaker_mix is not None
        weights = [torch.from_numpy(options.speaker_mix.weights(times, batch.song_seconds)) for times in batch.times]
        return pad_sequence(weights, batch_first=True).to(self.device)

    def _units(self, batch: PieceBatch, speaker: Tensor, options: ConversionOptions) -> Tensor:
        """Units (B, F, D), drawn to those of whoever sings there."""
        units = batch.units
        if options.mixes_units:
            units = [self._mixed(one, who, options) for one, who in zip(units, speaker, strict=True)]
        return pad_sequence(units, batch_first=True)

    def _mixed(self, units: Tensor, speaker: Tensor, options: ConversionOptions) -> Tensor:
        """Units (F, D) of one piece; of several speakers in it, each has the share of his weight."""
        mixer, ratio = self.tools.unit_mixer(options, self.voice), options.cluster_infer_ratio
        if not speaker.is_floating_point():
            return mixer.mix(units, int(speaker), ratio=ratio)
        weights = speaker[: len(units)]  # (F, S)
        heard = weights.sum(dim=0).nonzero().flatten().tolist()
        return torch.stack([weights[:, s : s + 1] * mixer.mix(units, s, ratio=ratio) for s in heard]).sum(dim=0)

    def _sing(
        self, batch: PieceBatch, units: Tensor, f0: Tensor, *, speaker: Tensor, options: ConversionOptions
    ) -> tuple[list[Tensor], Tensor]:
        """Waveforms of the synthesizer, and the f0 (B, F) that they were made with."""
        assert self.model is not None
        output, f0 = self.model.infer(
            units.transpose(1, 2),
            f0,
            batch.uv,
            g=speaker,
            noice_scale=options.noise_scale,
            seed=options.seed,
            predict_f0=options.auto_predict_f0,
            vol=batch.volume if self.voice.takes_volume else None,
            c_lengths=torch.tensor(batch.lengths, device=self.device) if len(batch.lengths) > 1 else None,
        )
        hop = self.voice.hop_length
        return [wav[0, : n * hop] for wav, n in zip(output, batch.lengths, strict=True)], f0

    def _enhanced(self, wav: Tensor, f0: Tensor, options: ConversionOptions) -> Tensor:
        generator = torch.Generator().manual_seed(options.seed)
        n_frames = len(wav) // self.voice.hop_length
        key = options.enhancer_adaptive_key
        return self.tools.enhancer.enhance(wav, f0[:n_frames], adaptive_key=key, generator=generator)


def _finished(wav: Tensor, source: np.ndarray, voice: Voice, options: ConversionOptions) -> np.ndarray:
    wav = wav.float().cpu()
    if not torch.isfinite(wav).all():
        raise ValueError("the model's output is not finite: its checkpoint is damaged or diverged in training")
    if options.loudness_envelope_adjustment != 1:
        heard = torch.from_numpy(source[: len(wav)])
        wav = match_loudness(heard, voice.sample_rate, wav, voice.sample_rate, options.loudness_envelope_adjustment)
    return wav.numpy()
