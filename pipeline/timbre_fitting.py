"""The timbres of the speakers of a diffusion model, from the clips that it is trained on."""

import logging
import random
from collections.abc import Iterator

import torch
from torch import Tensor

from modules.spectral_envelope import SpectralEnvelope
from modules.timbre import TimbreMatch, Timbres
from modules.units import resize_units
from pipeline.caches import read_clean_units, read_f0
from pipeline.diffusion_dataset import MelDataset
from pipeline.mel_caches import read_mel
from vdecoder.mel_format import MelFormat

logger = logging.getLogger(__name__)

MAX_SECONDS = 600.0  # of each speaker, drawn from all of his clips


def fit_timbres(recordings: MelDataset, mel_format: MelFormat) -> Timbres:
    """Of all speakers of the configuration; of those without enough recordings zeros, which is logged."""
    config, frame_seconds = recordings.config, mel_format.hop_length / mel_format.sample_rate
    logger.info("fitting timbres for conversions: %s", ", ".join(config.spk))
    match = TimbreMatch(SpectralEnvelope(mel_format.centres), frame_seconds=frame_seconds)
    clips: dict[int, list[int]] = {speaker: [] for speaker in range(config.model.n_spk)}
    for index in range(len(recordings)):
        clips[config.spk[recordings.speaker(index)]].append(index)
    limit, rows = int(MAX_SECONDS / frame_seconds), []
    for own in clips.values():
        random.Random(config.train.seed).shuffle(own)
        rows.append(match.fit(_read(recordings, own, limit), n_units=config.data.encoder_out_channels))
    timbres = Timbres(*(torch.stack(tensors) for tensors in zip(*rows, strict=True)))
    if short := [name for name, speaker in config.spk.items() if not timbres.has(speaker)]:
        logger.warning("too few recordings to know a timbre, which timbre match needs: %s", ", ".join(short))
    return timbres


def _read(recordings: MelDataset, indices: list[int], limit: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Units (F, D), mel (F, M) and f0 (F,) of these clips, until ``limit`` frames are read."""
    mode = recordings.config.data.unit_interpolate_mode
    for index in indices:
        clip, n = recordings.clips[index], recordings.n_frames[index]
        units = resize_units(read_clean_units(clip)[0], n, mode).T
        yield units, torch.from_numpy(read_mel(clip)[:n]), torch.from_numpy(read_f0(clip)[0][:n])
        limit -= n
        if limit <= 0:
            return
