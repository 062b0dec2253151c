"""Whether the loudness of a conversion rises and falls with that of its source."""

import numpy as np
import torch

from modules.volume import frame_volume

WINDOW_SECONDS = 0.05
SILENT_DB = 50.0  # the source's windows that lie further below its loudest are noise, not music
FLOOR_DB = 80.0  # what lies further below a recording's loudest window counts as this far


def levels(wav: np.ndarray, sample_rate: int) -> np.ndarray:
    """Root mean square of windows of 50 ms: wav (T,) -> (N,) dB relative to the loudest, at least -`FLOOR_DB`.

    Raises:
        ValueError: shorter than one window, or silent.
    """
    volume = frame_volume(torch.from_numpy(wav), round(WINDOW_SECONDS * sample_rate)).double().numpy()
    if not volume.max() > 0:
        raise ValueError("silent")
    return 20 * np.log10(np.maximum(volume / volume.max(), 10 ** (-FLOOR_DB / 20)))


def loudness_correlation(source: np.ndarray, result: np.ndarray, sample_rate: int) -> float:
    """Pearson's correlation of the levels in dB of two recordings (T,), over their common part where the source sounds.

    A factor on either changes nothing; noise where the source is silent does not count.

    Raises:
        ValueError: less than two windows sound, one of the two is silent, or of constant loudness.
    """
    n_samples = min(len(source), len(result))
    source_db, result_db = (levels(wav[:n_samples], sample_rate) for wav in (source, result))
    sounding = source_db > -SILENT_DB
    if sounding.sum() < 2:
        raise ValueError("fewer than two windows of 50 ms sound: no loudness envelope")
    if min(np.ptp(source_db[sounding]), np.ptp(result_db[sounding])) < 1e-3:  # dB
        raise ValueError("constant loudness: nothing to correlate")
    return float(np.corrcoef(source_db[sounding], result_db[sounding])[0, 1])
