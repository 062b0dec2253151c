"""The converter: exact lengths whatever is asked, batches that equal single pieces, files of all ages, clear errors."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from common import audio
from common.checkpoint import CheckpointError
from common.config import ConfigError
from modules.f0 import CONFIDENT, F0_PREDICTORS, SEARCHING
from pipeline import pieces
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.features import FeatureExtractor, Features
from pipeline.melody import Melody, frame_positions
from pipeline.melody_csv import read_csv, write_csv
from pipeline.pitch_comparison import track_pitch
from pipeline.rendering import Target
from tests.pipeline.tiny_model import HOP, SAMPLE_RATE, silence, sung, write_model

DEFAULT = ConversionOptions(speaker="bob", f0_predictor="dio")
SONG = np.concatenate([sung(5.6), silence(0.5), sung(2.3, 300.0)])


class Plain(FeatureExtractor):
    """The same features for everything, at no cost; counts what it is given."""

    def __init__(self, settings, device, **parts):
        self.settings, self.n_wavs = settings, 0

    def extract_batch(self, wavs, tracks=None):
        self.n_wavs += len(wavs)
        frames = [np.ones(len(wav) // HOP, np.float32) for wav in wavs]
        return [Features(units=torch.zeros(60, len(f)), f0=200 * f, uv=f, volume=f / 10) for f in frames]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def converter(files: tuple[Path, Path]) -> Converter:
    return Converter(*files, device="cpu")


def options(**changes: object) -> ConversionOptions:
    return dataclasses.replace(DEFAULT, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"transpose": 7.0},
        {"auto_predict_f0": True},
        {"pad_seconds": 0.0},
        {"clip": 1.5},
        {"clip": 2.0, "linear_gradient": 0.5},
        {"loudness_envelope_adjustment": 0.0},
        {"noise_scale": 0.0, "slice_db": -20.0},
        {"f0_predictor": "pm", "f0_min": 80.0, "f0_max": 500.0},
    ],
    ids=str,
)
def test_the_length_is_that_of_the_song(converter, changes):
    song = SONG[: 3 * SAMPLE_RATE + 77] if changes else SONG
    got = converter.convert(song, options(**changes))
    assert got.shape == song.shape and got.dtype == np.float32
    assert np.isfinite(got).all() and got.std() > 1e-3


@pytest.mark.parametrize("n", [1, 511, 513, 3000, 44100])
def test_short_songs(converter, n):
    for changes in ({}, {"pad_seconds": 0.0}, {"f0_predictor": "pm"}):
        assert converter.convert(sung(2.0)[20000 : 20000 + n], options(**changes)).shape == (n,)


@pytest.mark.parametrize("rate", [16000, 48000, 96000])
def test_files_of_any_rate_keep_their_duration(converter, tmp_path, rate):
    n_samples = rate + 1
    audio.save(tmp_path / "song.wav", sung(2.0, sample_rate=rate)[:n_samples], rate)
    got = converter.convert(tmp_path / "song.wav", DEFAULT)
    assert len(got) == round(n_samples * SAMPLE_RATE / rate)


def test_nothing_is_shifted(files, monkeypatch):
    """With a model that gives back what it is given the song stays where it was, to the sample."""

    def echo(batch, target, options, extractor):
        return [source[: n * HOP] for n, source in zip(batch.lengths, batch.sources, strict=True)]

    converter = Converter(*files, device="cpu", make_extractor=Plain)
    monkeypatch.setattr(converter.renderer, "render", echo)
    for changes in ({}, {"pad_seconds": 0.0}, {"clip": 1.0}, {"clip": 1.0, "linear_gradient": 0.3}):
        np.testing.assert_allclose(converter.convert(SONG, options(**changes)), SONG, atol=1e-6)


def test_silence_stays_silent(files):
    converter = Converter(*files, device="cpu", make_extractor=Plain)
    assert not converter.convert(silence(2.0), DEFAULT).any()
    pause = np.concatenate([sung(5.5), silence(12.0), sung(1.0), silence(2.0)])
    got = converter.convert(pause, DEFAULT)
    silent = [slice(round(11 * SAMPLE_RATE), round(12 * SAMPLE_RATE)), slice(-SAMPLE_RATE, None)]
    assert len(got) == len(pause) and not any(got[part].any() for part in silent)


def test_the_same_song_gives_the_same_result(converter):
    state = torch.get_rng_state()
    one, two = (converter.convert(SONG[:60000], DEFAULT) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.abs(one - converter.convert(SONG[:60000], options(seed=1))).max() > 1e-3
    assert np.abs(one - converter.convert(SONG[:60000], options(speaker="anna"))).max() > 1e-4


def test_a_batch_equals_single_pieces(converter, monkeypatch):
    song, cut = np.concatenate([sung(1.0), silence(0.5), sung(2.0, 180.0)]), options(clip=0.8)
    single = converter.convert(song, cut)
    monkeypatch.setattr(Converter, "_batches", True)
    sizes = []
    extract = converter.extractor(DEFAULT).extract_batch
    monkeypatch.setattr(
        converter.extractor(DEFAULT), "extract_batch", lambda s, t: sizes.append(len(s)) or extract(s, t)
    )
    np.testing.assert_allclose(converter.convert(song, cut), single, atol=2e-5)
    assert max(sizes) > 2


def test_features_are_extracted_once_for_all_targets(files):
    converter = Converter(*files, device="cpu", make_extractor=Plain)
    targets = [Target(0, 0.0), Target(1, 0.0), Target(1, 5.0)]
    cut = options(clip=1.0)
    got = np.concatenate(list(converter.stream(SONG[:90000], cut, targets)), axis=1)
    assert got.shape == (3, 90000) and converter.extractor(cut).n_wavs == 3
    for row, target in zip(got, targets, strict=True):
        alone = converter.convert(
            SONG[:90000], options(clip=1.0, speaker=target.speaker_id, transpose=target.transpose)
        )
        np.testing.assert_array_equal(row, alone)


def test_changed_settings_rebuild_the_extractor(converter):
    first = converter.extractor(DEFAULT)
    assert converter.extractor(options(transpose=3.0)) is first
    assert converter.extractor(options(f0_filter_threshold=0.2)).predictor.threshold == 0.2
    assert converter.extractor(options(f0_max=800.0)).predictor.f0_max == 800.0


def test_transposing_by_an_octave_doubles_the_pitch(converter, monkeypatch):
    heard = []
    infer = converter.model.infer
    monkeypatch.setattr(
        converter.model, "infer", lambda c, f0, *args, **kw: heard.append(f0) or infer(c, f0, *args, **kw)
    )
    for transpose in (0.0, 12.0):
        converter.convert(SONG[:20000], options(transpose=transpose))
    torch.testing.assert_close(heard[1], 2 * heard[0])


@pytest.mark.parametrize(
    ("changes", "exact"),
    [
        ({}, True),
        ({"f0_predictor": "pm"}, True),
        ({"pad_seconds": 0.1, "slice_db": -30.0, "f0_predictor": "harvest"}, True),
        ({"clip": 1.5}, False),
        ({"clip": 2.0, "linear_gradient": 0.5}, False),
    ],
    ids=str,
)
def test_an_exported_melody_that_is_not_edited_changes_nothing(converter, tmp_path, changes, exact):
    song, given = np.concatenate([silence(0.3), SONG[3 * SAMPLE_RATE :], silence(0.3)]), options(**changes)
    song = np.concatenate([song, song])
    melody = converter.melody(song, given)
    write_csv(tmp_path / "song.csv", melody)
    read = read_csv(tmp_path / "song.csv", len(song) / SAMPLE_RATE)
    got = converter.convert(song, given, melody=read)
    np.testing.assert_array_equal(got, converter.convert(song, given, melody=melody))
    tracked = converter.convert(song, given)
    assert len(converter.plan(song, given)) > 1 and np.array_equal(got, tracked) == exact


@pytest.mark.parametrize("n", [1, 200, 256, 511])
def test_a_melody_of_a_song_that_ends_voiced_changes_nothing(converter, n):
    song, given = np.concatenate([silence(0.3), sung(2.0)])[: 120 * HOP + n], options(f0_predictor="pm")
    melody = converter.melody(song, given)
    assert melody.f0[-1] > 0
    np.testing.assert_array_equal(converter.convert(song, given, melody=melody), converter.convert(song, given))


@pytest.mark.parametrize("changes", [{"clip": 1.5}, {"clip": 2.0, "linear_gradient": 0.5}], ids=str)
def test_a_melody_differs_only_where_two_pieces_share_a_phrase(converter, changes):
    """By the sample at which each of them looks, and by what lies beyond the border, where one hears silence."""
    given = options(**changes)
    melody, planned = converter.melody(SONG, given), converter.plan(SONG, given)
    borders = [0, *((a.end + b.start) // 2 for a, b in zip(planned, planned[1:], strict=False)), len(SONG)]
    for piece, begin, end in zip(planned, borders, borders[1:], strict=False):
        f0, uv = converter.extractor(given).track(pieces.heard(SONG, piece))
        got_f0, got_uv = melody.of_piece(piece, HOP, SAMPLE_RATE)
        position = frame_positions(piece, HOP)
        own = (position >= begin + HOP) & (position < end - HOP)
        np.testing.assert_array_equal(got_f0[own & (uv > 0)], f0[own & (uv > 0)])
        np.testing.assert_array_equal(got_uv[own], uv[own])
        both = (got_uv > 0) & (uv > 0)
        assert np.abs(1200 * np.log2(got_f0[both] / f0[both])).max() < 20


def test_the_melody_that_is_given_is_sung(converter):
    """The song is sung at 220 Hz, the melody asks for 330 Hz and a pause, and -t moves it like a tracked one."""
    song, given = sung(2.0), options(transpose=-2.0, noise_scale=0.0)
    tracked = converter.melody(song, given)
    silent = (tracked.seconds > 0.8) & (tracked.seconds < 1.2)
    f0 = np.where((tracked.f0 > 0) & ~silent, np.float32(330), np.float32(0))
    heard = []
    infer = converter.model.infer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(converter.model, "infer", lambda *a, **kw: heard.append(a) or infer(*a, **kw))
        got = converter.convert(song, given, melody=Melody(tracked.seconds, f0))
    (_, network_f0, network_uv) = heard[0]
    assert network_f0.unique().tolist() == pytest.approx([330 * 2 ** (-2 / 12)], rel=1e-6)
    assert (network_uv == 0).sum() > 2 * 86 * 0.5 + 0.4 * 86 - 4  # the context and the pause
    result = track_pitch(got, SAMPLE_RATE, predictor="harvest")
    assert np.median(result.f0[result.uv > 0]) == pytest.approx(330 * 2 ** (-2 / 12), rel=0.01)


def test_a_melody_needs_no_tracker(files):
    asked = []

    class Given(Plain):
        def __init__(self, settings, device, **parts):
            super().__init__(settings, device)
            asked.append(parts)

    converter = Converter(*files, device="cpu", make_extractor=Given)
    melody = Melody(np.array([0.0, 1.0]), np.array([200.0, 300.0]))
    converter.convert(SONG[:SAMPLE_RATE], DEFAULT, melody=melody)
    converter.extractor(DEFAULT)  # which tracks, and serves for the next
    converter.convert(SONG[:SAMPLE_RATE], DEFAULT, melody=melody)
    assert asked == [{"f0": False}, {"f0": True}]


def test_melodies_that_cannot_be_sung(converter):
    melody = Melody(np.array([0.0, 1.0]), np.array([200.0, 300.0]))
    with pytest.raises(ValueError, match=r"auto_predict_f0 \(-a\) makes a melody of its own: none can be given"):
        converter.convert(SONG[:SAMPLE_RATE], options(auto_predict_f0=True), melody=melody)
    with pytest.raises(ValueError, match="melody, point 1: it ends at 1.0 s, the song lasts 8.4 s: 7.4 s are missing"):
        converter.convert(SONG, DEFAULT, melody=melody)


def test_loudness_follows_the_source(converter):
    song = sung(4.0) * np.repeat([1.0, 0.1], 2 * SAMPLE_RATE).astype(np.float32)
    got = converter.convert(song, options(loudness_envelope_adjustment=0.0, slice_db=-60.0))
    seconds = [np.sqrt(np.mean(np.square(part))) for wav in (got, song) for part in np.split(wav, 4)]
    assert seconds[0] / seconds[3] == pytest.approx(seconds[4] / seconds[7], rel=0.3)


def test_memory_does_not_grow_with_a_phrase(converter):
    planned = converter.plan(sung(100.0), DEFAULT)
    assert len(planned) >= 4 and max(p.right - p.left for p in planned) < (pieces.MAX_SECONDS + 2) * SAMPLE_RATE


def test_models_of_all_ages_load(files, tmp_path):
    content = torch.load(files[0], weights_only=True)
    expected = Converter(*files, device="cpu").convert(SONG[:50000], DEFAULT)
    released = {key: value.half() for key, value in content["model"].items() if not key.startswith("enc_q.")}
    torch.save({"model": released, "iteration": 1, "optimizer": None, "learning_rate": 1e-4}, tmp_path / "G_1.pth")
    got = Converter(tmp_path / "G_1.pth", files[1], device="cpu").convert(SONG[:50000], DEFAULT)
    assert got.std() == pytest.approx(expected.std(), rel=0.05)


def test_models_that_do_not_fit(files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model .*G_9.pth; in that folder there are: G_5.pth"):
        Converter(files[0].with_name("G_9.pth"), files[1])
    with pytest.raises(FileNotFoundError, match="that folder holds no model"):
        Converter(tmp_path / "G_9.pth", files[1])
    with pytest.raises(FileNotFoundError, match="no configuration .*: train.py writes it"):
        Converter(files[0], tmp_path / "config.json")
    _, other = write_model(tmp_path / "other", n_speakers=3)
    with pytest.raises(
        CheckpointError, match=r"emb_g.weight is \(2, 16\), the config makes it \(3, 16\)\n  -c must name"
    ):
        Converter(files[0], other)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError):
        Converter(files[0], tmp_path / "config.json")
    (tmp_path / "G_1.pth").write_bytes(b"not a model")
    with pytest.raises(CheckpointError, match="G_1.pth"):
        Converter(tmp_path / "G_1.pth", files[1])
    with pytest.raises(ValueError, match="cuda:99"):
        Converter(*files, device="cuda:99")


def test_what_cannot_be_converted(converter, tmp_path):
    with pytest.raises(ValueError, match=r"unknown speaker 'carol': this model knows anna \(id 0\), bob \(id 1\)"):
        converter.convert(SONG, options(speaker="carol"))
    with pytest.raises(ValueError, match="at least one sample"):
        converter.convert(np.zeros(0, np.float32), DEFAULT)
    with pytest.raises(ValueError, match="mono"):
        converter.convert(np.zeros((2, 100), np.float32), DEFAULT)
    with pytest.raises(ValueError, match="NaN"):
        converter.convert(np.full(5000, np.nan, np.float32), DEFAULT)
    with pytest.raises(audio.AudioError, match="no such audio file"):
        converter.convert(tmp_path / "none.wav", DEFAULT)
    with pytest.raises(ValueError, match="unknown f0 predictor"):
        converter.convert(SONG, options(f0_predictor="yin"))
    with pytest.raises(FileNotFoundError, match="rmvpe"):
        converter.convert(SONG, options(f0_predictor="rmvpe"))


def test_output_that_is_not_finite(files):
    broken = Converter(*files, device="cpu")
    broken.model.dec.conv_post.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        broken.convert(SONG[:50000], DEFAULT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_scale": -1.0}, r"noise_scale \(-ns\) must not be negative"),
        ({"slice_db": 40.0}, "slice_db .* must be negative"),
        ({"pad_seconds": -0.1}, "pad_seconds .* must not be negative"),
        ({"clip": 0.01}, "clip .* must be 0 or at least"),
        ({"clip": 2.0, "linear_gradient": 2.0}, r"linear_gradient \(-lg\) must lie between 0 and clip \(-cl, 2.0\)"),
        ({"linear_gradient_retain": 1.5}, "linear_gradient_retain .* must lie"),
        ({"loudness_envelope_adjustment": 2.0}, "loudness_envelope_adjustment .* must lie"),
    ],
)
def test_impossible_options(changes, message):
    with pytest.raises(ValueError, match=message):
        options(**changes)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"linear_gradient": 0.5}, "-lg has no effect without -cl"),
        ({"linear_gradient_retain": 0.5}, "-lgr has no effect without -lg"),
        ({"f0_filter_threshold": 0.1}, "-ft has no effect on dio"),
        ({"clip": 2.0, "linear_gradient": 0.5, "linear_gradient_retain": 0.5, "f0_max": 900.0}, None),
        ({"f0_predictor": "crepe", "f0_filter_threshold": 0.1, "f0_min": 80.0}, None),
    ],
)
def test_options_without_effect_are_told(changes, line):
    told = list(options(**changes).without_effect())
    assert [text.startswith(line) for text in told] == [True] if line else not told


@pytest.mark.parametrize("name", F0_PREDICTORS)
def test_a_range_or_a_threshold_that_a_tracker_does_not_use_is_told(name):
    told = " ".join(options(f0_predictor=name, f0_max=900.0, f0_filter_threshold=0.1).without_effect())
    assert (f"--f0_min and --f0_max have no effect on {name}" in told) == (name not in SEARCHING)
    assert (f"-ft has no effect on {name}" in told) == (name not in CONFIDENT)


def test_what_only_a_tracker_uses_is_told_where_none_is_used():
    assert list(ConversionOptions(f0_predictor="pm").without_effect(f0_given=True)) == []
    changes = {"f0_predictor": "rmvpe", "f0_filter_threshold": 0.1, "f0_max": 900.0, "linear_gradient": 0.5}
    assert list(options(**changes).without_effect(f0_given=True)) == [
        "-lg has no effect without -cl: only forced cuts overlap",
        "-f0p, -ft, --f0_max have no effect: --f0_import gives the melody, and nothing is tracked",
    ]
