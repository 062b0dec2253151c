"""Whisper (Radford et al. 2022, arXiv:2212.04356): what its encoder hears before the words, as content units.

Reads OpenAI's files (``medium.pt``, ``large-v2.pt``, and other sizes of the same layout). docs/encoders.md says what
the fixed length of its input costs.
"""

import logging
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from common.checkpoint import load_weights
from vencoder.encoder import HOP_LENGTH, SpeechEncoder
from vencoder.hubert import check_settings, read_checkpoint
from vencoder.nets.whisper import WhisperEncoder, WhisperSizes, log_mel

logger = logging.getLogger(__name__)

ENCODER, IGNORED = "encoder.", "decoder."  # prefixes of keys
LARGE_V3_MELS = 128
NEEDED = {"n_audio_head": range(1, 1000)}  # what cannot be seen in the tensors


class WhisperPPG(SpeechEncoder):
    """Output of the last layer, as wide as the file's ``n_audio_state``; T samples give T // 320 frames.

    Every input is filled up with silence to the 30 s that the network was made for, as in the reference. What is longer
    goes through in windows of 30 s, and is not stretched as there.

    Raises:
        ValueError: the file is no Whisper, or its ``dims`` do not describe its tensors; the message names the field.
    """

    field = HOP_LENGTH
    always_max_frames = True

    def __init__(self, weights: Path, device: torch.device) -> None:
        state, dims = read_checkpoint(weights, model="model_state_dict", config="dims", origin="Whisper")
        unknown = [key for key in state if not key.startswith((ENCODER, IGNORED))]
        if unknown:
            raise ValueError(f"{weights} is no Whisper: it has keys such as {unknown[0]}")
        state = {key.removeprefix(ENCODER): state[key] for key in state if key.startswith(ENCODER)}
        sizes = read_sizes(dims, state, weights)
        super().__init__(sizes.n_audio_state, device)
        self.sizes, self.max_frames, self.context_frames = sizes, sizes.n_audio_ctx, sizes.n_audio_ctx // 20
        with torch.device("meta"):  # no memory is reserved before the file's tensors are seen to fit
            self.net = WhisperEncoder(sizes).eval().requires_grad_(False)
        load_weights(self.net, {key: value.to("meta") for key, value in state.items()}, where=weights)
        self.net.load_state_dict({key: value.float().contiguous() for key, value in state.items()}, assign=True)
        self.net.to(device)
        if sizes.n_mels == LARGE_V3_MELS:
            logger.warning(
                "%s is a large-v3 or one made from it: models need the Whisper they were trained with", weights
            )

    def encode_padded(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        missing = self.max_frames * HOP_LENGTH - wavs.shape[1]  # or fewer than 320 samples too many
        return self.net(log_mel(F.pad(wavs, (0, missing)), self.sizes.n_mels)).transpose(1, 2)  # (B, D, N)


def read_sizes(dims: dict, state: dict[str, Tensor], where: Path) -> WhisperSizes:
    """``dims`` of a file, checked against its tensors."""
    check_settings(dims, NEEDED, where=f"{where}: dims")
    try:
        sizes = WhisperSizes.of(state, dims["n_audio_head"])
    except ValueError as error:
        raise ValueError(f"{where} is not the Whisper that was expected: {error} among its {ENCODER}* keys") from None
    check_settings(dims, asdict(sizes), where=f"{where}: dims, compared with the tensors")
    if sizes.n_audio_state % sizes.n_audio_head:
        raise ValueError(
            f"{where}: dims: {sizes.n_audio_head} heads (n_audio_head) cannot share the {sizes.n_audio_state} channels"
            " (n_audio_state)"
        )
    return sizes
