"""Which conversion belongs to which song."""

from pathlib import Path

import pytest

from pipeline.batch_conversion import result_name
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.evaluation_pairs import pair_up
from pipeline.rendering import Target
from tests.pipeline.tiny_model import write_model


def pair(source: str, conversion: str, **options):
    pairs, failed = pair_up([Path(source)], [Path(conversion)], **options)
    assert not failed
    return pairs[0]


@pytest.mark.parametrize(
    ("name", "speaker", "transpose"),
    [
        ("song_0key_alice_sovits_pm.flac", "alice", 0.0),
        ("song_-12key_alice_b_sovits_fcpe.wav", "alice_b", -12.0),
        ("song_1.5key_初音_sovits_csv.ogg", "初音", 1.5),
        ("song_auto_alice_sovits_pm.flac", "alice", None),
        ("song_3key_alice_0.5_sovdiff_crepe.flac", "alice", 3.0),
        ("song_3key_alice_diff_rmvpe.flac", "alice", 3.0),
    ],
)
def test_names_of_results_tell_speaker_and_transposition(name, speaker, transpose):
    found = pair("raw/song.wav", f"results/{name}")
    assert (found.speaker, found.transpose, found.remarks) == (speaker, transpose, [])


def test_names_that_inference_main_gives(tmp_path):
    converter = Converter(*write_model(tmp_path), device="cpu")
    for auto, ratio in ((False, 0), (True, 0), (False, 0.25), (False, 1)):
        options = ConversionOptions(f0_predictor="dio", auto_predict_f0=auto, cluster_infer_ratio=ratio)
        name = result_name(converter, "my_song 歌", Target(1, -5), options=options)
        found = pair("raw/my_song 歌.wav", f"results/{name}.flac")
        assert (found.speaker, found.transpose) == ("bob", None if auto else -5)


def test_a_given_transposition_goes_first():
    assert pair("song.wav", "results/song_3key_alice_sovits_pm.flac", transpose=7.0).transpose == 7
    assert pair("song.wav", "results/song.flac", transpose=7.0).remarks == []


def test_other_names_are_said_to_tell_nothing():
    found = pair("raw/song.wav", "other/song_take2.wav")
    assert (found.speaker, found.transpose) == (None, 0.0)
    assert found.remarks == ["no transposition in its name: taken as 0; -t says otherwise"]


def test_the_longest_name_that_fits_is_the_song():
    songs = [Path("raw/song.wav"), Path("raw/song_2.wav")]
    results = [Path("results/song_2_0key_a_sovits_pm.flac"), Path("results/song_0key_a_sovits_pm.flac")]
    pairs, failed = pair_up(songs, results)
    assert [(found.source.stem, found.conversion) for found in pairs] == [("song", results[1]), ("song_2", results[0])]
    assert not failed


@pytest.mark.parametrize("name", ["song_2_0key_a_sovits_pm.flac", "songs_0key_a_sovits_pm.flac", "tune.flac"])
def test_a_conversion_of_another_song_is_reported(name):
    pairs, failed = pair_up([Path("raw/song.wav")], [Path("results") / name])
    assert not pairs
    assert failed == [(f"results/{name}", "its name begins with that of no source (song): use --in_order")]


def test_a_song_is_no_conversion_of_itself():
    pairs, failed = pair_up([Path("raw/song.wav")], [Path("raw/song.wav")])
    assert not pairs and len(failed) == 1


def test_in_order():
    pairs, failed = pair_up([Path("a.wav"), Path("b.wav")], [Path("x.wav"), Path("y.wav")], in_order=True)
    assert [(found.source.stem, found.conversion.stem) for found in pairs] == [("a", "x"), ("b", "y")]
    with pytest.raises(ValueError, match="one conversion per song, got 1 for 2"):
        pair_up([Path("a.wav"), Path("b.wav")], [Path("x.wav")], in_order=True)
