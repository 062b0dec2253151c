"""Pitch trackers: one table of names, one class per file, each imported only when it is built."""

from pathlib import Path
from typing import TYPE_CHECKING

from common.registry import Entry, Registry

if TYPE_CHECKING:
    import torch

    from modules.f0.predictor import F0Predictor

F0_MIN, F0_MAX = 50.0, 1100.0  # Hz, the default range

F0_PREDICTORS = Registry(
    "f0 predictor",
    {
        "crepe": Entry("modules.f0.crepe:CrepePredictor", note="convolutional, slow on a CPU (weights in the package)"),
        "pm": Entry(
            "modules.f0.pm:PraatPredictor", note="Praat's autocorrelation, the fastest; an octave low in creaky voices"
        ),
        "dio": Entry("modules.f0.dio:DioPredictor", note="WORLD, fast, sensitive to noise"),
        "harvest": Entry(
            "modules.f0.harvest:HarvestPredictor", note="WORLD, slower, few gaps, calls much unvoiced sound voiced"
        ),
        "rmvpe": Entry("modules.f0.rmvpe:RmvpePredictor", weights="rmvpe", note="U-Net, the most robust to noise"),
        "fcpe": Entry(
            "modules.f0.fcpe:FcpePredictor",
            weights="fcpe",
            note="network, fast; without the file the weights in the package torchfcpe serve",
        ),
        "dspitch": Entry(
            "modules.f0.dspitch:DsPitchPredictor",
            weights="dspitch-some",
            package="onnxruntime",
            note="notes heard by SOME, pitch re-drawn by a DiffSinger voicebank (in pretrain/ds_enhance)",
        ),
        "auto": Entry("modules.f0.auto:AutoPredictor", note="what several of them agree on: fewest octave errors"),
    },
)

# f0_min and f0_max bound these; networks and auto have a range of their own, which an end that is set moves
SEARCHING = ("crepe", "pm", "dio", "harvest", "rmvpe", "fcpe", "auto")
CONFIDENT = ("crepe", "rmvpe", "fcpe", "auto")  # these give a confidence, which the threshold is compared with
WITH_WEIGHTS = ("rmvpe", "fcpe", "dspitch")  # these take ``weights``


def build(
    name: str,
    sample_rate: int = 44100,
    hop_length: int = 512,
    *,
    device: "str | torch.device | None" = None,
    threshold: float = 0.05,
    weights: str | Path | None = None,
    f0_min: float = F0_MIN,
    f0_max: float = F0_MAX,
) -> "F0Predictor":
    """Construct the pitch tracker called ``name``.

    Args:
        sample_rate: rate of the audio it will be given, Hz.
        hop_length: samples between two frames of its output.
        threshold: confidence in 0..1 below which a frame is unvoiced (crepe, rmvpe, fcpe) or a network has no vote
            (auto).
        weights: what replaces the files under pretrain/ (rmvpe, fcpe: a file; dspitch: a folder).
        f0_min, f0_max: range in Hz; what they mean for a network says `predictor.F0Predictor`.

    Raises:
        ValueError: unknown name, ``weights`` for a predictor that takes none, or impossible numbers.
        NotAvailableError: a package is missing.
        FileNotFoundError: a weight file is missing; the message says how to get it.
    """
    if weights is not None and name in F0_PREDICTORS and name not in WITH_WEIGHTS:
        raise ValueError(f"f0 predictor {name!r} reads no weight file, but weights={str(weights)!r} was given")
    extra = {} if weights is None else {"weights": Path(weights)}
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
