"""Which files a voicebank's folder holds, whichever way it is laid out, and what is said when it does not."""

import logging
import re

import numpy as np
import pytest

from common import voicebank
from common.voicebank import Phoneme
from tests.modules.f0.voicebanks import golden_folder


def folder_of(tmp_path, **files):
    """The files of the fork, empty where they are models; ``files`` replaces or, with None, leaves out."""
    names = ("SOME.onnx", "dsconfig.yaml", "ds_linguistic.onnx", "ds_pitch.onnx", "phonemes.txt")
    contents = {"dsconfig.yaml": "hop_size: 512\n", "phonemes.txt": "<PAD>\nAP\nSP\na\n"}
    contents = {name: contents.get(name, "") for name in names} | files
    for name, content in contents.items():
        if content is not None:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def test_the_golden_folder(tmp_path):
    bank = voicebank.read(golden_folder(tmp_path, "dsconfig_steps.yaml", "linguistic_word.onnx", "pitch_steps.onnx"))
    assert (bank.sample_rate, bank.hop_length, bank.speakers) == (44100, 512, ("spk0",))
    assert (bank.vowel, bank.rest) == (Phoneme("a", 3), Phoneme("SP", 2))
    assert (bank.linguistic.name, bank.pitch.name) == ("ds_linguistic.onnx", "ds_pitch.onnx")
    expected = np.fromfile(tmp_path / "spk0.emb", "<f4")
    np.testing.assert_array_equal(bank.speaker_embedding(16), expected)
    np.testing.assert_array_equal(bank.speaker_embedding(None), expected)


def test_a_voicebank_as_openutau_has_it(tmp_path):
    config = (
        "linguistic: ../model/linguistic.onnx\npitch: pitch.onnx\nphonemes: ..\\model\\phonemes.json\n"
        "languages: ../model/languages.json\nuse_lang_id: true\nspeakers:\n- ../embeds/one\n- ../embeds/two\n"
        "sample_rate: 48000\nhop_size: 480\nuse_expr: true\n"
    )
    files = {"dsconfig.yaml": "acoustic: acoustic.onnx\nphonemes: phonemes.txt\n", "dspitch/dsconfig.yaml": config}
    files |= {"dspitch/pitch.onnx": "", "model/linguistic.onnx": "", "ds_pitch.onnx": None, "ds_linguistic.onnx": None}
    files |= {"model/phonemes.json": '{"AP": 1, "SP": 2, "zh/a": 7, "ja/a": 5}', "model/languages.json": '{"ja": 4}'}
    bank = voicebank.read(folder_of(tmp_path, **files, **{"embeds/one.emb": "12345678"}))
    assert bank.config == tmp_path / "dspitch" / "dsconfig.yaml" and bank.transcriber == tmp_path / "SOME.onnx"
    assert bank.linguistic.resolve() == (tmp_path / "model" / "linguistic.onnx").resolve()
    assert bank.pitch == tmp_path / "dspitch" / "pitch.onnx"
    assert (bank.sample_rate, bank.hop_length) == (48000, 480)
    assert (bank.vowel, bank.rest) == (Phoneme("ja/a", 5), Phoneme("SP", 2))
    assert bank.language_ids() == (4, 0)
    assert len(bank.speaker_embedding(2)) == 2


def test_a_file_that_is_named_goes_before_the_forks_name(tmp_path):
    files = {"dsconfig.yaml": "pitch: mine.onnx\nlinguistic: gone.onnx\n", "mine.onnx": ""}
    bank = voicebank.read(folder_of(tmp_path, **files))
    assert (bank.pitch.name, bank.linguistic.name) == ("mine.onnx", "ds_linguistic.onnx")


def test_numbers_of_phonemes(tmp_path):
    path = tmp_path / "phonemes.txt"
    path.write_bytes(b"\xef\xbb\xbf<PAD>\r\nAP\r\n\r\nSP\r\na\r\n")
    assert voicebank.read_phonemes(path) == {"<PAD>": 0, "AP": 1, "SP": 3, "a": 4}
    path = tmp_path / "phonemes.json"
    path.write_text('{"AP": 1, "a": 9}', encoding="utf-8")
    assert voicebank.read_phonemes(path) == {"AP": 1, "a": 9}


@pytest.mark.parametrize(
    ("phonemes", "vowel", "rest"),
    [
        ("SP a zh/a", "a", "SP"),
        ("AP zh/SP zh/b zh/a ja/a", "zh/a", "zh/SP"),
        ("AP b ah aa", "aa", "AP"),
        ("AP pau N AA e", "AA", "pau"),
        ("sil i u", "i", "sil"),
    ],
)
def test_vowel_and_rest(tmp_path, caplog, phonemes, vowel, rest):
    with caplog.at_level(logging.INFO):
        bank = voicebank.read(folder_of(tmp_path, **{"phonemes.txt": phonemes.replace(" ", "\n")}))
    assert (bank.vowel.name, bank.rest.name) == (vowel, rest)
    usual = (vowel, rest) == ("a", "SP")
    assert (f"phonemes.txt: notes are sung on {vowel}, rests are {rest}" in caplog.text) == (not usual)


@pytest.mark.parametrize(
    ("phonemes", "message"),
    [
        ("SP\nb\nxa", "phonemes.txt has no vowel among a, aa, ah, "),
        ("SP\nb\nxa", "it has: SP, b, xa"),
        ("a\nb", "phonemes.txt has no rest among SP, pau, "),
        ("a\nb", "AP, nor zh/SP or the like; it has: a, b"),
        ("", "it has: none"),
        ("\n".join(f"x{i}" for i in range(100)), "x58, x59 and 40 more"),
    ],
)
def test_a_list_without_the_phonemes_needed(tmp_path, phonemes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        voicebank.read(folder_of(tmp_path, **{"phonemes.txt": phonemes}))


def test_everything_that_is_missing_is_listed_at_once(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        voicebank.read(tmp_path)
    assert str(error.value).splitlines() == [
        f"the f0 predictor dspitch lacks files in {tmp_path}:",
        "  SOME.onnx: the transcriber SOME, from https://github.com/openvpi/SOME/releases",
        "  dsconfig.yaml: the settings of the voicebank's pitch part",
        "  ds_linguistic.onnx: the voicebank's linguistic encoder",
        "  ds_pitch.onnx: the voicebank's pitch predictor",
        "  phonemes.txt: the voicebank's list of phonemes",
        "The voicebank may be any of DiffSinger for OpenUtau that has a folder dspitch."
        " docs/dspitch.md says what goes where",
    ]


def test_missing_files_are_called_what_the_settings_call_them(tmp_path):
    config = "linguistic: ../model/linguistic.onnx\nphonemes: phonemes.txt\n"
    with pytest.raises(FileNotFoundError) as error:
        voicebank.read(folder_of(tmp_path, **{"dspitch/dsconfig.yaml": config}))
    assert str(error.value).splitlines()[1:-1] == [
        "  dspitch/../model/linguistic.onnx: the voicebank's linguistic encoder (or as ds_linguistic.onnx)",
        "  dspitch/ds_pitch.onnx: the voicebank's pitch predictor",
        "  dspitch/phonemes.txt: the voicebank's list of phonemes",
    ]


def test_the_default_folder_and_one_that_is_not_there(tmp_path, monkeypatch):
    assert voicebank.FOLDER.parts[-2:] == ("pretrain", "ds_enhance")
    monkeypatch.setattr(voicebank, "FOLDER", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=re.escape(f"dspitch lacks files in {tmp_path / 'nowhere'}:")):
        voicebank.read()
    with pytest.raises(FileNotFoundError, match="else: no such folder"):
        voicebank.read(tmp_path / "else")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("a: [1\nb: {", "dsconfig.yaml is damaged or no YAML: while parsing a flow"),
        ("just words", "dsconfig.yaml is no dsconfig.yaml: it has no keys"),
        ("", "dsconfig.yaml is no dsconfig.yaml: it has no keys"),
        ("pitch: [a]\nhop_size: 0", "pitch: expected the name of a file, got ['a']; hop_size: expected a whole number"),
        ("sample_rate: true", "sample_rate: expected a whole number above 0, got True"),
        ("speakers: one", "speakers: expected a list of names, got 'one'"),
        ("speakers: [1]", "speakers: expected a list of names, got [1]"),
    ],
)
def test_damaged_settings(tmp_path, config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        voicebank.read(folder_of(tmp_path, **{"dsconfig.yaml": config}))


def test_keys_without_a_value_count_as_absent(tmp_path):
    bank = voicebank.read(folder_of(tmp_path, **{"dsconfig.yaml": "pitch:\nspeakers:\nhop_size:\nsample_rate: 22050"}))
    assert (bank.sample_rate, bank.hop_length, bank.speakers) == (22050, 512, ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "phonemes.json is damaged or no JSON: "),
        (b'["SP", "a"]', "phonemes.json is no list of phonemes: expected a table from names to whole numbers"),
        (b'{"SP": "1"}', "phonemes.json is no list of phonemes: expected a table from names to whole numbers"),
        (b"\xff\xfe{", "phonemes.json is damaged or no text in UTF-8 (byte 0)"),
    ],
)
def test_damaged_lists_of_phonemes(tmp_path, content, message):
    folder = folder_of(tmp_path, **{"phonemes.txt": None})
    (folder / "phonemes.json").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        voicebank.read(folder)


def test_languages(tmp_path):
    assert voicebank.read(folder_of(tmp_path)).language_ids() == (0, 0)
    prefixed = {"phonemes.txt": "SP\nzh/a"}
    with pytest.raises(ValueError, match=r"linguistic\.onnx asks for languages, but .*dsconfig\.yaml has no key lang"):
        voicebank.read(folder_of(tmp_path, **prefixed)).language_ids()
    bank = voicebank.read(folder_of(tmp_path, **prefixed, **{"dsconfig.yaml": "languages: l.json"}))
    with pytest.raises(FileNotFoundError, match=r"l\.json is missing: .*dsconfig\.yaml names it under languages"):
        bank.language_ids()
    for content, message in (
        ('{"ja": 1, "en": 2}', r"l\.json does not know the language of the phoneme 'zh/a', only: ja, en"),
        ("[]", r"l\.json is no list of languages: expected a table"),
    ):
        (tmp_path / "l.json").write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            bank.language_ids()


def test_the_first_singer_is_taken_and_the_log_says_so(tmp_path, caplog):
    bank = voicebank.read(folder_of(tmp_path, **{"dsconfig.yaml": "speakers: [one.emb, two]", "one.emb": "12345678"}))
    with caplog.at_level(logging.INFO):
        assert bank.speaker_embedding(None).shape == (2,)
    assert "pitch of the first of its speakers, one (others: two)" in caplog.text


def test_singers_that_cannot_be_used(tmp_path):
    with pytest.raises(ValueError, match=r"pitch\.onnx asks for a singer \(spk_embed\), but .*yaml names no speakers"):
        voicebank.read(folder_of(tmp_path)).speaker_embedding(2)
    bank = voicebank.read(folder_of(tmp_path, **{"dsconfig.yaml": "speakers: [one]"}))
    with pytest.raises(FileNotFoundError, match=r"one\.emb is missing: .*names it as the first of its speakers"):
        bank.speaker_embedding(2)
    for content, message in (
        (b"12345", r"one\.emb is damaged or cut off: 5 bytes are no row of float32 numbers"),
        (b"", r"one\.emb is damaged or cut off: 0 bytes"),
        (b"1234" * 3, r"one\.emb holds 3 numbers, but .*ds_pitch\.onnx takes 2"),
        (np.array([1, np.nan], "<f4").tobytes(), r"one\.emb is damaged: it holds NaN or infinite numbers"),
    ):
        (tmp_path / "one.emb").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            bank.speaker_embedding(2)
