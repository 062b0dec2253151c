"""Whole conversions against the reference, its f0 fed in.

The reference re-centres each piece, which shifts it by half of what whole frames leave over; that is undone here. What
then differs is the resampler to 16 kHz and the 16-bit file that pieces went through there.
"""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import vencoder
from modules.volume import frame_volume
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.features import FeatureExtractor, Features, FeatureSettings, Track
from tests.golden.weights import make_state_dict
from tests.parity import GOLDEN, Case

HOP, EDGE = 512, 600  # samples at the ends of a piece, where the reference has zeros
MIN_SNR = 50.0  # dB; measured 55 to 77, and 25 is asked for


class StoredPitch(FeatureExtractor):
    """Units of the piece, but f0 and voicing from arrays, piece after piece."""

    def __init__(self, settings: FeatureSettings, device: torch.device, *, f0: bool, weights: Path, track: Track):
        assert f0
        self.settings, self.encoder = settings, vencoder.build("hubertsoft", device="cpu", weights=weights)
        self.stored = track

    def _features(self, wav: np.ndarray, units: torch.Tensor, track: Track | None) -> Features:
        n_frames = len(wav) // HOP
        (f0, f0_left), (uv, uv_left) = (np.split(array, [n_frames]) for array in self.stored)
        self.stored = f0_left, uv_left
        assert len(f0) == n_frames and track is None
        return Features(units, f0, uv, frame_volume(torch.from_numpy(wav), HOP).numpy())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("e2e")
    case, keys = Case("e2e"), json.loads((GOLDEN / "hubertsoft/keys.json").read_text())
    recipe = make_state_dict({key: shape for key, shape, _ in keys}, case.info["weights"]["hubertsoft"]["seed"])
    torch.save(recipe, folder / "hubertsoft.pt")
    torch.save({"model": case.state_dict("synth"), "iteration": 1}, folder / "G_1.pth")
    (folder / "config.json").write_text(json.dumps(case.info["config"]), encoding="utf-8")
    return folder


def ratios(weights: Path, run: str, *, first_frame: int = 0, first_sample: int = 0) -> list[float]:
    """Signal to noise ratio (dB) of every piece of a run; a run may begin at a later chunk."""
    case = Case("e2e")
    info, golden = case.info["runs"][run], case.arrays(f"out_{run}.npz")
    given, second = info["kwargs"], info.get("input") == "wav2"
    wav = (case.arrays("wav2.npz")["wav2"] if second else case.arrays()["wav"])[first_sample:]
    factor = 2 ** (given["tran"] / 12)
    f0, uv = golden["f0"].ravel()[first_frame:] / factor, golden["uv"].ravel()[first_frame:]
    extractor = functools.partial(StoredPitch, weights=weights / "hubertsoft.pt", track=(f0.astype(np.float32), uv))
    converter = Converter(weights / "G_1.pth", weights / "config.json", device="cpu", make_extractor=extractor)
    options = ConversionOptions(
        speaker=info.get("speaker", "bob"),
        transpose=given["tran"],
        clip=given.get("clip_seconds", 0.0),
        linear_gradient=given.get("lg_num", 0.0),
    )
    got, planned, expected = converter.convert(wav, options), converter.plan(wav, options), golden["out"][first_sample:]
    assert got.shape == expected.shape
    found = []
    for before, piece, after in zip([None, *planned], planned, [*planned[1:], None], strict=False):
        start = max(piece.start, before.end if before else 0) + EDGE
        end = min(piece.end, after.start if after else len(wav)) - EDGE
        shift = (piece.right - piece.left) % HOP // 2
        reference = expected[start + shift : end + shift]
        found.append(10 * np.log10(np.sum(reference**2) / np.sum((got[start:end] - reference) ** 2)))
    return found


def test_golden_last_chunk(weights, zero_noise):
    first_frame = sum(call["n_frames"] for call in Case("e2e").info["runs"]["dio_cut_clip2"]["calls"][2:9:3])
    assert ratios(weights, "dio_cut_clip2", first_frame=first_frame, first_sample=187866)[0] > MIN_SNR


@pytest.mark.slow
@pytest.mark.parametrize("run", ["pm_plus3", "dio_cut_clip2"])
def test_golden_end_to_end(weights, zero_noise, run):
    assert min(ratios(weights, run)) > MIN_SNR
