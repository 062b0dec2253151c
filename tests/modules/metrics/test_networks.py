"""Speaker embeddings, quality, words: against the packages whose weights they use, where those are installed."""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from common import audio
from common.packaged import packaged_file
from common.registry import NotAvailableError
from modules.metrics import quality, speaker, words
from modules.metrics.quality import QualityPredictor
from modules.metrics.speaker import SpeakerEncoder, mean_embedding, window_starts
from modules.metrics.words import Recogniser, word_error_rate, words_of
from tests.synthetic import sing

DEMO = Path(__file__).resolve().parents[3] / "demo"
READER, SONG = DEMO / "dataset_raw/lj/001.flac", DEMO / "raw/antagata_male_96k_stereo.flac"
RATE = 16000


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"the package {package} is not installed")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> SpeakerEncoder:
    """The network with random weights, read from a file as Resemblyzer's looks."""
    torch.manual_seed(0)
    state = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(40, 256, 3), "linear": torch.nn.Linear(256, 256)}).state_dict()
    path = tmp_path_factory.mktemp("speaker") / "pretrained.pt"
    extra = {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)}
    torch.save({"model_state": state | extra, "step": 1}, path)
    return SpeakerEncoder(path)


def test_embeddings_have_length_one_and_ignore_loudness_and_pauses(encoder):
    wav = sing(220, 3.2, rate=RATE)
    embedding = encoder.embed(wav, RATE)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    assert encoder.embed(0.1 * wav, RATE) @ embedding == pytest.approx(1, abs=1e-5)
    paused = np.concatenate([wav, np.zeros(4 * RATE, np.float32)])
    assert encoder.embed(paused, RATE) @ embedding > encoder.embed(sing(110, 3.2, 5, rate=RATE), RATE) @ embedding


@pytest.mark.parametrize("wav", [np.zeros(3 * RATE, np.float32), sing(220, 0.5, rate=RATE), np.zeros(0, np.float32)])
def test_too_little_for_an_embedding(encoder, wav):
    with pytest.raises(ValueError, match="too little for a speaker embedding"):
        encoder.embed(wav, RATE)


def test_windows_cover_the_recording():
    assert window_starts(RATE) == [0]
    assert window_starts(5 * RATE) == [0, 77, 154, 231, 308, 385][: len(window_starts(5 * RATE))]
    assert 5 * RATE / 160 - window_starts(5 * RATE)[-1] >= 0.75 * 160


def test_the_mean_of_embeddings_has_length_one():
    assert mean_embedding([np.array([1.0, 0]), np.array([0, 1.0])]) == pytest.approx([0.5**0.5] * 2)


@needs("resemblyzer")
def test_embeddings_are_those_of_the_package(monkeypatch):
    import scipy.ndimage

    morphology = ModuleType("scipy.ndimage.morphology")  # gone from scipy; with webrtcvad not used by the network
    morphology.binary_dilation = scipy.ndimage.binary_dilation
    monkeypatch.setitem(sys.modules, "scipy.ndimage.morphology", morphology)
    monkeypatch.setitem(sys.modules, "webrtcvad", ModuleType("webrtcvad"))
    from resemblyzer import VoiceEncoder

    wav = audio.load(READER, RATE)
    expected = VoiceEncoder("cpu", verbose=False).embed_utterance(wav * (0.03 / np.sqrt(np.mean(wav**2))))
    assert np.abs(SpeakerEncoder().embed(wav, RATE) - expected).max() < 1e-5


@needs("resemblyzer")
def test_a_voice_is_more_like_itself_than_like_another():
    encoder = SpeakerEncoder()
    reader, again, singer = (
        encoder.embed(*audio.load_native(path)) for path in (READER, READER.with_name("002.flac"), SONG)
    )
    assert reader @ again > 0.75 > reader @ singer


@needs("speechmos")
def test_quality_is_that_of_the_package():
    dnsmos = pytest.importorskip("speechmos.dnsmos")
    wav = audio.load(READER, RATE)
    expected = dnsmos.run(np.clip(wav, -1, 1), RATE)
    got = QualityPredictor().predict(wav, RATE)
    assert got == pytest.approx([expected[f"{name}_mos"] for name in ("sig", "bak", "ovrl")], abs=1e-4)


@needs("speechmos")
def test_noise_lowers_the_quality():
    wav = audio.load(READER, RATE)[: 4 * RATE]
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(wav)).astype(np.float32)
    predictor = QualityPredictor()
    assert predictor.predict(wav, RATE).overall > predictor.predict(wav + noise, RATE).overall + 0.5
    with pytest.raises(ValueError, match="silent"):
        predictor.predict(0 * wav, RATE)


@needs("pocketsphinx")
def test_a_reader_is_understood():
    heard = Recogniser().words(audio.load(READER, 44100), 44100)
    text = "Printing, in the only sense with which we are at present concerned, differs from most if not from all the"
    assert word_error_rate(words_of(text), heard[: len(words_of(text))]) < 0.4


@pytest.mark.parametrize(
    ("heard", "expected"),
    [("a b c d", 0), ("a x c d", 0.25), ("a c d", 0.25), ("a b b c d", 0.25), ("", 1), ("x y z w v", 1.25)],
)
def test_word_error_rate(heard, expected):
    assert word_error_rate(list("abcd"), heard.split()) == expected


def test_word_error_rate_needs_a_reference():
    with pytest.raises(ValueError, match="no word"):
        word_error_rate([], ["a"])


def test_words_are_compared_without_marks():
    assert words_of("<s> It’s the [NOISE] read(2), Twice! </s>") == ["it's", "the", "read", "twice"]


@pytest.mark.parametrize(
    ("build", "install"),
    [(SpeakerEncoder, speaker.INSTALL), (QualityPredictor, quality.INSTALL), (Recogniser, words.INSTALL)],
)
def test_without_the_package_the_command_is_named(monkeypatch, build, install):
    monkeypatch.setattr("common.packaged.find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(NotAvailableError, match=f"not installed: {install}"):
        build()


def test_a_package_without_the_file():
    with pytest.raises(NotAvailableError, match="holds no weights.pt: pip install x --force-reinstall"):
        packaged_file("numpy", "weights.pt", install="pip install x")
