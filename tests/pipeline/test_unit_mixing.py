"""Units are mixed with the target's own as the reference does; files that do not fit say so."""

import logging
import pickle
from pathlib import Path

import pytest
import torch

from cluster.centres_file import write_centres
from cluster.feature_index import FeatureIndex, build_index
from cluster.index_file import write_index, write_pickle
from common.unpickle import UnsafePickleError
from modules.units import resize_units
from pipeline.unit_mixing import UnitMixer, default_path, load_unit_mixer
from pipeline.voice import Voice
from tests.parity import GOLDEN, Case, assert_close
from tests.synthetic import HOP, RATE

CPU = torch.device("cpu")
SPK = {"alice": 0, "bob": 1}


def voice(width: int = 60) -> Voice:
    encoder = {256: "vec256l9", 768: "vec768l12"}.get(width, "cepstral")
    return Voice(RATE, HOP, encoder, width, "nearest", False, SPK, Path())  # of widths, too, that no encoder has


def load(path: Path, width: int = 60, *, retrieval: bool, **options) -> UnitMixer:
    return load_unit_mixer(path, feature_retrieval=retrieval, voice=voice(width), device=CPU, **options)


def units(n_frames: int = 20, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(n_frames, 60, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def clusters(tmp_path) -> Path:
    write_centres(tmp_path / "kmeans_10000.pt", {"alice": units(9, seed=1), "Zoë 歌": units(9, seed=2)})
    return tmp_path / "kmeans_10000.pt"


@pytest.fixture
def index(tmp_path) -> Path:
    built = build_index(units(300, seed=1).numpy(), device=CPU, seed=1)
    write_pickle(tmp_path / "feature_and_index.pkl", [(0, built)])
    return tmp_path / "feature_and_index.pkl"


# ---- the reference's numbers


def test_golden_clusters(tmp_path):
    arrays = Case("utils_models").arrays()
    write_centres(tmp_path / "k.pt", {"bob": torch.from_numpy(arrays["cl_centers"])})
    on_grid = resize_units(torch.from_numpy(arrays["fr_units"]).T, 40, "nearest").T
    mixed = load(tmp_path / "k.pt", 32, retrieval=False).mix(on_grid, 1, ratio=0.35)
    assert_close(mixed.T, arrays["cl_out_ratio0p35"][0], max_abs=1e-5)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_golden_retrieval(kind, tmp_path):
    arrays = Case("utils_models").arrays()
    base = torch.from_numpy(arrays["fr_base"])
    centres = torch.from_numpy(arrays["fr_ivf_centroids"]) if kind == "ivf" else base.mean(0, keepdim=True)
    lists = torch.cdist(base, centres).argmin(1)
    index = FeatureIndex(centres, torch.bincount(lists, minlength=len(centres)), base[lists.argsort(stable=True)])
    write_pickle(tmp_path / "a.pkl", [(1, index)])
    on_grid = resize_units(torch.from_numpy(arrays["fr_units"]).T, 40, "nearest").T
    mixed = load(tmp_path / "a.pkl", 32, retrieval=True).mix(on_grid, 1, ratio=0.6)
    assert_close(mixed.T, arrays[f"fr_out_{kind}"][0], max_abs=1e-4)


def test_golden_retrieval_from_the_file_of_the_reference():
    arrays = Case("cluster_index").arrays()
    mixer = load(GOLDEN / "cluster_index" / "feature_and_index.pkl", 64, retrieval=True)
    queries = torch.from_numpy(arrays["q2"])
    assert_close(mixer.mix(queries, 0, ratio=1.0), arrays["npy"], max_abs=1e-4)
    assert_close(mixer.mix(queries, 0, ratio=0.4), arrays["mix_0.4"], max_abs=1e-4)


# ---- what mixing does


@pytest.mark.parametrize("retrieval", [False, True])
def test_ratio_leads_from_the_units_to_the_target(retrieval, clusters, index):
    mixer, source = load(index if retrieval else clusters, retrieval=retrieval), units()
    none, half, whole = (mixer.mix(source, 0, ratio=ratio) for ratio in (0.0, 0.5, 1.0))
    assert torch.equal(none, source)
    assert_close(half, (source + whole) / 2, max_abs=1e-5)
    assert not torch.allclose(whole, source, atol=0.1)
    for ratio in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            mixer.mix(source, 0, ratio=ratio)


def test_a_frame_of_the_index_gives_itself_and_no_nan(index):
    own = units(300, seed=1)
    assert_close(load(index, retrieval=True).mix(own, 0, ratio=1.0), own, max_abs=1e-5)


def test_more_neighbours_than_vectors(tmp_path):
    write_pickle(tmp_path / "a.pkl", [(0, build_index(units(3, seed=1).numpy(), device=CPU, seed=1))])
    mixed = load(tmp_path / "a.pkl", retrieval=True).mix(units(), 0, ratio=1.0)
    assert mixed.shape == (20, 60) and torch.isfinite(mixed).all()


def test_neighbours_and_probes_are_used(index):
    source = units()
    nearest = load(index, retrieval=True, neighbours=1, probes=10**6).mix(source, 0, ratio=1.0)
    own = units(300, seed=1)
    assert_close(nearest, own[torch.cdist(source, own).argmin(1)], max_abs=1e-6)
    assert not torch.equal(load(index, retrieval=True).mix(source, 0, ratio=1.0), nearest)
    for options in ({"neighbours": 0}, {"probes": 0}):
        with pytest.raises(ValueError, match="at least one"):
            load(index, retrieval=True, **options)


# ---- files and speakers that do not fit


def test_a_speaker_that_is_not_there_is_told_with_those_that_are(clusters, index):
    with pytest.raises(ValueError, match=r"kmeans_10000\.pt has no speaker bob \(id 1\); it has: alice, Zoë 歌"):
        load(clusters, retrieval=False).check(1)
    with pytest.raises(ValueError, match=r"feature_and_index\.pkl has no speaker bob \(id 1\); it has: id 0"):
        load(index, retrieval=True).mix(units(), 1, ratio=0.5)
    load(clusters, retrieval=False).check(0)


@pytest.mark.parametrize("retrieval", [False, True])
def test_units_of_another_encoder_are_told_with_both_widths(retrieval, clusters, index):
    mixer = load(index if retrieval else clusters, 256, retrieval=retrieval)
    with pytest.raises(ValueError, match="60 channels, the model's encoder vec256l9 makes 256"):
        mixer.check(0)


@pytest.mark.parametrize(("retrieval", "script"), [(False, "cluster/train_cluster.py"), (True, "train_index.py")])
def test_a_missing_file_is_told_with_the_script_that_makes_it(retrieval, script, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"gone is not there: run python {script}"):
        load(tmp_path / "gone", retrieval=retrieval)


def test_the_other_kind_of_file_is_told_with_the_option(clusters, index):
    with pytest.raises(ValueError, match="holds clusters: leave -fr out"):
        load(clusters, retrieval=True)
    with pytest.raises(ValueError, match="is a feature index: add -fr"):
        load(index, retrieval=False)


@pytest.mark.parametrize("retrieval", [False, True])
def test_payloads_are_refused_as_such(retrieval, tmp_path):
    class Payload:
        def __reduce__(self):
            return print, ("called",)

    (tmp_path / "evil").write_bytes(pickle.dumps({0: Payload()}))
    with pytest.raises(UnsafePickleError, match="would call builtins.print"):
        load(tmp_path / "evil", retrieval=retrieval)


def test_an_index_of_rvc_serves_any_speaker_and_says_so(tmp_path, caplog):
    path = tmp_path / "added_IVF7_Flat_nprobe_1_voice_v2.index"
    write_index(path, build_index(units(300, seed=1).numpy(), device=CPU, seed=1))
    with caplog.at_level(logging.INFO):
        mixer = load(path, retrieval=True)
    assert "names no speaker" in caplog.text
    assert torch.equal(mixer.mix(units(), 0, ratio=1.0), mixer.mix(units(), 1, ratio=1.0))


def test_an_index_with_a_speaker_in_its_name_is_of_that_one(tmp_path):
    write_index(tmp_path / "Index-1.index", build_index(units(300, seed=1).numpy(), device=CPU, seed=1))
    mixer = load(tmp_path / "Index-1.index", retrieval=True)
    mixer.check(1)
    with pytest.raises(ValueError, match=r"no speaker alice \(id 0\); it has: id 1"):
        mixer.check(0)


def test_default_paths():
    assert default_path(False) == Path("logs/44k/kmeans_10000.pt")
    assert default_path(True) == Path("logs/44k/feature_and_index.pkl")


@pytest.mark.gpu
def test_on_the_gpu_as_on_the_cpu(index):
    on_gpu = load_unit_mixer(index, feature_retrieval=True, voice=voice(), device=torch.device("cuda"))
    got = on_gpu.mix(units().cuda(), 0, ratio=0.7)
    assert got.is_cuda
    assert_close(got, load(index, retrieval=True).mix(units(), 0, ratio=0.7), max_abs=1e-3)
