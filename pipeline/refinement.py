"""Diffusion at conversion: the mel of what was sung, or none, becomes a better one, which a vocoder makes audible.

Letters: B pieces, F frames, D unit channels, S speakers, M mels, T = F * hop_length samples.
"""

import logging
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from diffusion import load_unit2mel
from diffusion.decoder import Plan
from diffusion.unit2mel import seeded_noise
from modules.units import resize_units
from modules.volume import frame_volume
from pipeline.conversion_options import ConversionOptions
from pipeline.diffusion_settings import read_project_config, vocoder_format
from pipeline.envelope_shaping import EnvelopeShaper
from pipeline.features import FeatureExtractor, FeatureSettings
from pipeline.model_loading import NO_DIFFUSION_CONFIG
from pipeline.piece_batch import PieceBatch
from pipeline.voice import Voice
from vdecoder import build_vocoder
from vdecoder.mel_format import vocoder_path
from vdecoder.vocoder import Vocoder

logger = logging.getLogger(__name__)

FEW_STEPS, STEPS = 5, 10  # of the sampler: fewer than are said to be few, and what is advised instead


NATURAL_LOG_VOCODER = "nsf-hifigan"


class Refiner:
    """A diffusion model with its vocoder.

    Args:
        model_path: model_<step>.pt of this project, so-vits-svc 4.1, DDSP-SVC or Diffusion-SVC.
        config_path: the config.yaml it was trained with.
        vocoder: weights to take instead of those that the config names.

    Raises:
        FileNotFoundError: no such model, config or vocoder.
        ConfigError, CheckpointError, NotAvailableError, ValueError: they cannot be used, or do not belong together.
    """

    def __init__(
        self, model_path: Path, config_path: Path, device: torch.device, *, vocoder: Path | None = None
    ) -> None:
        self.device = device
        self.config = read_project_config(config_path, advice=NO_DIFFUSION_CONFIG)
        self.voice = Voice.of_diffusion(self.config, config_path.parent)
        # The type says how the weights that the config names were trained; of others it knows nothing.
        named = self.config.vocoder
        kind, ckpt = (named.type, named.ckpt) if vocoder is None else (NATURAL_LOG_VOCODER, vocoder)
        n_mels = vocoder_format(self.config, ckpt).n_mels
        self.model = load_unit2mel(model_path, config_path, device, n_mels=n_mels)
        self.vocoder: Vocoder = build_vocoder(kind, vocoder_path(ckpt), device)
        self._shaper = EnvelopeShaper(self.model.timbres, self.vocoder)
        self._said: set[str] = set()

    def check(self, voice: Voice, options: ConversionOptions, speaker_ids: Collection[int]) -> None:
        """Whether this model can refine what these speakers of ``voice`` sing with these options.

        Raises:
            FileNotFoundError: weights of the encoder that encodes again.
            ValueError: another grid or encoder, a speaker or a timbre it does not know, steps that were not trained,
                or a vocoder that cannot shift the pitch.
        """
        for name in ("sample_rate", "hop_length"):
            own, theirs = getattr(self.voice, name), getattr(voice, name)
            if own != theirs:
                raise ValueError(f"the diffusion model has a {name} of {own}, what it is to refine one of {theirs}")
        own, theirs = self.voice.speech_encoder, voice.speech_encoder
        if own != theirs and not options.encodes_again:
            raise ValueError(
                f"the diffusion model was trained with units of {own}, the model it is to refine with {theirs}: take a"
                " pair with one encoder, or add -se (--second_encoding), which makes units for the diffusion model anew"
            )
        if own != theirs:
            _ = self._own_encoder  # what is missing for it is missing before the first song
        if options.keyshift and not self.vocoder.can_shift:
            raise ValueError(
                "--keyshift needs a vocoder that was trained to shift the pitch (pc_aug in its config.json, such as"
                " PC-NSF-HiFiGAN); with this one transpose by -t"
            )
        sampler = self.plan(options).sampler
        if sampler.n_steps < FEW_STEPS and sampler.k_step >= 2 * STEPS:
            self._say(
                f"{sampler.name} walks back {sampler.k_step} steps of noise in {sampler.n_steps}, which is coarse:"
                f" --speedup {sampler.k_step // STEPS} takes {STEPS}"
            )
        self._check_speakers(voice, speaker_ids)
        self._check_timbre(voice, options, speaker_ids)

    def plan(self, options: ConversionOptions) -> Plan:
        """How its mels are sampled; see `diffusion.decoder.MelDecoder.plan`, also for what it raises."""
        infer, shallow = options.over(self.config.infer), not options.only_diffusion
        return self.model.plan(method=infer.method, speedup=infer.speedup, k_step=options.k_step, shallow=shallow)

    def refine(  # noqa: PLR0913  the piece, who sings, and what was sung so far
        self,
        batch: PieceBatch,
        units: Tensor,
        f0: Tensor,
        *,
        voice: Voice,
        speaker: Tensor,
        wavs: Sequence[Tensor] | None,
        volume: Tensor | None,
        extractor: FeatureExtractor,
        options: ConversionOptions,
    ) -> list[Tensor]:
        """B waveforms (F_i * hop_length,).

        Args:
            units: (B, F, D).
            f0: (B, F) Hz, as it was sung.
            voice: of the synthesizer; ``speaker`` is given by its ids.
            speaker: ids (B, 1), or weights (B, F, S).
            wavs: what the synthesizer sang; None to sing without one.
            volume: (B, F); None takes that of ``wavs``.
            extractor: encodes again, when the encoder is that of this model.
        """
        plan, mels = self.plan(options), None
        if wavs is not None:
            mels = _padded([self.vocoder.extract(wav.unsqueeze(0))[0].T for wav in wavs])  # (B, F, M)
            if options.encodes_again:
                units = self._encode_again(batch, wavs, extractor)
        if volume is None:
            assert wavs is not None
            volume = _padded([frame_volume(wav, self.voice.hop_length) for wav in wavs])
        singer = self._speakers(speaker, self._speaker_ids(voice))
        cond = self.model.condition(units, f0.unsqueeze(2), volume.unsqueeze(2), spk_id=singer)
        lengths = torch.tensor(batch.lengths, device=self.device) if len(batch.lengths) > 1 else None
        infer = options.over(self.config.infer)
        draw = seeded_noise(options.seed, batch.lengths, temperature=infer.temperature)
        made = self.model.infer(cond, plan, gt_spec=mels, lengths=lengths, draw=draw)
        made = self._shaper.shape(made, batch, units, f0, shares=self._shares(singer, made), infer=infer)
        sung_f0 = f0 * 2 ** (options.keyshift / 12)
        return [
            self.vocoder.infer(
                mel[:n].T.unsqueeze(0), pitch[None, :n], generator=torch.Generator().manual_seed(options.seed)
            )[0]
            for mel, pitch, n in zip(made, sung_f0, batch.lengths, strict=True)
        ]

    def _encode_again(self, batch: PieceBatch, wavs: Sequence[Tensor], extractor: FeatureExtractor) -> Tensor:
        """Units (B, F, D) of what was sung."""
        same = extractor.settings.speech_encoder == self.voice.speech_encoder
        encoder = extractor if same else self._own_encoder
        units = encoder.units([wav.float().cpu().numpy() for wav in wavs])
        mode = self.voice.unit_interpolate_mode
        resized = [resize_units(one, n, mode).T for one, n in zip(units, batch.lengths, strict=True)]
        return _padded(resized).to(self.device)

    @cached_property
    def _own_encoder(self) -> FeatureExtractor:
        voice = self.voice
        settings = FeatureSettings(voice.speech_encoder, "pm", voice.sample_rate, voice.hop_length)
        return FeatureExtractor(settings, self.device, f0=False)

    def _speaker_ids(self, voice: Voice) -> dict[int, int] | None:
        """This model's id for each id of ``voice`` that it knows; None where it has a single speaker and needs none."""
        if self.model.n_spk == 1:
            return None
        own, theirs = self.voice.speakers, voice.speakers
        if self._names_nobody and not set(theirs) <= set(own):
            return {i: i for i in theirs.values() if i < self.model.n_spk}  # by order
        return {i: own[name] for name, i in theirs.items() if name in own}

    @property
    def _names_nobody(self) -> bool:
        """Whether its config only counts its speakers."""
        return set(self.voice.speakers) == {str(i + 1) for i in range(self.model.n_spk)}

    def _check_speakers(self, voice: Voice, speaker_ids: Collection[int]) -> None:
        ids, known = self._speaker_ids(voice), ", ".join(self.voice.speakers)
        for speaker_id in speaker_ids:
            name = voice.speaker_name(speaker_id)
            if ids is not None and speaker_id not in ids:
                raise ValueError(
                    f"the diffusion model has no speaker {name!r}, it knows {known}: train it with"
                    " python train_diff.py on the same speakers, or take the one that belongs to this model"
                )
            if ids is None and not self._names_nobody and name not in self.voice.speakers:
                self._say(f"the diffusion model knows one voice, {known}: it makes {name!r} sound like that one")

    def _check_timbre(self, voice: Voice, options: ConversionOptions, speaker_ids: Collection[int]) -> None:
        """Whether the timbre of those who will sing is known, where it is to be matched."""
        if not options.over(self.config.infer).timbre_match:
            return
        timbres, ids = self.model.timbres, self._speaker_ids(voice)
        if timbres is None:
            lack = "the diffusion model holds no timbres, as those of other tools and older ones of this project"
            advice = "train it on, python train_diff.py writes them with its next checkpoint"
        else:
            rows = {voice.speaker_name(i): 0 if ids is None else ids[i] for i in speaker_ids}
            unknown = [name for name, row in rows.items() if not timbres.has(row)]
            if not unknown:
                return
            lack = f"the diffusion model does not hold the timbre of {', '.join(unknown)}"
            advice = "train it on more recordings of theirs"
        if options.timbre_match:
            raise ValueError(f"--timbre_match is not possible: {lack}; {advice}")
        self._say(f"infer.timbre_match has no effect: {lack}; {advice}")

    def _shares(self, singer: Tensor | None, made: Tensor) -> Tensor:
        """Of each speaker of this model in each frame of ``made``: (B, F, S)."""
        if singer is None:
            return made.new_ones(*made.shape[:2], 1)
        if singer.is_floating_point():
            return singer
        return F.one_hot(singer, self.model.n_spk).to(made).expand(-1, made.shape[1], -1)

    def _say(self, line: str) -> None:
        if line not in self._said:  # checks are made for every song
            logger.warning("%s", line)
            self._said.add(line)

    def _speakers(self, speaker: Tensor, ids: dict[int, int] | None) -> Tensor | None:
        if ids is None:
            return None
        if not speaker.is_floating_point():
            return torch.tensor([[ids[int(i)]] for i in speaker[:, 0]], device=self.device)
        weights = speaker.new_zeros(*speaker.shape[:2], self.model.n_spk)
        for theirs, own in ids.items():
            weights[..., own] = speaker[..., theirs]
        return weights


def _padded(items: Sequence[Tensor]) -> Tensor:
    return pad_sequence(list(items), batch_first=True)
