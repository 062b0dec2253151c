"""Which voice of a base model each speaker begins as: the one that it predicts his recordings best with."""

import logging

import torch
from torch import Tensor

from diffusion.unit2mel import Unit2Mel
from pipeline.diffusion_dataset import MelBatch, MelDataset, collate_mels
from pipeline.sampling import ClipKey

logger = logging.getLogger(__name__)

CLIPS = 8  # of each speaker that are listened to


@torch.no_grad()
def choose_voices(model: Unit2Mel, voices: Tensor, recordings: MelDataset, *, seed: int) -> None:
    """Move each speaker of ``model``, all of whom are the mean voice, to one of ``voices``, or leave him.

    Args:
        voices: (V, H), what to add to the conditions of the mean voice for each; see `diffusion.loading.base_voices`.
        recordings: of the speakers.
        seed: of the noise at which predictions are compared.
    """
    candidates = torch.cat([torch.zeros_like(voices[:1]), voices])  # the mean voice too
    clips: dict[int, list[int]] = {}
    for index in range(len(recordings)):
        clips.setdefault(recordings.speaker_id(index), []).append(index)
    model.eval()
    for speaker_id, own in sorted(clips.items()):
        heard = [own[i * len(own) // CLIPS] for i in range(CLIPS)] if len(own) > CLIPS else own
        batch = collate_mels([recordings[ClipKey(0, index)] for index in heard]).to(voices.device)
        losses = [_loss(model, batch, voice, seed) for voice in candidates]
        best = min(range(len(losses)), key=losses.__getitem__)
        if model.spk_embed is not None:
            model.spk_embed.weight[speaker_id] = candidates[best]
        else:
            model.unit_embed.bias.add_(candidates[best])
        whose = f"voice {best - 1} of the base" if best else "the mean voice"
        logger.info("speaker %d begins as %s: loss %.3f, mean voice %.3f", speaker_id, whose, losses[best], losses[0])
    model.train()


def _loss(model: Unit2Mel, batch: MelBatch, voice: Tensor, seed: int) -> float:
    """Of the base's prediction with one of its voices, always at the same noise."""
    shift = batch.shift if model.aug_shift_embed is not None else None
    cond = model.condition(batch.units, batch.f0, batch.volume, spk_id=batch.speaker, aug_shift=shift) + voice
    torch.manual_seed(seed)
    return float(model.loss(cond, batch.mel, lengths=batch.lengths))
