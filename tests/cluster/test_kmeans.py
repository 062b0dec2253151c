"""k-means: sound clusters of any frames, the same for the same seed."""

import numpy as np
import pytest
import torch

from cluster import kmeans as module
from cluster.kmeans import kmeans, nearest
from tests.parity import Case, assert_close

CPU = torch.device("cpu")


def sounds(n_frames: int = 600, n_sounds: int = 12, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Frames (N, D) close to sounds that are far apart, in random order, and the sounds (S, D)."""
    rng = np.random.default_rng(seed)
    places = 10 * rng.standard_normal((n_sounds, 16)).astype(np.float32)
    frames = places[rng.integers(n_sounds, size=n_frames)] + 0.1 * rng.standard_normal((n_frames, 16))
    return frames.astype(np.float32), places


def error(frames: np.ndarray, centres: torch.Tensor) -> float:
    return float(nearest(torch.from_numpy(frames), centres)[1].mean())


@pytest.mark.parametrize("speaker", "ab")
def test_golden_nearest(speaker):
    arrays = Case("utils_models").arrays()
    centres = torch.from_numpy(arrays[f"km_centers_{speaker}"])
    ids, _ = nearest(torch.from_numpy(arrays["km_in"]), centres)
    assert_close(centres[ids], arrays[f"km_out_{speaker}"], max_abs=0)


def test_nearest_in_blocks_equals_all_distances(monkeypatch):
    monkeypatch.setattr(module, "SCORES", 70)
    frames, centres = torch.randn(50, 8), torch.randn(10, 8)
    ids, squared = nearest(frames, centres)
    expected = torch.cdist(frames, centres).square().min(1)
    assert torch.equal(ids, expected.indices)
    assert_close(squared, expected.values, max_abs=1e-4)


@pytest.mark.parametrize(("minibatch", "limit"), [(False, 0.2), (True, 30)])
def test_every_sound_gets_its_centre(minibatch, limit, monkeypatch):
    monkeypatch.setattr(module, "MINIBATCH", 50)
    frames, places = sounds()
    centres = kmeans(frames, 40, device=CPU, minibatch=minibatch)
    assert centres.shape == (40, 16) and centres.dtype == torch.float32
    assert nearest(torch.from_numpy(places), centres)[1].max() < limit  # sounds are about 3000 apart


def test_centres_are_the_means_of_their_frames():
    frames, _ = sounds()
    centres = kmeans(frames, 12, device=CPU)
    ids, _ = nearest(torch.from_numpy(frames), centres)
    for i in ids.unique():
        assert_close(centres[i], frames[ids == i].mean(0), max_abs=0.05)


def test_the_seed_decides():
    frames, _ = sounds()
    first, again, other = (kmeans(frames, 20, device=CPU, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_empty_clusters_move_to_far_frames():
    """Two drawn centres share one sound, and nothing is near the third: it must leave for the other sound."""
    frames = np.concatenate([np.zeros((50, 2)), np.full((1, 2), 100.0)]).astype(np.float32)
    frames[:50] += 1e-3 * np.random.default_rng(0).standard_normal((50, 2))
    centres = torch.tensor([[0.0, 0.0], [-5.0, -5.0]])
    counted = module._lloyd_pass(frames, centres, module.tqdm(disable=True))
    assert counted.max() > 100
    assert error(frames, centres) < error(frames, torch.tensor([[0.0, 0.0], [-5.0, -5.0]])) / 2
    assert [100.0, 100.0] in centres.tolist()


@pytest.mark.parametrize("minibatch", [False, True])
def test_equal_frames_make_one_cluster_and_stay_finite(minibatch):
    centres = kmeans(np.ones((30, 4), np.float32), 10, device=CPU, minibatch=minibatch)
    assert torch.equal(centres, torch.ones(1, 4))


def test_more_clusters_than_frames_are_the_frames():
    frames = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    centres = kmeans(frames, 9, device=CPU)
    assert sorted(centres.tolist()) == sorted(frames.tolist())


@pytest.mark.parametrize(("n_frames", "n_clusters"), [(0, 3), (3, 0)])
def test_nothing_to_cluster(n_frames, n_clusters):
    with pytest.raises(ValueError, match="cannot make"):
        kmeans(np.zeros((n_frames, 3), np.float32), n_clusters, device=CPU)


def test_about_as_good_as_scikit_learn():
    sklearn_cluster = pytest.importorskip("sklearn.cluster")
    frames = np.random.default_rng(0).standard_normal((2000, 8)).astype(np.float32)
    theirs = sklearn_cluster.KMeans(50, init="random", n_init=1, random_state=0).fit(frames).inertia_ / 2000
    assert error(frames, kmeans(frames, 50, device=CPU)) < 1.03 * theirs
    assert error(frames, kmeans(frames, 50, device=CPU, minibatch=True)) < 1.15 * theirs


@pytest.mark.gpu
def test_on_the_gpu_as_on_the_cpu():
    frames, places = sounds()
    centres = kmeans(frames, 40, device=torch.device("cuda"))
    assert centres.device == CPU and nearest(torch.from_numpy(places), centres)[1].max() < 0.2
