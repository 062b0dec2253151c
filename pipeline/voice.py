"""What conversion must know of a trained model, whichever network of it sings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.config import Config, find_speaker
from common.diffusion_config import DiffusionConfig


@dataclass(frozen=True)
class Voice:
    """Grid, encoder and speakers of a synthesizer, or of a diffusion model that sings alone."""

    sample_rate: int  # Hz
    hop_length: int  # samples per frame
    speech_encoder: str
    unit_channels: int
    unit_interpolate_mode: str
    takes_volume: bool
    speakers: Mapping[str, int]  # ids by name
    folder: Path  # of its config, beside which the speakers' ranges stand

    @classmethod
    def of_synthesizer(cls, config: Config, folder: Path) -> "Voice":
        return cls(
            sample_rate=config.data.sampling_rate,
            hop_length=config.data.hop_length,
            speech_encoder=config.model.speech_encoder,
            unit_channels=config.model.ssl_dim,
            unit_interpolate_mode=config.data.unit_interpolate_mode,
            takes_volume=config.model.vol_embedding,
            speakers=config.spk,
            folder=folder,
        )

    @classmethod
    def of_diffusion(cls, config: DiffusionConfig, folder: Path) -> "Voice":
        return cls(
            sample_rate=config.data.sampling_rate,
            hop_length=config.data.block_size,
            speech_encoder=config.data.encoder,
            unit_channels=config.data.encoder_out_channels,
            unit_interpolate_mode=config.data.unit_interpolate_mode,
            takes_volume=True,
            speakers=config.spk,
            folder=folder,
        )

    def speaker_id(self, speaker: str | int) -> int:
        """Id of a speaker given by name or id; raises ValueError as `find_speaker` does."""
        return find_speaker(self.speakers, speaker)

    def speaker_name(self, speaker_id: int) -> str:
        return next(name for name, known in self.speakers.items() if known == speaker_id)
