"""Waveform generators: the synthesizer's decoders, and stand-alone mel vocoders."""

from os import PathLike
from typing import TYPE_CHECKING

from common.registry import Entry, Registry

if TYPE_CHECKING:
    import torch

    from vdecoder.vocoder import Vocoder

DECODERS = Registry(  # model.vocoder_name of config.json
    "vocoder_name",
    {
        "nsf-hifigan": Entry("vdecoder.nsf_hifigan:NSFHiFiGAN", note="leaky ReLU"),
        "nsf-snake-hifigan": Entry(
            "vdecoder.nsf_hifigan:NSFHiFiGAN", {"activation": "snake"}, note="anti-aliased snake"
        ),
    },
)

VOCODERS = Registry(  # vocoder.type of diffusion.yaml
    "vocoder",
    {
        "nsf-hifigan": Entry("vdecoder.vocoder:Vocoder", weights="nsf-hifigan", note="natural-log mel"),
        "nsf-hifigan-log10": Entry(
            "vdecoder.vocoder:Vocoder", {"log10": True}, weights="nsf-hifigan", note="weights trained on log10 mel"
        ),
        "subtractive": Entry("vdecoder.vocoder:Vocoder", note="filtered pulses and noise; natural-log mel"),
    },
)


def build_vocoder(name: str, path: str | PathLike[str], device: "str | torch.device | None" = None) -> "Vocoder":
    """Load the mel vocoder ``name`` from the weights at ``path``, which has its config.json beside it.

    Raises:
        ValueError: unknown name, device or config.
        FileNotFoundError: no weights, or no config.json beside them.
    """
    return VOCODERS.build(name, path=path, device=device)
