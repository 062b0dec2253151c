"""FCPE, fast context-based pitch estimation (CNChTu, Diffusion-SVC), with the weights of either kind of file.

so-vits-svc's pretrain/fcpe.pt and the file inside the authors' package torchfcpe (MIT) hold different networks. The
package's weights serve when the user has no such file; none of its code runs.
"""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common import checkpoint, pretrained
from modules.f0.nets.fcpe import Fcpe
from modules.f0.salience import HOP_LENGTH, SAMPLE_RATE, SaliencePredictor
from modules.mel_processing import vocoder_mel

logger = logging.getLogger(__name__)

N_MELS, N_FFT = 128, 1024
BUNDLED_WEIGHTS = Path("assets") / "fcpe_c_v001.pt"  # inside torchfcpe
BUNDLED_NAMES = {  # prefixes there: prefixes here
    "input_stack.": "stack.",
    "net.encoder_layers.": "decoder._layers.",
    "output_proj.": "dense_out.",
}


class FcpePredictor(SaliencePredictor):
    """``fcpe``: the user's file when there is one, else the weights inside torchfcpe.

    Args:
        weights: a file of either kind; pretrain/fcpe.pt, then the package's, when absent.

    Raises:
        FileNotFoundError: the file is missing, or there is neither a file nor the package.
        checkpoint.CheckpointError: the file is damaged or holds another network.
    """

    repeat_edges = True

    def __init__(self, *args: Any, weights: Path | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        path = find_weights(weights)
        if weights is None and path != pretrained.FILES["fcpe"].path:
            logger.info("fcpe: no %s, so the weights inside the package torchfcpe serve", pretrained.FILES["fcpe"].path)
        self.network = load_network(path).to(self.device).eval()

    def mel(self, wav: Tensor, hop_length: int = HOP_LENGTH) -> Tensor:
        mel = vocoder_mel(
            wav,
            sample_rate=SAMPLE_RATE,
            n_fft=N_FFT,
            hop_length=hop_length,
            win_length=N_FFT,
            n_mels=N_MELS,
            fmin=0,
            fmax=8000,
        )  # (1, M, K - 1): frames start at their first sample instead of being centred on it
        return torch.cat([mel, mel[:, :, -1:]], dim=2)

    def salience(self, mel: Tensor) -> Tensor:
        return self.network(mel.transpose(1, 2))

    def cents(self) -> Tensor:
        return self.network.cent_table


def find_weights(weights: Path | None) -> Path:
    """The file to load: ``weights``, else pretrain/fcpe.pt, else the one inside torchfcpe."""
    if weights is not None:
        return pretrained.require("fcpe", weights)
    package = find_spec("torchfcpe")
    if package is None or pretrained.FILES["fcpe"].path.exists():
        return pretrained.require("fcpe")
    return Path(str(package.origin)).parent / BUNDLED_WEIGHTS


def weight_files() -> list[Path]:
    """The file that ``fcpe`` reads now, which is found in either of two places."""
    return [find_weights(None)]


def load_network(path: Path) -> Fcpe:
    """Read ``{"config" or "config_dict", "model"}`` and build the network that it describes."""
    content = checkpoint.read(path)
    bundled = "config_dict" in content
    try:
        config, state = content["config_dict" if bundled else "config"], content["model"]
        mel, model = config["mel"], config["model"]
        kind = (mel["sr" if bundled else "sampling_rate"], mel["hop_size"], mel["num_mels"], mel["n_fft"])
        sizes = {"n_layers": model["n_layers"], "channels": model["hidden_dims" if bundled else "n_chans"]}
        bins = {"n_bins": model["out_dims"], "f0_min": model["f0_min"], "f0_max": model["f0_max"]}
        supported = model["conv_only"] if bundled else not (model.get("use_siren") or model.get("use_full"))
    except (KeyError, TypeError, AttributeError) as error:
        raise checkpoint.CheckpointError(f"{path} is no FCPE file: {error!r} where its config was looked for") from None
    if kind != (SAMPLE_RATE, HOP_LENGTH, N_MELS, N_FFT) or not supported:
        raise checkpoint.CheckpointError(f"{path} has an FCPE network of another kind: {dict(mel)}, {dict(model)}")
    network = Fcpe(N_MELS, **bins, **sizes, attention=not bundled)
    if bundled:
        state = {_own_name(key): value for key, value in state.items() if key != "gaussian_blurred_cent_mask"}
    checkpoint.load_weights(network, state, where=path)
    return network


def _own_name(key: str) -> str:
    for theirs, ours in BUNDLED_NAMES.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key
