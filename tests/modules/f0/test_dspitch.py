"""dspitch against the golden case, on models with other inputs, in pieces, and on models that go wrong."""

import re
import shutil

import numpy as np
import pytest

from common import audio
from modules.f0 import dspitch
from modules.f0.dspitch import SOME_RATE, DsPitchPredictor
from tests.modules.f0 import voicebanks
from tests.modules.f0.voicebanks import BOOL, FLOAT, HALF, INT, INT32, LINGUISTIC, PITCH, golden_folder, small_folder
from tests.parity import Case, assert_close

HOP = 512
GOLDEN_MODELS = {
    "good_speedup": ("dsconfig.yaml", "linguistic.onnx", "pitch.onnx"),
    "good_steps": ("dsconfig.yaml", "linguistic.onnx", "pitch_steps.onnx"),
    "good_steps_opt": ("dsconfig_steps.yaml", "linguistic_word.onnx", "pitch_steps_expr_spk_norest.onnx"),
}
TONE = (0.3 * np.sin(2 * np.pi * 220 * np.arange(SOME_RATE) / SOME_RATE)).astype(np.float32)  # 86 frames


@pytest.fixture(scope="module")
def arrays():
    return Case("dspitch").arrays()


def built(folder, sample_rate=SOME_RATE, hop_length=HOP):
    return DsPitchPredictor(sample_rate, hop_length, device="cpu", weights=folder)


class Recorder:
    """Stands before a session and keeps what it is given."""

    def __init__(self, session):
        self.session, self.feeds = session, []

    def run(self, outputs, feeds, options):
        self.feeds.append(feeds)
        return self.session.run(outputs, feeds, options)


def recorded(model):
    model.session = Recorder(model.session)
    return model.session.feeds


@pytest.mark.parametrize("name", GOLDEN_MODELS)
def test_f0_equals_the_golden_case_and_rests_are_unvoiced(tmp_path, arrays, name):
    predictor = built(golden_folder(tmp_path, *GOLDEN_MODELS[name]))
    f0, uv = predictor.compute_f0_uv(arrays["wav"])
    np.testing.assert_allclose(f0, arrays[f"{name}_f0"], rtol=1e-5)  # in the rest too
    np.testing.assert_array_equal(uv, ~arrays["rest_per_frame"])
    np.testing.assert_allclose(predictor.raw_f0(arrays["wav"]), f0 * uv, rtol=1e-6)


@pytest.mark.parametrize("name", GOLDEN_MODELS)
def test_what_the_models_are_given_equals_the_golden_case(tmp_path, arrays, name):
    predictor = built(golden_folder(tmp_path, *GOLDEN_MODELS[name]))
    notes = predictor.transcribe(arrays["wav"], 223)
    assert_close(notes.midi, arrays["note_midi"][0], max_abs=1e-5)
    np.testing.assert_array_equal(notes.rest, arrays["note_rest"][0])
    np.testing.assert_array_equal(notes.frames, arrays["note_frames"][0])
    feeds = recorded(predictor.pitch)
    predictor.sing(notes)
    assert_close(feeds[0]["encoder_out"], arrays[f"{name}_encoder_out"], max_abs=1e-5)
    np.testing.assert_array_equal(feeds[0]["ph_dur"], arrays["ph_frames"])


EVERYTHING = {
    **PITCH,
    "ph_dur": (INT32, [1, "n"]),
    "note_rest": (BOOL, [1, "n"]),
    "note_dur": (INT, [1, "n"]),
    "note_glide": (INT, [1, "n"]),
    "expr": (HALF, [1, "frames"]),
    "spk_embed": (FLOAT, [1, "frames", 3]),
    "steps": (INT, [1]),
    "speedup": (INT, None),
}


def test_every_input_has_its_value(tmp_path):
    words = {"word_div": (INT, [1, "w"]), "word_dur": (INT, [1, "w"]), "languages": (INT, [1, "n"])}
    config = {"speakers": ["folder/one", "two"], "languages": "languages.json"}
    folder = small_folder(tmp_path, linguistic={**LINGUISTIC, **words}, pitch=EVERYTHING, **config)
    (folder / "folder").mkdir()
    np.array([1, 2, 3], "<f4").tofile(folder / "folder" / "one.emb")
    (folder / "phonemes.txt").write_text("<PAD>\nSP\nzh/a\n", encoding="utf-8")
    (folder / "languages.json").write_text('{"ja": 1, "zh": 2}', encoding="utf-8")
    predictor = built(folder)
    linguistic, pitch = recorded(predictor.linguistic), recorded(predictor.pitch)
    f0, uv = predictor.compute_f0_uv(np.concatenate([TONE[: 2 * HOP], np.zeros(HOP, np.float32), TONE[: 2 * HOP]]))
    np.testing.assert_array_equal(uv, [1, 1, 0, 1, 1])
    assert (f0 > 0).all()
    expected = {
        "tokens": [2, 2, 1, 2, 2],
        "languages": [2, 2, 0, 2, 2],
        "word_div": [1] * 5,
        "word_dur": [1] * 5,
        "ph_dur": [1] * 5,
    }
    assert {name: value[0].tolist() for name, value in linguistic[0].items()} == expected
    given = {name: value for name, value in pitch[0].items() if name not in ("encoder_out", "note_midi")}
    assert {name: value.dtype.name for name, value in given.items()} == {
        **{"pitch": "float32", "retake": "bool", "ph_dur": "int32", "note_rest": "bool", "note_dur": "int64"},
        **{"note_glide": "int64", "expr": "float16", "spk_embed": "float32", "steps": "int64", "speedup": "int64"},
    }
    assert given["steps"].tolist() == [20] and given["speedup"].tolist() == 50
    assert given["spk_embed"].tolist() == [[[1, 2, 3]] * 5]
    for name, value in (
        ("pitch", 60),
        ("retake", True),
        ("ph_dur", 1),
        ("note_dur", 1),
        ("note_glide", 0),
        ("expr", 1),
    ):
        assert given[name].tolist() == [[value] * 5], name
    assert given["note_rest"].tolist() == [[False, False, True, False, False]]


@pytest.mark.parametrize("left_out", ["ph_dur", "note_rest", "note_dur", "expr", "spk_embed", "steps", "speedup"])
def test_no_input_is_given_that_is_not_declared(tmp_path, left_out):
    declared = {name: value for name, value in EVERYTHING.items() if name != left_out}
    folder = small_folder(tmp_path, pitch=declared, speakers=["one"])
    np.zeros(3, "<f4").tofile(folder / "one.emb")
    _, uv = built(folder).compute_f0_uv(TONE)
    assert uv.all()


def song(rng):
    """100 s of notes of every level: pauses, 8 s of silence, a phrase of 50 s without a pause."""
    level = np.repeat(rng.uniform(0.05, 0.4, 400), SOME_RATE // 4)
    for start in (3.0, 11.2, 19.7, 26.1):
        level[int(start * SOME_RATE) : int((start + 0.5) * SOME_RATE)] = 0
    level[30 * SOME_RATE : 38 * SOME_RATE] = 0
    return (level * np.sign(np.sin(2 * np.pi * 200 * np.arange(len(level)) / SOME_RATE))).astype(np.float32)


def test_pieces_equal_the_whole(tmp_path, monkeypatch):
    wav = song(np.random.default_rng(0))
    predictor = built(small_folder(tmp_path))
    feeds = recorded(predictor.transcriber)
    f0, uv = predictor.compute_f0_uv(wav)
    lengths = [feed["waveform"].shape[1] for feed in feeds]
    assert len(lengths) > 4 and max(lengths) <= (dspitch.MAX_SECONDS + 0.1) * SOME_RATE
    assert sum(lengths) < 94 * SOME_RATE  # most of the silence was not shown to a model
    monkeypatch.setattr(dspitch, "MAX_SECONDS", 1000.0)
    whole_f0, whole_uv = predictor.compute_f0_uv(wav)
    assert len(feeds) == len(lengths) + 1
    np.testing.assert_array_equal(uv, whole_uv)
    np.testing.assert_allclose(f0[uv > 0], whole_f0[uv > 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("rate", "hop", "model_rate", "model_hop"),
    [(44100, 512, 44100, 256), (44100, 512, 24000, 480), (48000, 480, 44100, 512), (22050, 256, 48000, 512)],
)
def test_edges_of_notes_stay_in_their_places_on_every_grid(tmp_path, rate, hop, model_rate, model_hop):
    level = np.tile(np.repeat([0.3, 0.0], [int(1.3 * rate), int(0.6 * rate)]), 45)  # 85 s
    wav = (level * np.sin(2 * np.pi * 200 * np.arange(len(level)) / rate)).astype(np.float32)
    predictor = built(small_folder(tmp_path, sample_rate=model_rate, hop_size=model_hop), rate, hop)
    # the small model is for notes of one frame: any curve will do for the edges
    predictor.sing = lambda notes: np.full(notes.frames.sum(), 200.0)
    _, uv = predictor.compute_f0_uv(wav)
    found = np.flatnonzero(np.diff(uv, prepend=0)) * hop / rate
    expected = np.flatnonzero(np.diff(level, prepend=0)) / rate
    # a frame of each grid, a note of the transcriber, its threshold
    assert_close(found, expected, max_abs=hop / rate + model_hop / model_rate + 0.012 + 0.003, mean_abs=0.02)


def test_f0_on_another_grid_follows_the_melody(tmp_path, arrays):
    folder = golden_folder(tmp_path, *GOLDEN_MODELS["good_speedup"])
    f0, uv = built(folder, SOME_RATE, 256).compute_f0_uv(arrays["wav"])
    assert len(f0) == len(uv) == len(arrays["wav"]) // 256
    off = np.abs(f0[:440:2] / arrays["good_speedup_f0"][:220] - 1)
    assert off.max() < 0.1 and np.mean(off > 0.01) <= 0.04  # an edge between notes is up to half a frame off
    assert np.mean(uv[:440:2] != ~arrays["rest_per_frame"][:220]) <= 0.02


def test_rounding_of_notes_does_not_add_up():
    seconds = np.full(1000, 1.3 / 86.1328125)  # 1.3 frames each
    frames = dspitch.note_frames(seconds, 1302, frames_per_second=SOME_RATE / HOP)
    assert frames.sum() == 1302
    np.testing.assert_array_equal(np.cumsum(frames)[:-1], np.floor(1.3 * np.arange(1, 1000) + 1e-3))


def test_edges_that_lie_on_frames_stay_there():
    seconds = np.full(2000, np.float32(3 * HOP / SOME_RATE)).astype(np.float64)
    frames = dspitch.note_frames(seconds, 6000, frames_per_second=SOME_RATE / HOP)
    np.testing.assert_array_equal(frames, 3)


def test_notes_that_are_too_long_or_too_short_fill_the_piece():
    assert dspitch.note_frames(np.array([1.0, 1.0, 1.0]), 20, frames_per_second=10.0).tolist() == [10, 10, 0]
    assert dspitch.note_frames(np.array([1.0, 0.7]), 20, frames_per_second=10.0).tolist() == [10, 10]


def test_a_note_shorter_than_a_frame_is_left_out(tmp_path):
    folder = small_folder(tmp_path)
    voicebanks.save_fixed_transcriber(folder / "SOME.onnx", [60, 61, 62], [False] * 3, [0.5, 0.001, 0.499])
    notes = built(folder).transcribe(TONE, 86)
    assert notes.midi.tolist() == [60, 62] and notes.frames.tolist() == [43, 43]


def test_a_rest_without_a_pitch_has_that_of_the_nearest_note(tmp_path):
    folder = small_folder(tmp_path)
    rest = [True, False, True, True, False, True]
    voicebanks.save_fixed_transcriber(folder / "SOME.onnx", [0, 60, np.nan, -np.inf, 70, 65], rest, [1 / 6] * 6)
    assert built(folder).transcribe(TONE, 86).midi.tolist() == [60, 60, 60, 70, 70, 65]


@pytest.mark.parametrize("midi", [[], [0.0], [60.0]])
def test_nothing_sung_is_unvoiced(tmp_path, midi):
    folder = small_folder(tmp_path)
    voicebanks.save_fixed_transcriber(folder / "SOME.onnx", midi, [True] * len(midi), [1.0] * len(midi))
    predictor = built(folder)
    feeds = recorded(predictor.pitch)
    f0, uv = predictor.compute_f0_uv(TONE)
    assert len(f0) == len(uv) == 86 and not f0.any() and not uv.any() and not feeds


def test_silence_is_not_shown_to_the_models(tmp_path):
    predictor = built(small_folder(tmp_path))
    feeds = recorded(predictor.transcriber)
    for seconds in (1, 70):
        f0, uv = predictor.compute_f0_uv(np.full(seconds * SOME_RATE, 1e-4, np.float32))
        assert not f0.any() and not uv.any() and not feeds


def test_a_quiet_recording_is_not_silence():
    wav = song(np.random.default_rng(1))
    assert list(dspitch.pieces(0.01 * wav)) == list(dspitch.pieces(wav))
    assert not any(piece.is_silent for piece in dspitch.pieces(0.01 * wav[: 29 * SOME_RATE]))


@pytest.mark.parametrize("length", [0, 1, 300, 511, 512, 1500])
def test_short_audio(tmp_path, length):
    predictor = built(golden_folder(tmp_path, *GOLDEN_MODELS["good_speedup"]))
    f0, uv = predictor.compute_f0_uv(TONE[:length], 3)
    assert f0.shape == uv.shape == (3,) and np.isfinite(f0).all()
    assert predictor.compute_f0_uv(TONE[:length])[0].shape == (length // HOP,)


def test_two_channels_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected one channel of shape \(T,\), got shape \(2, 44100\)"):
        built(small_folder(tmp_path)).compute_f0_uv(np.stack([TONE, TONE]))


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        (([60.0], [False], [np.nan]), "SOME.onnx: a note of nan s"),
        (([60.0, 61.0], [False] * 2, [1.5, -0.5]), "SOME.onnx: a note of -0.5 s"),
        (([60.0], [False], [np.inf]), "SOME.onnx: a note of inf s"),
        (([60.0, 61.0], [False] * 2, [2.0, 3.0]), "SOME.onnx: notes of 5.00 s together for 1.00 s of audio"),
        (([60.0], [False], [0.2]), "SOME.onnx: notes of 0.20 s together for 1.00 s of audio"),
        (([60.0, np.nan], [False] * 2, [0.5, 0.5]), "SOME.onnx: a note at nan, which is no pitch in MIDI semitones"),
        (([440.0], [False], [1.0]), "SOME.onnx: a note at 440, which is no pitch in MIDI semitones"),
        (([60.0], [False] * 2, [1.0]), "SOME.onnx: 1 pitches, 2 rests and 1 lengths for the same notes"),
    ],
)
def test_impossible_notes_are_refused(tmp_path, notes, message):
    folder = small_folder(tmp_path)
    voicebanks.save_fixed_transcriber(folder / "SOME.onnx", *notes)
    with pytest.raises(ValueError, match=re.escape(message)):
        built(folder).compute_f0_uv(TONE)


@pytest.mark.parametrize(
    ("midi", "message"),
    [
        ([60.0] * 85 + [np.nan], "1 of 86 frames of pitch_pred are no pitch in MIDI semitones (nan at frame 85)"),
        ([440.0] * 86, "86 of 86 frames of pitch_pred are no pitch in MIDI semitones (440 at frame 0)"),
        ([60.0] * 85, "85 frames of pitch_pred for 86 frames"),
    ],
)
def test_an_impossible_pitch_is_refused(tmp_path, midi, message):
    folder = small_folder(tmp_path)
    voicebanks.save_fixed_pitch(folder / "ds_pitch.onnx", midi)
    with pytest.raises(ValueError, match=r"ds_pitch\.onnx: " + re.escape(message)):
        built(folder).compute_f0_uv(TONE)


def test_models_that_do_not_belong_together_are_refused(tmp_path):
    folder = small_folder(tmp_path)
    voicebanks.save_linguistic(folder / "ds_linguistic.onnx", width=5)
    with pytest.raises(ValueError, match=r"ds_pitch\.onnx cannot be run: .*encoder_out"):
        built(folder).compute_f0_uv(TONE)


@pytest.mark.parametrize(("kind", "shown"), [(FLOAT, "ph_midi"), (voicebanks.TensorProto.INT8, "tokens")])
def test_an_unknown_input_is_named(tmp_path, kind, shown):
    folder = small_folder(tmp_path, linguistic={**LINGUISTIC, shown: (kind, [1, "n"])})
    known = "known: languages, ph_dur, tokens, word_div, word_dur"
    message = rf"ds_linguistic\.onnx asks for what is not known here: {shown}; {known}"
    with pytest.raises(ValueError, match=message):
        built(folder)


def test_another_model_is_refused(tmp_path):
    folder = small_folder(tmp_path)
    shutil.copy(folder / "ds_linguistic.onnx", folder / "ds_pitch.onnx")
    with pytest.raises(ValueError, match=r"ds_pitch\.onnx asks for what is not known here: tokens; known: encoder_out"):
        built(folder)
    folder = small_folder(tmp_path)
    node = voicebanks.helper.make_node("Identity", ["note_midi"], ["f0"])
    voicebanks.save(folder / "ds_pitch.onnx", [node], PITCH, {"f0": (FLOAT, [1, "n"])})
    with pytest.raises(ValueError, match=r"ds_pitch\.onnx is another model: it gives f0, but no pitch_pred"):
        built(folder)


def test_damaged_models_are_named(tmp_path):
    for name in ("SOME.onnx", "ds_linguistic.onnx", "ds_pitch.onnx"):
        folder = small_folder(tmp_path)
        (folder / name).write_bytes(b"\x08\x08no model")
        with pytest.raises(ValueError, match=re.escape(f"{name} is damaged, cut off, or no ONNX model: ")):
            built(folder)


def test_a_recording_at_another_rate_has_the_same_notes(tmp_path, arrays):
    folder = golden_folder(tmp_path, *GOLDEN_MODELS["good_speedup"])
    wav = audio.resample(arrays["wav"], 44100, 48000)
    f0, uv = built(folder, 48000, 512).compute_f0_uv(wav)
    seconds = np.arange(len(f0)) * 512 / 48000
    expected = np.minimum((seconds * 44100 / 512).astype(int), 222)
    same = np.abs(f0 / arrays["good_speedup_f0"][expected] - 1) < 0.03
    assert same.mean() > 0.9 and np.mean(uv == ~arrays["rest_per_frame"][expected]) > 0.97
