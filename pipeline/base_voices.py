"""Which voice of a base model each speaker begins as: the one that it predicts his recordings best with."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from diffusion.unit2mel import Unit2Mel
from pipeline.diffusion_dataset import MelDataset, collate_mels
from pipeline.sampling import ClipKey

logger = logging.getLogger(__name__)

DRAWS = 8  # of clips of each speaker, each with noise of its own; of fewer clips several windows


@torch.no_grad()
def choose_voices(
    model: Unit2Mel, voices: Tensor, recordings: MelDataset, *, seed: int, names: Mapping[int, str] | None = None
) -> None:
    """Move each speaker of ``model``, all of whom are the mean voice, to one of ``voices``, or leave him.

    Args:
        voices: (V, H), what to add to the conditions of the mean voice for each; see `diffusion.loading.base_voices`.
        recordings: of the speakers.
        seed: of the noise at which predictions are compared.
        names: of the voices, for the log.
    """
    logger.info("comparing the recordings with %d voices of the base", len(voices))
    candidates = torch.cat([torch.zeros_like(voices[:1]), voices])  # the mean voice too
    titles = ["the mean voice", *((names or {}).get(i, f"voice {i}") + " of the base" for i in range(len(voices)))]
    clips: dict[str, list[int]] = {}
    for index in range(len(recordings)):
        clips.setdefault(recordings.speaker(index), []).append(index)
    model.eval()
    for speaker, own in sorted(clips.items()):
        losses = _losses(model, candidates, recordings, own, seed)
        best = min(range(len(losses)), key=losses.__getitem__)
        if model.spk_embed is not None:
            model.spk_embed.weight[recordings.config.spk[speaker]] = candidates[best]
        else:
            model.unit_embed.bias.add_(candidates[best])
        logger.info("%s begins as %s: loss %.3f, mean voice %.3f", speaker, titles[best], losses[best], losses[0])
    model.train()


def _losses(model: Unit2Mel, candidates: Tensor, recordings: MelDataset, clips: list[int], seed: int) -> list[float]:
    """Of the base's predictions of ``clips`` with each candidate, always at the same noise."""
    drawn = [recordings[ClipKey(i, clips[i * len(clips) // DRAWS])] for i in range(DRAWS)]
    batch = collate_mels(drawn).to(candidates.device)
    shift = batch.shift if model.aug_shift_embed is not None else None
    cond = model.condition(batch.units, batch.f0, batch.volume, spk_id=batch.speaker, aug_shift=shift)
    losses = []
    for voice in candidates:
        torch.manual_seed(seed)
        losses.append(float(model.loss(cond + voice, batch.mel, lengths=batch.lengths)))
    return losses
