"""Fast changes of the envelope come from the recording, everything else from what was made."""

import numpy as np
import pytest
import torch

from modules.articulation import Articulation
from modules.mel_processing import mel_edges
from modules.spectral_envelope import CEPSTRA, SpectralEnvelope

HOP = 512 / 44100
N_FRAMES, N_MELS = 300, 128
TIMES = torch.arange(N_FRAMES) * HOP


def bands(n_mels: int = N_MELS) -> Articulation:
    return Articulation(SpectralEnvelope(mel_edges(44100, n_mels, 40.0, 16000.0)[1:-1]), frame_seconds=HOP)


@pytest.fixture
def articulation() -> Articulation:
    return bands()


def speech(rate_hz: float, *, ratio: float = 1.0, loudness: float = -4.0, depth: float = 1.5) -> torch.Tensor:
    """A mel of two formants that move ``rate_hz`` times a second, all frequencies times ``ratio``: (F, M)."""
    centres = bands().centres.float()
    swing = torch.sin(2 * torch.pi * rate_hz * TIMES)[:, None]
    mel = torch.full((N_FRAMES, N_MELS), loudness)
    for formant, width in ((1300.0, 0.25), (2900.0, 0.2)):
        distance = (centres / ratio).log() - np.log(formant) - 0.12 * swing
        mel = mel + depth * torch.exp(-0.5 * (distance / width) ** 2)
    return mel


def carried(articulation: Articulation, made: torch.Tensor, source: torch.Tensor, **changes) -> torch.Tensor:
    voiced = torch.ones(len(made), dtype=torch.bool)
    f0 = torch.full((len(made),), 150.0)
    return articulation.carry(made, source, **({"f0": f0, "voiced": voiced, "ratio": 1.0} | changes))


def test_a_recording_of_the_same_mel_changes_nothing(articulation: Articulation) -> None:
    mel = speech(6.0)
    torch.testing.assert_close(carried(articulation, mel, mel), mel, atol=1e-4, rtol=0)


def test_fast_changes_come_and_slow_ones_stay(articulation: Articulation) -> None:
    """8 Hz is articulation; the mean over time is the voice; half a hertz is how a note swells."""
    made, source = speech(0.5), speech(8.0, loudness=-2.0)
    result = carried(articulation, made, source)
    inside = slice(60, -60)
    change = (result - made)[inside]
    assert change.mean(dim=0).abs().max() < 0.1, "louder though the source is, and of another spectrum"
    wanted = (source - source.mean(dim=0))[inside]
    likeness = float((change * wanted).sum() / change.norm() / wanted.norm())
    assert likeness > 0.9 and change.std() > 0.8 * wanted.std()
    slow = carried(articulation, made, speech(0.25))
    assert (slow - made)[inside].abs().max() < 0.15, "slow changes are not taken"


def test_what_is_finer_than_the_envelope_stays(articulation: Articulation) -> None:
    """A pattern of one band, as harmonics make it, that comes and goes ten times a second."""
    pattern = torch.cos(torch.pi * torch.arange(N_MELS))[None] * torch.sin(2 * torch.pi * 10 * TIMES)[:, None]
    made = speech(0.0)
    change = carried(articulation, made, made + pattern) - made
    assert change.abs().mean() < 0.02 and change[:, 8:-8].abs().max() < 0.05


def test_low_frequencies_stay(articulation: Articulation) -> None:
    """A flicker of the whole spectrum, 8 times a second: all of it is taken high up, half at 650 Hz, none at 100 Hz."""
    made = speech(0.0)
    flicker = torch.sin(2 * torch.pi * 8 * TIMES)[:, None]
    taken = (carried(articulation, made, made + flicker) - made)[60:-60].std(dim=0) / flicker[60:-60].std()
    at = {hz: float(taken[int((articulation.centres - hz).abs().argmin())]) for hz in (100, 650, 4000)}
    assert at[100] < 0.02 and at[650] == pytest.approx(0.5, abs=0.06) and at[4000] > 0.95


@pytest.mark.parametrize("voiced", [True, False])
def test_harmonics_of_a_high_voice_are_no_envelope(articulation: Articulation, voiced: bool) -> None:
    """At 900 Hz they are as far apart as formants. What is unvoiced has none, whatever f0 goes on through it."""
    f0 = 900.0 * 2 ** (0.08 * torch.sin(2 * torch.pi * 6 * TIMES))
    centres = articulation.centres.float()
    made = speech(0.0)
    source = made + torch.cos(2 * torch.pi * centres[None] / f0[:, None]) * ((centres > 1000) & (centres < 4000))
    heard = torch.full((N_FRAMES,), voiced)
    known = articulation.carry(made, source, f0, voiced=heard, ratio=1.0) - made
    unknown = articulation.carry(made, source, torch.full_like(f0, 100.0), voiced=heard, ratio=1.0) - made
    assert known.norm() < 0.6 * unknown.norm() if voiced else torch.equal(known, unknown)


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("f0", [150.0, 800.0])
def test_vocal_tracts_are_compared(articulation: Articulation, ratio: float, f0: float) -> None:
    """Also where what was made is flatter, darker and of another loudness, as of a network that smooths."""
    tilt = torch.linspace(0, -4, N_MELS)[None]
    swell = torch.linspace(-1, 1, N_FRAMES)[:, None]
    source, made = speech(3.0) + swell, speech(3.0, ratio=ratio, loudness=-6.0, depth=0.9) + tilt - 2 * swell
    pitch = torch.full((N_FRAMES,), f0)
    found = articulation.vocal_tract_ratio(made, source, pitch, voiced=TIMES < 3.0)
    assert found == pytest.approx(ratio, rel=0.04 if f0 < 500 else 0.08)  # of a high voice less is known
    assert articulation.vocal_tract_ratio(made, source, pitch, voiced=TIMES < 0.5) == 1.0, "too little to tell"


@pytest.mark.parametrize("f0", [600.0, 800.0])
def test_a_transposition_is_no_other_vocal_tract(articulation: Articulation, f0: float) -> None:
    """Harmonics of a melody and of the same four semitones higher, under the same formants."""
    melody = f0 * 2 ** (0.25 * torch.sin(2 * torch.pi * 0.6 * TIMES))
    higher = melody * 2 ** (4 / 12)
    mel, centres = speech(3.0), articulation.centres.float()
    source, made = (mel + torch.cos(2 * torch.pi * centres / pitch[:, None]) for pitch in (melody, higher))
    assert articulation.vocal_tract_ratio(made, source, higher, voiced=TIMES < 3.0) == pytest.approx(1.0, abs=0.06)


def test_what_has_nothing_in_common_gives_no_ratio(articulation: Articulation) -> None:
    noise = torch.Generator().manual_seed(1)
    made, source = (-5 + torch.randn(N_FRAMES, N_MELS, generator=noise) for _ in range(2))
    pitch, voiced = torch.full((N_FRAMES,), 150.0), TIMES < 3.0
    assert articulation.vocal_tract_ratio(made, source, pitch, voiced=voiced) == 1.0
    assert articulation.vocal_tract_ratio(speech(0.0), speech(3.0), pitch, voiced=voiced) == 1.0


def test_formants_move_with_the_vocal_tract(articulation: Articulation) -> None:
    source, wanted = speech(8.0), speech(8.0, ratio=1.2)
    made = wanted.mean(dim=0).expand(N_FRAMES, -1)
    inside = slice(60, -60)
    moved, unmoved = (
        (carried(articulation, made, source, ratio=ratio) - wanted)[inside].norm() for ratio in (1.2, 1.0)
    )
    assert moved < 0.5 * unmoved


def test_silence_gives_nothing(articulation: Articulation) -> None:
    """What flickers below the floor is not carried; nothing breaks where nobody sings, or in few frames or bands."""
    silence = torch.full((N_FRAMES, N_MELS), -11.5)
    made = speech(0.0)
    nobody = torch.zeros(N_FRAMES, dtype=torch.bool)
    assert articulation.vocal_tract_ratio(made, silence, torch.zeros(N_FRAMES), voiced=nobody) == 1.0
    flicker = torch.sin(2 * torch.pi * 8 * TIMES)[:, None]
    torch.testing.assert_close(carried(articulation, made, -10.1 + flicker + 0 * made), made, atol=1e-4, rtol=0)
    assert carried(articulation, made[:1], silence[:1]).shape == (1, N_MELS)
    few = made[:, : CEPSTRA - 4]
    assert (carried(bands(CEPSTRA - 4), few, few + flicker) - few).std() > 0.5
