"""How clean a recording sounds, as a network trained on listeners' opinions predicts it.

DNSMOS P.835 (Reddy, Gopal and Cutler 2022, arXiv:2110.01763): 1 (bad) to 5 (excellent). It was trained on speech behind
noise suppressors at 16 kHz. Of singing it tells the rough and noisy from the clean; compare conversions of one song
with each other, and with the song itself, and do not read it as an opinion score. The .onnx file inside Microsoft's
package speechmos (MIT) is used, none of its code runs. Checked against the package.
"""

from typing import NamedTuple

import numpy as np
import torch

from common import audio
from common.onnx_sessions import open_session, run
from common.packaged import packaged_file

SAMPLE_RATE = 16000
WINDOW_SAMPLES = int(9.01 * SAMPLE_RATE)  # the network's input; windows begin a second apart
INSTALL = "pip install --no-deps speechmos"
# The network's numbers to the scale of the listeners, highest power first.
SPEECH, BACKGROUND, OVERALL = (
    (-0.08397278, 1.22083953, 0.0052439),
    (-0.13166888, 1.60915514, -0.39604546),
    (-0.06766283, 1.11546468, 0.04602535),
)


class Quality(NamedTuple):
    """Predicted opinions, 1 to 5."""

    speech: float  # SIG
    background: float  # BAK: how little is heard besides
    overall: float  # OVRL


class QualityPredictor:
    """The network, ready to listen.

    Raises:
        NotAvailableError: speechmos or onnxruntime is not installed.
    """

    def __init__(self) -> None:
        self.path = packaged_file("speechmos", "dnsmos_models/sig_bak_ovr.onnx", install=INSTALL)
        self.session = open_session(self.path, torch.device("cpu"))

    def predict(self, wav: np.ndarray, sample_rate: int) -> Quality:
        """Mean over windows of (T,); what is shorter than one (9 s) is repeated.

        Raises:
            ValueError: silent.
        """
        if not len(wav) or audio.is_silent(wav):
            raise ValueError("silent: no quality")
        wav = audio.resample(wav, sample_rate, SAMPLE_RATE)
        while len(wav) < WINDOW_SAMPLES:
            wav = np.concatenate([wav, wav])
        n_windows = int(len(wav) // SAMPLE_RATE - WINDOW_SAMPLES / SAMPLE_RATE) + 1  # as the package counts them
        name, output = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name
        raw = [
            run(self.session, [output], {name: wav[None, start : start + WINDOW_SAMPLES]}, where=self.path)[0][0]
            for start in range(0, n_windows * SAMPLE_RATE, SAMPLE_RATE)
        ]
        columns = np.array(raw).T  # (3, windows)
        scales = (SPEECH, BACKGROUND, OVERALL)
        return Quality(*(float(np.polyval(s, column).mean()) for s, column in zip(scales, columns, strict=True)))
