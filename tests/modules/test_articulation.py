"""Fast changes of the envelope, and unvoiced sounds, come from the recording, everything else from what was made."""

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


def hissing(loudness: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """A mel (F, M) of a vowel with an "s" of a third of a second in it, and which frames are voiced (F,)."""
    voiced = (TIMES < 1.5) | (TIMES > 1.85)
    hiss = torch.sigmoid((bands().centres.float() - 4500) / 500) * 5 - 7.5
    return torch.where(voiced[:, None], speech(0.5), hiss) + loudness, voiced


MIDDLE_OF_HISS = slice(int(1.63 / HOP), int(1.73 / HOP))


def test_unvoiced_sounds_come_whole(articulation: Articulation) -> None:
    """Much longer than what counts as fast, and in all bands; how loud the recording is says nothing."""
    source, voiced = hissing(loudness=1.0)
    made = speech(0.5)  # of a network that made a vowel of it
    hiss = carried(articulation, made, source, voiced=voiced)[MIDDLE_OF_HISS].mean(dim=0)
    wanted = articulation.envelope.mel(articulation.envelope.cepstra(source))[MIDDLE_OF_HISS].mean(dim=0)
    vowel, likeness = made[MIDDLE_OF_HISS].mean(dim=0), torch.nn.functional.cosine_similarity
    centred = [one - one.mean() for one in (hiss, wanted, vowel)]
    assert likeness(centred[0], centred[1], dim=0) > 0.9 > 0 > likeness(centred[0], centred[2], dim=0)
    inside_vowel = slice(20, int(1.2 / HOP))
    change = carried(articulation, made, source, voiced=voiced)[inside_vowel] - made[inside_vowel]
    assert change.abs().max() < 0.05, "voiced sounds stay"


def test_unvoiced_sounds_of_another_microphone_come_without_it(articulation: Articulation) -> None:
    """A tilt of the recording's whole spectrum is no articulation."""
    source, voiced = hissing()
    tilt = torch.linspace(1.5, -1.5, N_MELS)
    result = carried(articulation, source, source + tilt, voiced=voiced)
    torch.testing.assert_close(result, source, atol=0.05, rtol=0)


def test_what_unvoiced_sounds_have_of_their_own_is_halved(articulation: Articulation) -> None:
    """Brighter "s" of the recording than those that were made, under the same vowels: half is the singer's.

    A bit less than that of a single one, which tells less than the vowels.
    """
    made, voiced = hissing()
    tilt = torch.linspace(-1.5, 1.5, N_MELS)
    change = (carried(articulation, made, made + tilt * ~voiced[:, None], voiced=voiced) - made)[MIDDLE_OF_HISS]
    share = float((change.mean(dim=0) * tilt).sum() / tilt.square().sum())
    assert 0.5 < share < 0.65


def test_an_unvoiced_sound_moves_with_the_vocal_tract(articulation: Articulation) -> None:
    source, voiced = hissing()
    made = torch.where(voiced[:, None], source, source[voiced].mean(dim=0))
    edges = {}
    for ratio in (0.8, 1.0, 1.2):
        hiss = carried(articulation, made, source, voiced=voiced, ratio=ratio)[MIDDLE_OF_HISS].mean(dim=0)
        edges[ratio] = float(articulation.centres[int(hiss[60:].diff().argmax()) + 60])  # where it rises most
    assert edges[0.8] < 0.9 * edges[1.0] and edges[1.2] > 1.1 * edges[1.0]


def test_a_slip_of_the_tracker_is_no_unvoiced_sound(articulation: Articulation) -> None:
    """Three frames in a vowel, of a singer whose low bands go their own way."""
    source, made = speech(0.5), speech(0.5) + torch.sin(2 * torch.pi * 0.5 * TIMES)[:, None]
    slipped = torch.ones(N_FRAMES, dtype=torch.bool)
    slipped[40:43] = slipped[150:153] = False
    found, wanted = carried(articulation, made, source, voiced=slipped), carried(articulation, made, source)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_unvoiced_sounds_do_not_click(articulation: Articulation) -> None:
    """A slow change of all bands, which counts in unvoiced sounds alone: it fades in over a few frames."""
    made, (_, voiced) = speech(0.5), hissing()
    source = made + 2 * torch.exp(-0.5 * ((TIMES - 1.67) / 0.4) ** 2)[:, None]
    change = (carried(articulation, made, source, voiced=voiced) - made)[:, :5]
    assert change.abs().max() > 0.5
    assert change.diff(dim=0).abs().max() < 0.6 * change.abs().max()


def test_rests_become_no_louder_and_lose_noise(articulation: Articulation) -> None:
    """Of a quiet recording, of a noisy one, and of a model that learnt the noise of its singer's room."""
    voiced = hissing()[1] & (TIMES < 2.5)
    resting = ~voiced & (TIMES > 2)
    rest = slice(int(2.5 / HOP) + 1, -1)
    for room, noise in ((-11.5, -10.5), (-11.5, -5.0), (-8.0, -10.5), (-8.0, -9.0)):
        source, made = hissing(loudness=-2.0)[0], hissing()[0]
        source[resting], made[resting] = room, noise
        result = carried(articulation, made, source, voiced=voiced)
        assert (result - made)[rest].max() < 0.05
        assert room > -11 or noise < -10 or result[int(2.7 / HOP) : -1].max() < noise - 1.5
        hiss = slice(int(1.5 / HOP), int(1.85 / HOP))
        assert (result - made)[hiss].mean().abs() < 0.2, "noise in rests says nothing about an s"
        tail = carried(articulation, made, source, voiced=hissing()[1])
        assert (tail - made)[rest].max() < 0.05, "also where a tracker hears a voice in it"


@pytest.mark.parametrize("n_unvoiced", [6, 12, 18, 30])
def test_how_loud_a_recording_is_says_nothing_in_short_pieces(articulation: Articulation, n_unvoiced: int) -> None:
    """One consonant in silence, and nothing else."""
    source = torch.full((N_FRAMES, N_MELS), -11.5)
    source[100 : 100 + n_unvoiced] = hissing()[0][MIDDLE_OF_HISS][:1]
    nobody = torch.zeros(N_FRAMES, dtype=torch.bool)
    result = carried(articulation, source, source + 2.0, voiced=nobody)
    inside = slice(102, 98 + n_unvoiced)
    torch.testing.assert_close(result[inside], source[inside], atol=0.1, rtol=0)


def test_what_is_not_finite_is_left(articulation: Articulation) -> None:
    made, source = speech(0.5), speech(8.0)
    for broken in (float("nan"), float("inf")):
        made[5, 3] = broken
        torch.testing.assert_close(carried(articulation, made, source), made, equal_nan=True)


@pytest.mark.parametrize("voiced", [True, False])
@pytest.mark.parametrize(("loudness", "gain"), [(0.0, 1.5), (-4.2, 0.3)])
def test_a_piece_of_one_kind_of_sound(articulation: Articulation, voiced: bool, loudness: float, gain: float) -> None:
    """A whisper, a hum: what the other kind would say of the microphone is not missed; nor is anything that sounds."""
    mel, heard = speech(6.0) + loudness, torch.full((N_FRAMES,), voiced)
    louder = carried(articulation, mel, mel + gain, voiced=heard)
    torch.testing.assert_close(louder, mel, atol=1e-4, rtol=0)


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
