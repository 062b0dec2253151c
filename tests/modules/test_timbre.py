"""An envelope is drawn to what its singer's recordings have at the same sounds, and to nothing else."""

import pytest
import torch

from modules.mel_processing import mel_edges
from modules.spectral_envelope import SpectralEnvelope
from modules.timbre import MAX_SCALE, TimbreFit, TimbreMatch, Timbres

N_FRAMES, N_MELS, N_UNITS = 3000, 128, 8
HOP = 512 / 44100
ENVELOPE = SpectralEnvelope(mel_edges(44100, N_MELS, 40.0, 16000.0)[1:-1])
MATCH = TimbreMatch(ENVELOPE, frame_seconds=HOP)
Q = ENVELOPE.n_cepstra
LOW, HIGH = 150.0, 450.0  # notes without and with harmonics that show in fine coefficients


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def singer(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How cepstra follow from units, and their mean: (D, Q), (Q,)."""
    weight, bias = 0.5 * noise(N_UNITS, Q, seed=seed), noise(Q, seed=seed + 100)
    weight[:, 0], bias[0] = 0.0, -4 * N_MELS**0.5
    return weight, bias


def sing(weight: torch.Tensor, bias: torch.Tensor, units: torch.Tensor, *, spread: float = 0.3) -> torch.Tensor:
    """A mel (F, M) of units (F, D)."""
    wandering = spread * noise(len(units), Q, seed=7)
    wandering[:, 0] = 0
    return ENVELOPE.mel(units @ weight + bias + wandering)


def pitch(n_frames: int = N_FRAMES, hz: float = LOW) -> torch.Tensor:
    return torch.full((n_frames,), hz)


def half_high(n_frames: int = N_FRAMES) -> torch.Tensor:
    return torch.where(torch.arange(n_frames) % 2 == 0, LOW, HIGH)


def with_harmonics(mel: torch.Tensor, f0: torch.Tensor) -> torch.Tensor:
    """A ripple in the coefficients that harmonics of high notes show in."""
    return mel + ENVELOPE.mel(2.0 * (1 - ENVELOPE.below_harmonics(f0)))


def fitted(*who: tuple[torch.Tensor, torch.Tensor], f0: torch.Tensor | None = None) -> Timbres:
    units = noise(N_FRAMES, N_UNITS, seed=1)
    f0 = pitch() if f0 is None else f0
    rows = []
    for weight, bias in who:
        mel = with_harmonics(sing(weight, bias, units), f0)
        clips = ((units[part], mel[part], f0[part]) for part in (slice(0, 1000), slice(1000, N_FRAMES)))
        rows.append(MATCH.fit(clips, n_units=N_UNITS))
    return Timbres(*(torch.stack(tensors) for tensors in zip(*rows, strict=True)))


def matched(
    timbres: Timbres, made: torch.Tensor, units: torch.Tensor, *, f0: torch.Tensor | None = None
) -> torch.Tensor:
    expected = timbres.expect(units, torch.ones(len(units), 1))
    return MATCH.match(made, pitch(len(made)) if f0 is None else f0, expected)


# ---- what recordings tell


def test_the_regression_is_that_of_least_squares() -> None:
    units, cepstra = noise(400, N_UNITS) + 3, noise(400, Q, seed=1)
    cepstra[:, :N_UNITS] += 2 * units
    fit = TimbreFit(N_UNITS, Q)
    for part in (slice(0, 100), slice(100, 400)):
        fit.add(units[part], cepstra[part], torch.ones_like(cepstra[part], dtype=torch.bool))
    weight, bias, residual, mean, variance, known = fit.solve(400)
    assert bool((known == 1).all()) and not any(row.any() for row in fit.solve(401)[:3])
    torch.testing.assert_close(mean, units.mean(dim=0))
    torch.testing.assert_close(variance, units.var(dim=0, correction=0), atol=1e-4, rtol=1e-4)
    from_mean, of_units = cepstra - cepstra.mean(dim=0), units - units.mean(dim=0)
    ridge = 0.1 * of_units.var(dim=0, correction=0).mean() * len(units) * torch.eye(N_UNITS)
    wanted = torch.linalg.solve(of_units.T @ of_units + ridge, of_units.T @ from_mean)
    torch.testing.assert_close(weight, wanted, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(bias, cepstra.mean(dim=0) - units.mean(dim=0) @ wanted, atol=1e-3, rtol=1e-3)
    left = cepstra.var(dim=0, correction=0) - (units @ weight).var(dim=0, correction=0)
    torch.testing.assert_close(residual, left, atol=1e-3, rtol=1e-3)


def test_high_notes_teach_what_shows_in_them() -> None:
    """Half of the recordings an octave and a half higher: fine coefficients are learnt from the other half."""
    weight, bias = singer(2)
    low, both = fitted((weight, bias)), fitted((weight, bias), f0=half_high())
    assert float((1 - ENVELOPE.below_harmonics(pitch(1, HIGH))).sum()) > 4
    torch.testing.assert_close(both.bias, low.bias, atol=0.05, rtol=0)
    torch.testing.assert_close(both.residual_variance, low.residual_variance, atol=0.05, rtol=0.1)


def test_who_recorded_high_notes_says_nothing_of_what_they_hide() -> None:
    """A soprano sings a low song: coefficients that her recordings do not show, or hardly, stay as they were made."""
    ours, high = singer(2), pitch(hz=HIGH)
    hidden = ENVELOPE.below_harmonics(high)[0] < 1
    made, units = sing(*singer(3), noise(N_FRAMES, N_UNITS, seed=4)), noise(N_FRAMES, N_UNITS, seed=4)
    high[:10] = LOW
    timbres = fitted(ours, f0=high)
    assert timbres.has(0) and torch.equal(timbres.fitted[0] == 0, hidden)
    change = (ENVELOPE.cepstra(matched(timbres, made, units)) - ENVELOPE.cepstra(made)).abs().mean(dim=0)
    assert float(change[hidden].max()) < 1e-3 < float(change[1:][~hidden[1:]].min())


def test_too_few_recordings_tell_nothing() -> None:
    units = noise(N_FRAMES, N_UNITS)
    mel = sing(*singer(2), units)
    for n_frames, enough in ((1000, True), (200, False), (0, False)):
        rows = MATCH.fit([(units[:n_frames], mel[:n_frames], pitch(n_frames))] if n_frames else [], n_units=N_UNITS)
        timbres = Timbres(*(row[None] for row in rows))
        assert timbres.has(0) is enough and bool(timbres.weight.any()) is enough
    silent = MATCH.fit([(units, torch.full((N_FRAMES, N_MELS), -11.5), pitch())], n_units=N_UNITS)
    assert not any(row.any() for row in silent)


def test_numbers_that_are_none_stay_where_they_are() -> None:
    timbres, units = fitted(singer(2)), noise(600, N_UNITS, seed=4)
    made = sing(*singer(3), units)
    made[5, 3] = torch.nan
    assert torch.equal(matched(timbres, made, units).isnan(), made.isnan())


def test_what_a_file_holds_is_checked() -> None:
    timbres = fitted(singer(2))
    sizes = {"n_speakers": 1, "n_units": N_UNITS, "n_cepstra": Q}
    content = {name: tensor.half() for name, tensor in timbres._asdict().items()}
    read = Timbres.of_content(content, **sizes)
    torch.testing.assert_close(read.weight, timbres.weight, atol=1e-2, rtol=1e-2)
    for wrong, message in (
        (content | {"weight": torch.zeros(1, N_UNITS + 1, Q)}, "other sizes than those of the model: weight"),
        (content | {"bias": None, "unit_mean": torch.zeros(N_UNITS)}, "bias, unit_mean"),
        ({}, "weight, bias, residual_variance, unit_mean, unit_variance, fitted"),
        (content | {"bias": torch.full((1, Q), torch.nan)}, "not finite"),
        (content | {"residual_variance": torch.full((1, Q), -1.0)}, "negative variances"),
    ):
        with pytest.raises(ValueError, match=message):
            Timbres.of_content(wrong, **sizes)
    with pytest.raises(ValueError, match="weight, bias, residual_variance, fitted$"):
        Timbres.of_content(content, **sizes | {"n_cepstra": Q + 1})


# ---- what is made of it


def test_another_envelope_becomes_the_singers() -> None:
    """Its mean and how much it varies; how loud it is, and what is finer than the envelope, stay."""
    ours, other = singer(2), singer(3)
    units = noise(N_FRAMES, N_UNITS, seed=4)
    wanted = ENVELOPE.cepstra(sing(*ours, units))
    fine = 0.3 * torch.cos(torch.pi * 40 * (torch.arange(N_MELS) + 0.5) / N_MELS)
    flat = ENVELOPE.cepstra(sing(ours[0], other[1], units))
    flat[:, 1:] = flat[:, 1:].mean(dim=0) + (flat[:, 1:] - flat[:, 1:].mean(dim=0)) / 1.3
    made = ENVELOPE.mel(flat) + fine
    result = matched(fitted(ours), made, units)
    got = ENVELOPE.cepstra(result)
    before, after = ((cepstra.mean(dim=0) - wanted.mean(dim=0)).abs().mean() for cepstra in (flat, got))
    assert after < 0.1 * before
    assert float((got.std(dim=0)[1:] / wanted.std(dim=0)[1:]).mean()) == pytest.approx(1.0, abs=0.05)
    torch.testing.assert_close(*((2 * mel).exp().sum() for mel in (result, made)))
    torch.testing.assert_close(result - made, ENVELOPE.mel(got - flat), atol=1e-3, rtol=0)


@pytest.mark.parametrize("f0", [pitch(), half_high()], ids=["low", "half high"])
def test_who_sounds_right_stays(f0: torch.Tensor) -> None:
    ours, units = singer(2), noise(N_FRAMES, N_UNITS, seed=4)
    made = with_harmonics(sing(*ours, units), f0)
    change = matched(fitted(ours), made, units, f0=f0) - made
    other = with_harmonics(sing(*singer(3), units), f0)
    assert change.norm() < 0.1 * (matched(fitted(ours), other, units, f0=f0) - other).norm()


def test_a_held_vowel_stays_that_vowel() -> None:
    """Its mean is compared with that of the same sound in the recordings, not with that of all sounds."""
    weight, bias = singer(2)
    vowel = 0.8 * noise(1, N_UNITS, seed=5).expand(N_FRAMES, -1)
    made = sing(weight, bias, vowel)
    change = ENVELOPE.cepstra(matched(fitted((weight, bias)), made, vowel)) - ENVELOPE.cepstra(made)
    from_the_mean = (vowel[0] @ weight)[1:].abs().mean()
    assert change.mean(dim=0)[1:].abs().mean() < 0.15 * from_the_mean


def test_a_scale_has_limits() -> None:
    """What hardly moves is moved twice as much at most, and what moves more than the singer does stays."""
    weight, bias = singer(2)
    timbres, units = fitted((weight, bias)), noise(N_FRAMES, N_UNITS, seed=4)
    steady, wild = (ENVELOPE.mel(scale * noise(N_FRAMES, Q) + bias) for scale in (0.01, 3.0))
    for mel, low, high in ((steady, 0.95 * MAX_SCALE, MAX_SCALE), (wild, 0.99, 1.01)):
        ratio = ENVELOPE.cepstra(matched(timbres, mel, units)).std(dim=0) / ENVELOPE.cepstra(mel).std(dim=0)
        assert low < float(ratio[1:].min()) and float(ratio[1:].max()) < high


def test_little_is_not_trusted() -> None:
    timbres, units = fitted(singer(2)), noise(N_FRAMES, N_UNITS, seed=4)
    made = sing(*singer(3), units)
    moves = [(matched(timbres, made[:n], units[:n]) - made[:n]).mean(dim=0).norm() for n in (1, 10, 80, 1000)]
    assert moves == sorted(moves) and moves[0] < 0.05 * moves[-1]


def test_silence_stays_silent() -> None:
    """A piece of nothing is left alone, and so is what is far below the loudest of a song."""
    timbres, units = fitted(singer(2)), noise(200, N_UNITS, seed=4)
    silence = torch.full((200, N_MELS), -11.5)
    torch.testing.assert_close(matched(timbres, silence, units), silence)
    made = sing(*singer(3), units)
    made[120:] -= 8
    change = (matched(timbres, made, units) - made).abs().amax(dim=1)
    assert bool((change[:120] > 0.1).all()) and bool((change[120:] < 1e-5).all())
    assert matched(timbres, made[:1], units[:1]).shape == (1, N_MELS)


def test_harmonics_are_left_alone() -> None:
    """Coefficients in which harmonics of a high note show do not change."""
    timbres, units, high = fitted(singer(2)), noise(N_FRAMES, N_UNITS, seed=4), pitch(hz=900.0)
    made = sing(*singer(3), units)
    change = ENVELOPE.cepstra(matched(timbres, made, units, f0=high)) - ENVELOPE.cepstra(made)
    hidden = ENVELOPE.below_harmonics(high)[0] == 0
    assert change[:, hidden].abs().max() < 1e-4 < change[:, ~hidden].abs().max()


def test_sounds_that_recordings_do_not_have_tell_nothing() -> None:
    """A piece of them is left alone; among others they do not count."""
    timbres, units = fitted(singer(2)), noise(1000, N_UNITS, seed=4)
    strange = units.clone()
    strange[600:] *= 4
    coverage = timbres.expect(strange, torch.ones(1000, 1)).coverage
    assert float(coverage[:600].mean()) > 0.8 and float(coverage[600:].mean()) < 0.05
    made = sing(*singer(3), units)
    torch.testing.assert_close(matched(timbres, made, 8 * units), made)
    short = matched(timbres, made[:600], units[:600]) - made[:600]
    whole = matched(timbres, made, strange)[:600] - made[:600]
    assert (whole - short).norm() < 0.3 * short.norm()


def test_a_channel_that_is_dead_in_the_recordings_says_little() -> None:
    units = noise(N_FRAMES, N_UNITS, seed=1)
    units[:, 3] = 0
    timbres = Timbres(*(row[None] for row in MATCH.fit([(units, sing(*singer(2), units), pitch())], n_units=N_UNITS)))
    alive = units.clone()
    alive[:, 3] = 0.02
    coverage = [float(timbres.expect(some, torch.ones(N_FRAMES, 1)).coverage.mean()) for some in (units, alive)]
    assert coverage[1] == pytest.approx(coverage[0], abs=0.02) and coverage[0] > 0.8


# ---- several singers


def test_two_singers_in_one_frame() -> None:
    both = fitted(singer(2), singer(3))
    units = 0.3 * noise(4, N_UNITS)
    shares = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75], [0.25, 0.75]])
    expected = both.expect(units, shares)
    alone = [both.expect(units, torch.eye(2)[[s] * 4]) for s in (0, 1)]
    assert bool((expected.coverage == 1).all())
    for name in ("cepstra", "residual_variance"):
        first, second = (getattr(one, name) for one in alone)
        torch.testing.assert_close(getattr(expected, name), shares[:, :1] * first + shares[:, 1:] * second)


def test_a_singer_who_does_not_know_a_sound_has_no_say() -> None:
    both = fitted(singer(2), singer(3))
    both.unit_mean[1] += 10
    units, half = 0.3 * noise(4, N_UNITS), torch.full((4, 2), 0.5)
    expected, alone = both.expect(units, half), both.expect(units, torch.eye(2)[[0] * 4])
    torch.testing.assert_close(expected.cepstra, alone.cepstra)
    torch.testing.assert_close(expected.coverage, alone.coverage / 2)


def test_a_mix_with_an_unknown_singer_is_left_alone() -> None:
    known = fitted(singer(2))
    both = Timbres(*(torch.cat([tensor, torch.zeros_like(tensor)]) for tensor in known))
    units = noise(N_FRAMES, N_UNITS, seed=4)
    made = sing(*singer(3), units)
    for shares in ([0.5, 0.5], [0.0, 1.0]):
        expected = both.expect(units, torch.tensor([shares]).expand(N_FRAMES, -1))
        torch.testing.assert_close(MATCH.match(made, pitch(), expected), made)
