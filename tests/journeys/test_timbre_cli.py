"""What is made of a model, and what a conversion leans on, by the command lines a user types, one after the other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import compress_model
import inference_main
import onnx_export
import train_index
from cluster import train_cluster
from common import audio
from tests.parity import assert_close
from tests.pipeline.tiny_model import SAMPLE_RATE, silence, sung, write_model
from tests.synthetic import tiny_config, write_clip

CHECKPOINT, CONFIG = "logs/44k/G_5.pth", "logs/44k/config.json"
LSB = 1.01 / 32768  # of the results, which hold 16 bits
SHARE = {"anna": [[0, 0.5, 1, 1], [0.5, 1, 0, 0]], "bob": [[0, 0.5, 0, 0], [0.5, 1, 1, 1]]}  # anna, then bob


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of anna and bob, what the scripts make of it, and clusters and indexes of their features."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_model(Path("logs/44k"))
        for name, seed in (("anna", 1), ("bob", 2)):
            Path("dataset/44k", name).mkdir(parents=True)
            write_clip(Path(f"dataset/44k/{name}/0.wav"), tiny_config(), n_frames=56, seed=seed)
        Path("checkpoints/é").mkdir(parents=True)
        shutil.copy(CHECKPOINT, "checkpoints/é/model.pth")
        shutil.copy(CONFIG, "checkpoints/é/config.json")
        assert onnx_export.main(["-n", "é", "-o", "logs/44k/exported.onnx"]) == 0
        for output, *more in (["a.pth"], ["a.safetensors"], ["half.pth", "-hf"], ["half.safetensors", "-hf"]):
            arguments = ["-c", CONFIG, "-i", CHECKPOINT, "-o", f"logs/44k/{output}", *more]
            assert compress_model.main(arguments) == 0
        assert train_cluster.main([]) == train_index.main(["-c", CONFIG]) == 0
        assert train_index.main(["-c", CONFIG, "--index_format", "index"]) == 0
    return folder


@pytest.fixture
def home(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "logs").symlink_to(project / "logs")
    monkeypatch.chdir(tmp_path)
    song = np.concatenate([sung(0.9), silence(0.5), sung(1.0, 300.0)])
    (tmp_path / "raw").mkdir()
    audio.save("raw/one.wav", song, SAMPLE_RATE)
    return tmp_path


def convert(*arguments: str, model: str = CHECKPOINT, name: str = "one_0key_bob_sovits_dio") -> np.ndarray:
    asked = ["-m", model, "-c", CONFIG, "-n", "one", "-s", "bob", "-d", "cpu", "-f0p", "dio", "-wf", "wav"]
    assert inference_main.main([*asked, *arguments]) == 0
    wav = audio.load(f"results/{name}.wav", SAMPLE_RATE)
    assert len(wav) == round(2.4 * SAMPLE_RATE) and np.abs(wav).max() > 0.01
    return wav


@pytest.mark.parametrize(
    ("made", "max_abs"),
    [("exported.onnx", LSB), ("a.pth", 0), ("a.safetensors", 0), ("half.pth", 5e-3), ("half.safetensors", 5e-3)],
)
def test_what_is_made_of_a_model_sings_as_it_does(home: Path, made: str, max_abs: float) -> None:
    assert_close(convert("--seed", "7", model=f"logs/44k/{made}"), convert("--seed", "7"), max_abs=max_abs)


def test_an_exported_model_mixes_speakers_and_leans_on_clusters(home: Path) -> None:
    Path("mix.json").write_text(json.dumps({"unit": "share", "speakers": SHARE}))
    arguments, name = ("--spk_mix", "mix.json", "-cr", "0.5"), "one_0key_spk_mix_0.5_sovits_dio"
    expected = convert(*arguments, name=name)
    assert_close(convert(*arguments, model="logs/44k/exported.onnx", name=name), expected, max_abs=LSB)


def test_what_an_exported_model_cannot_do_is_told_before_any_song(home: Path, capsys: pytest.CaptureFixture) -> None:
    asked = ["-m", "logs/44k/exported.onnx", "-c", CONFIG, "-n", "one", "-s", "bob", "-d", "cpu", "-f0p", "dio"]
    assert inference_main.main([*asked, "-a"]) == 1
    said = capsys.readouterr().err
    assert "ERROR logs/44k/exported.onnx cannot predict f0" in said and "raw/one.wav" not in said
    assert not Path("results").exists()


def test_a_map_and_a_table_are_one_timeline(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "one_0key_spk_mix_sovits_dio"
    monkeypatch.setattr(inference_main, "spk_mix_map", {i: SHARE[speaker] for i, speaker in enumerate(SHARE)})
    mixed = convert("-usm", name=name)
    assert Path("results/one_spk_mix.png").is_file()
    rows = [f"{who};{b * 2.4};{e * 2.4};{v};{w}" for who, segments in SHARE.items() for b, e, v, w in segments]
    Path("mix é.csv").write_text("\n".join(["speaker;begin_seconds;end_seconds;from;to", *rows]).replace(".", ","))
    assert_close(convert("--spk_mix", "mix é.csv", name=name), mixed, max_abs=1e-6)
    alone = {who: convert("-s", who, name=f"one_0key_{who}_sovits_dio") for who in SHARE}
    first, last = slice(0, round(0.5 * SAMPLE_RATE)), slice(round(1.9 * SAMPLE_RATE), None)
    assert_close(mixed[first], alone["anna"][first], max_abs=1e-4)
    assert_close(mixed[last], alone["bob"][last], max_abs=1e-4)
    assert np.abs(alone["anna"] - alone["bob"]).max() > 1e-2


def test_units_are_drawn_to_clusters_and_indexes(home: Path) -> None:
    plain = convert()
    clusters = convert("-cr", "0.5", name="one_0key_bob_0.5_sovits_dio")
    index = convert("-cr", "0.5", "-fr", name="one_0key_bob_0.5_sovits_dio")
    named = convert("-cr", "0.5", "-fr", "-cm", "logs/44k/Index-1.index", name="one_0key_bob_0.5_sovits_dio")
    np.testing.assert_array_equal(index, named)
    for one, other in ((plain, clusters), (plain, index), (clusters, index)):
        assert np.abs(one - other).max() > 1e-4
    few = convert("-cr", "1", "-fr", "--retrieval_neighbours", "1", name="one_0key_bob_1.0_sovits_dio")
    assert np.abs(few - index).max() > 1e-4
