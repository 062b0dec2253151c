"""Pitch trackers: one table of names, one class per file, each imported only when it is built."""

from pathlib import Path
from typing import TYPE_CHECKING

from common.registry import Entry, Registry

if TYPE_CHECKING:
    import torch

    from modules.f0.predictor import F0Predictor

F0_PREDICTORS = Registry(
    "f0 predictor",
    {
        "crepe": Entry("modules.f0.crepe:CrepePredictor", note="convolutional, slow on a CPU (weights in the package)"),
        "pm": Entry("modules.f0.pm:PraatPredictor", note="Praat's autocorrelation, the fastest"),
        "dio": Entry("modules.f0.dio:DioPredictor", note="WORLD, fast, sensitive to noise"),
        "harvest": Entry("modules.f0.harvest:HarvestPredictor", note="WORLD, slower, few gaps"),
        "rmvpe": Entry("modules.f0.rmvpe:RmvpePredictor", weights="rmvpe", note="U-Net, the most robust to noise"),
        "fcpe": Entry(
            "modules.f0.fcpe:FcpePredictor",
            weights="fcpe",
            note="network, fast; the weights in torchfcpe reach 1100 Hz",
        ),
        "dspitch": Entry(
            "modules.f0.dspitch:DsPitchPredictor",
            package="onnxruntime",
            note="notes heard by SOME, pitch re-drawn by a DiffSinger voicebank (in pretrain/ds_enhance)",
        ),
        "auto": Entry("modules.f0.auto:AutoPredictor", note="what several of them agree on: fewest octave errors"),
    },
)

SEARCHING = ("pm", "dio", "harvest", "crepe")  # these look between f0_min and f0_max; others have their own range
CONFIDENT = ("crepe", "rmvpe", "fcpe")  # these give a confidence, which the threshold is compared with


def build(
    name: str,
    sample_rate: int = 44100,
    hop_length: int = 512,
    *,
    device: "str | torch.device | None" = None,
    threshold: float = 0.05,
    weights: str | Path | None = None,
    f0_min: float = 50.0,
    f0_max: float = 1100.0,
) -> "F0Predictor":
    """Construct the pitch tracker called ``name``.

    Args:
        sample_rate: rate of the audio it will be given, Hz.
        hop_length: samples between two frames of its output.
        threshold: confidence in 0..1 below which a frame is unvoiced (crepe, rmvpe, fcpe).
        weights: file that replaces the one under pretrain/ (rmvpe, fcpe).
        f0_min, f0_max: search range in Hz (pm, dio, harvest, crepe; the others have the range they were trained for).

    Raises:
        ValueError: unknown name, ``weights`` for a predictor that reads none, or impossible numbers.
        NotAvailableError: a known name whose code is not written yet.
        FileNotFoundError: a weight file is missing; the message says how to get it.
    """
    extra = {}
    if weights is not None:
        if F0_PREDICTORS[name].weights is None:
            raise ValueError(f"f0 predictor {name!r} reads no weight file, but weights={str(weights)!r} was given")
        extra["weights"] = Path(weights)
    return F0_PREDICTORS.build(
        name,
        sample_rate=sample_rate,
        hop_length=hop_length,
        device=device,
        threshold=threshold,
        f0_min=f0_min,
        f0_max=f0_max,
        **extra,
    )
