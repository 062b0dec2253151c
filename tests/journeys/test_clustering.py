"""cluster/train_cluster.py and train_index.py as a user runs them, on tiny datasets."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import train_index
from cluster import train_cluster
from cluster.centres_file import read_centres
from cluster.index_file import read_indexes
from common.formats import UNITS, UNITS_AUG, beside
from pipeline import clustering
from pipeline.caches import read_clean_units
from pipeline.unit_mixing import default_path, load_unit_mixer
from pipeline.voice import Voice
from tests.synthetic import tiny_config, write_clip, write_config

ROOT = Path(__file__).resolve().parents[2]
SPK = {"Zoë 歌": 0, "bob": 1}
CPU = torch.device("cpu")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of two speakers, 2 x 32 frames of units each, as the working directory."""
    monkeypatch.chdir(tmp_path)
    config = tiny_config(spk=SPK)
    write_config(tmp_path / "configs/config.json", spk=SPK)
    for name, seed in SPK.items():
        (tmp_path / "dataset/44k" / name).mkdir(parents=True)
        for i in range(2):
            write_clip(tmp_path / f"dataset/44k/{name}/{i}.wav", config, n_frames=56, seed=10 * seed + i)
    return tmp_path


def frames_of(name: str) -> torch.Tensor:
    clips = sorted(Path("dataset/44k", name).glob("*.wav"))
    return torch.cat([read_clean_units(clip)[0].T for clip in clips])


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / script), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=300)


def test_clusters_by_the_command_line(project):
    done = run("cluster/train_cluster.py")
    assert done.returncode == 0, done.stderr
    assert "bob: 32 clusters instead of 10000, since it has 64 frames" in done.stderr
    centres = read_centres(default_path(False))
    assert {name: table.shape for name, table in centres.items()} == {name: (32, 60) for name in SPK}
    assert [path.name for path in Path("logs/44k").iterdir()] == ["kmeans_10000.pt"]
    voice = Voice.of_synthesizer(tiny_config(spk=SPK), Path())
    mixer = load_unit_mixer(default_path(False), feature_retrieval=False, voice=voice, device=CPU)
    own, foreign = (mixer.mix(frames_of(name), 0, ratio=1.0) - frames_of(name) for name in SPK)
    assert own.square().sum() < foreign.square().sum() / 2


def test_indexes_by_the_command_line(project):
    done = run("train_index.py", "-c", "configs/config.json")
    assert done.returncode == 0, done.stderr
    assert "bob: index of 64 vectors in 1 lists" in done.stderr
    for name, speaker_id in SPK.items():
        vectors = read_indexes(default_path(True))[speaker_id].vectors
        assert sorted(vectors.tolist()) == sorted(frames_of(name).tolist())


def test_one_index_per_speaker(project, capsys):
    assert train_index.main(["--index_format", "index", "--output_dir", "out"]) == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["Index-0.index", "Index-1.index"]
    assert len(read_indexes(Path("out/Index-1.index"))[1].vectors) == 64


def test_perturbed_copies_are_not_clustered(project):
    for clip in Path("dataset/44k").rglob("*.wav"):
        assert beside(clip, UNITS_AUG).is_file()
        torch.save(torch.full_like(torch.load(beside(clip, UNITS_AUG)), 1e3), beside(clip, UNITS_AUG))
    assert train_cluster.main([]) == train_index.main([]) == 0
    assert all(table.abs().max() < 10 for table in read_centres(default_path(False)).values())
    assert all(index.vectors.abs().max() < 10 for index in read_indexes(default_path(True)).values())


def test_the_same_seed_makes_the_same_files(project):
    for output in ("a", "b"):
        assert train_cluster.main(["--output", output, "--minibatch", "--n_clusters", "5"]) == 0
        assert train_index.main(["--output_dir", output]) == 0
    for name in ("kmeans_10000.pt", "feature_and_index.pkl"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_many_frames_are_reduced_before_they_are_indexed(project, monkeypatch, capsys):
    monkeypatch.setattr(clustering, "MAX_VECTORS", 50)
    monkeypatch.setattr(clustering, "N_CLUSTERS", 20)
    assert train_index.main([]) == 0
    assert "bob: 64 frames, of which 20 cluster centres go into the index" in capsys.readouterr().err
    assert [len(index.vectors) for index in read_indexes(default_path(True)).values()] == [20, 20]


@pytest.mark.parametrize("script", [train_cluster, train_index])
def test_bad_clips_and_speakers_are_listed_and_the_rest_is_done(script, project, capsys):
    clip = Path("dataset/44k/bob/1.wav")
    beside(clip, UNITS).write_bytes(b"PK\x03\x04 broken")
    for cache in Path("dataset/44k/Zoë 歌").glob(f"*{UNITS}"):
        cache.unlink()
    assert script.main([]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 2
    assert any("1.wav" in line and "damaged" in line for line in errors)
    assert any("Zoë 歌" in line and "preprocess_hubert_f0.py" in line for line in errors)
    if script is train_cluster:
        assert {name: len(table) for name, table in read_centres(default_path(False)).items()} == {"bob": 16}
    else:
        assert {i: len(index.vectors) for i, index in read_indexes(default_path(True)).items()} == {1: 32}


@pytest.mark.parametrize(
    ("value", "problem"), [(torch.zeros(1, 7, 9), "7 channels among units of 60"), (torch.nan, "not finite")]
)
def test_units_that_do_not_belong_are_listed(value, problem, project, capsys):
    cache = beside(Path("dataset/44k/bob/1.wav"), UNITS)
    torch.save(value if isinstance(value, torch.Tensor) else torch.full_like(torch.load(cache), value), cache)
    assert train_cluster.main([]) == 1
    assert problem in capsys.readouterr().err


def test_nothing_is_left_behind_when_there_is_nothing_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train_cluster.main([]) == 1
    assert "run python resample.py first" in capsys.readouterr().err
    write_config(tmp_path / "configs/config.json", spk=SPK)
    assert train_index.main([]) == 1
    assert "speaker bob: no units in" in capsys.readouterr().err
    assert train_cluster.main(["--n_clusters", "0"]) == 1
    assert "--n_clusters must be at least 1, got 0" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["configs"]


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("script", [train_cluster, train_index])
def test_a_gpu_that_is_not_there(script, project, capsys):
    assert script.main(["--gpu"]) == 1
    assert "--gpu was asked for, but no GPU is present" in capsys.readouterr().err
