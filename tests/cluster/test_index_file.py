"""Feature indexes: searched as faiss does, written as faiss reads them; hostile bytes are refused."""

import pickle
import random
import struct

import numpy as np
import pytest
import torch

from cluster.feature_index import FeatureIndex, build_index, n_lists
from cluster.index_file import read_indexes, write_index, write_pickle
from common.unpickle import UnsafePickleError
from tests.parity import GOLDEN, Case, assert_close

CASE = GOLDEN / "cluster_index"
CPU = torch.device("cpu")


class Payload:
    def __reduce__(self) -> tuple:
        return print, ("called",)


def vectors(n: int = 900, width: int = 12, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def queries() -> np.ndarray:
    return vectors(60, seed=1)


@pytest.fixture(scope="module")
def index() -> FeatureIndex:
    return build_index(vectors(), device=CPU, seed=1)


def assert_found(distances: torch.Tensor, expected: np.ndarray) -> None:
    """Compare distances; faiss says 3.4e38 where a list is too short, here it is infinity."""
    absent = expected > 1e38
    assert np.array_equal(torch.isinf(distances).numpy(), absent)
    assert_close(np.where(absent, 0, distances), np.where(absent, 0, expected), max_abs=1e-4)


# ---- search


def test_golden_search_in_a_pickle_of_the_reference():
    arrays, indexes = Case("cluster_index").arrays(), read_indexes(CASE / "feature_and_index.pkl")
    assert list(indexes) == [0, 1] and len(indexes[0].centres) == n_lists(750) == 19
    distances, _ = indexes[0].search(torch.from_numpy(arrays["q2"]), 8)
    assert_close(distances, arrays["score"], max_abs=1e-4)


@pytest.mark.parametrize("n_probes", [1, 3, 10**9])
def test_search_equals_looking_at_everything_in_the_lists(index, n_probes):
    found, positions = index.search(torch.from_numpy(queries()), 8, n_probes)
    lists = torch.arange(len(index.sizes)).repeat_interleave(index.sizes)
    for query, distances, at in zip(torch.from_numpy(queries()), found, positions, strict=True):
        probed = torch.cdist(query[None], index.centres)[0].argsort()[:n_probes]
        inside = index.vectors[torch.isin(lists, probed)]
        expected = (inside - query).square().sum(1).sort().values[:8]
        assert_close(distances[: len(expected)], expected, max_abs=1e-4)
        assert_close((index.vectors[at[: len(expected)]] - query).square().sum(1), expected, max_abs=1e-4)
        assert torch.isinf(distances[len(expected) :]).all()


def test_a_vector_of_the_index_finds_itself_at_distance_zero(index):
    distances, positions = index.search(index.vectors, 1)
    assert distances.max() == 0 and torch.equal(positions[:, 0], torch.arange(len(index.vectors)))


@pytest.mark.parametrize("n_probes", [1, 5, 900])
def test_however_long_the_lists_the_table_of_scores_is_bounded(index, n_probes, monkeypatch):
    expected = index.search(torch.from_numpy(queries()), 8, n_probes)
    monkeypatch.setattr("cluster.feature_index.SCORES", 2000)
    sizes = []
    inner = FeatureIndex._scores
    monkeypatch.setattr(
        FeatureIndex, "_scores", lambda *a, **k: sizes.append((found := inner(*a, **k)).numel()) or found
    )
    for got, whole in zip(index.search(torch.from_numpy(queries()), 8, n_probes), expected, strict=True):
        assert_close(got, whole, max_abs=1e-5)
    assert max(sizes) <= 2000


def test_long_queries_in_blocks_equal_single_ones(index, monkeypatch):
    whole = index.search(torch.from_numpy(queries()), 4, 2)
    monkeypatch.setattr("cluster.feature_index.QUERIES", 7)
    for got, expected in zip(index.search(torch.from_numpy(queries()), 4, 2), whole, strict=True):
        assert_close(got, expected, max_abs=1e-5)


def test_empty_lists_are_passed_over():
    index = FeatureIndex(torch.tensor([[0.0], [9.0]]), torch.tensor([0, 2]), torch.tensor([[8.0], [9.5]]))
    distances, positions = index.search(torch.zeros(1, 1), 8)
    assert distances.tolist() == [[64.0, 90.25]] and positions.tolist() == [[0, 1]]


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (38, 1), (39, 1), (750, 19), (200_000, 5128), (10_000_000, 50596)])
def test_number_of_lists(n, expected):
    assert n_lists(n) == expected


@pytest.mark.parametrize("n", [1, 5, 38])
def test_few_vectors_make_one_list(n):
    index = build_index(vectors(n), device=CPU, seed=1)
    assert index.sizes.tolist() == [n]
    assert index.search(torch.from_numpy(queries()), 8)[0].shape == (60, min(8, n))


# ---- files


def test_what_is_written_is_read(index, tmp_path):
    write_pickle(tmp_path / "a.pkl", [(0, index), (7, index)])
    write_index(tmp_path / "Index-3.index", index)
    write_index(tmp_path / "added_IVF23_Flat_nprobe_1_Zoë_v2.index", index)
    read = read_indexes(tmp_path / "a.pkl") | read_indexes(tmp_path / "Index-3.index")
    read |= read_indexes(tmp_path / "added_IVF23_Flat_nprobe_1_Zoë_v2.index")
    assert list(read) == [0, 7, 3, None]
    for got in read.values():
        assert torch.equal(got.vectors, index.vectors) and torch.equal(got.centres, index.centres)
        assert torch.equal(got.sizes, index.sizes) and got.n_probes == 1


def test_nothing_is_written_when_an_index_cannot_be_made(index, tmp_path):
    def indexes():
        yield 0, index
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        write_pickle(tmp_path / "a.pkl", indexes())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["pkl", "index"])
def test_faiss_reads_and_searches_it(index, kind, tmp_path):
    faiss = pytest.importorskip("faiss")
    if kind == "pkl":
        write_pickle(tmp_path / "a.pkl", [(2, index)])
        theirs = pickle.loads((tmp_path / "a.pkl").read_bytes())[2]
    else:
        write_index(tmp_path / "a.index", index)
        theirs = faiss.read_index(str(tmp_path / "a.index"))
    assert isinstance(theirs, faiss.IndexIVFFlat) and theirs.nprobe == 1 and theirs.ntotal == 900
    assert np.array_equal(theirs.reconstruct_n(0, 900), index.vectors.numpy())
    for theirs.nprobe in (1, 4):
        expected, _ = theirs.search(queries(), 8)
        assert_found(index.search(torch.from_numpy(queries()), 8, theirs.nprobe)[0], expected)


@pytest.mark.parametrize("factory", ["IVF15,Flat", "Flat"])
@pytest.mark.parametrize("n", [20, 900])
def test_files_of_faiss_are_read_and_searched_as_faiss_does(factory, n, tmp_path):
    """RVC's indexes are such; with 20 vectors most lists are empty, and stored another way."""
    faiss = pytest.importorskip("faiss")
    theirs = faiss.index_factory(12, factory)
    theirs.train(vectors())
    theirs.add(vectors()[:n])
    faiss.write_index(theirs, str(tmp_path / "added_IVF15_Flat_nprobe_1.index"))
    (index,) = read_indexes(tmp_path / "added_IVF15_Flat_nprobe_1.index").values()
    assert len(index.vectors) == n
    expected, found = theirs.search(queries(), 8)
    has_any = found[:, 0] >= 0  # where its one list is empty, faiss finds nothing
    assert_found(index.search(torch.from_numpy(queries()[has_any]), 8)[0], expected[has_any])
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({3: theirs}))
    assert torch.equal(read_indexes(tmp_path / "a.pkl")[3].vectors, index.vectors)


@pytest.mark.parametrize("factory", ["IVF15,PQ4", "HNSW8,Flat", "IVF15_HNSW8,Flat"])
def test_other_kinds_of_faiss_are_refused_by_name(factory, tmp_path):
    faiss = pytest.importorskip("faiss")
    theirs = faiss.index_factory(12, factory)
    theirs.train(vectors())
    theirs.add(vectors())
    faiss.write_index(theirs, str(tmp_path / "a.index"))
    with pytest.raises(ValueError, match=r"a\.index.*of kind .*are supported"):
        read_indexes(tmp_path / "a.index")


def test_inner_products_are_refused(tmp_path):
    faiss = pytest.importorskip("faiss")
    theirs = faiss.index_factory(12, "IVF15,Flat", faiss.METRIC_INNER_PRODUCT)
    theirs.train(vectors())
    theirs.add(vectors())
    faiss.write_index(theirs, str(tmp_path / "a.index"))
    with pytest.raises(ValueError, match="Euclidean"):
        read_indexes(tmp_path / "a.index")


# ---- hostile and damaged files


@pytest.mark.parametrize("content", [{0: Payload()}, Payload(), {0: {"this": Payload()}}])
def test_payloads_are_refused(content, tmp_path, capsys):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UnsafePickleError, match="builtins.print"):
        read_indexes(tmp_path / "evil.pkl")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [{}, [], {0: 1}, {0: {"this": b""}}, {0: torch.zeros(2)}])
def test_pickles_of_something_else(content, tmp_path):
    torch.save(content, tmp_path / "odd.pkl")
    with pytest.raises(ValueError, match=r"odd\.pkl"):
        read_indexes(tmp_path / "odd.pkl")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e18, -3e38])
def test_numbers_that_no_distance_can_be_taken_of(value, index, tmp_path):
    data = vectors()
    data[5, 3] = value
    write_index(tmp_path / "a.index", FeatureIndex(index.centres, index.sizes, torch.from_numpy(data)))
    with pytest.raises(ValueError, match=r"a\.index: .*not finite, or too large to be units"):
        read_indexes(tmp_path / "a.index")


def test_names_for_keys_are_refused(tmp_path, index):
    write_pickle(tmp_path / "a.pkl", [(0x4141, index)])
    changed = (tmp_path / "a.pkl").read_bytes().replace(pickle.BININT + b"AA\0\0", b"\x8c\x03abc")
    (tmp_path / "a.pkl").write_bytes(changed)
    with pytest.raises(ValueError, match="'abc'.*not the ids"):
        read_indexes(tmp_path / "a.pkl")


def test_every_huge_size_is_refused_at_once(index, tmp_path):
    """Each number of the header in turn claims 2^40 items: faiss would reserve memory for them."""
    path = tmp_path / "a.index"
    write_index(path, index)
    data = path.read_bytes()
    centres = index.centres.numel() * 4
    sizes = {4: "i", 8: "q", 37: "Q", 53 + 4: "i", 53 + 8: "q", 90: "Q", 99 + centres: "Q"}
    sizes |= {111 + centres + offset: "Q" for offset in (0, 8, 20, 28)}
    for at, layout in sizes.items():
        huge = struct.pack("<" + layout, 2**30 if layout == "i" else 2**40)
        path.write_bytes(data[:at] + huge + data[at + len(huge) :])
        with pytest.raises(ValueError, match=r"a\.index: no feature index that can be read"):
            read_indexes(path)


def test_files_that_are_cut_off_or_changed_raise_value_errors_only(index, tmp_path):
    rng, path = random.Random(0), tmp_path / "a.index"
    write_index(path, index)
    data = path.read_bytes()
    for length in [0, 3, *range(4, 120, 7), len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"a\.index"):
            read_indexes(path)
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(3):
            changed[rng.randrange(400 if rng.random() < 0.7 else len(data))] = rng.randrange(256)
        path.write_bytes(changed)
        try:
            (found,) = read_indexes(path).values()
            found.search(torch.from_numpy(queries()), 8)
        except ValueError as error:
            assert "a.index" in str(error)
