"""kmeans_10000.pt: written as old tools read it, read without running anything."""

import pickletools
import zipfile

import numpy as np
import pytest
import torch

from cluster.centres_file import read_centres, write_centres
from cluster.kmeans import nearest
from common.unpickle import UnsafePickleError
from tests.parity import GOLDEN, Case, assert_close


class Payload:
    def __reduce__(self) -> tuple:
        return print, ("called",)


def test_the_layout_of_4_1_for_any_name(tmp_path):
    path, tables = tmp_path / "kmeans.pt", {"Zoë 歌": torch.randn(5, 4), "b": torch.randn(3, 4)}
    write_centres(path, tables)
    theirs = torch.load(path, weights_only=False)
    assert list(theirs) == list(tables)
    for name, entry in theirs.items():
        assert list(entry) == ["n_features_in_", "_n_threads", "cluster_centers_"]
        assert entry["n_features_in_"] == 4 and entry["_n_threads"] == 1
        assert entry["cluster_centers_"].dtype == np.float32
        assert np.array_equal(entry["cluster_centers_"], tables[name].numpy())
    assert all(torch.equal(table, tables[name]) for name, table in read_centres(path).items())


def test_numpy_1_knows_every_name_in_the_file(tmp_path):
    write_centres(tmp_path / "kmeans.pt", {"a": torch.randn(5, 4)})
    with zipfile.ZipFile(tmp_path / "kmeans.pt") as archive:
        pickled = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    names = {arg for opcode, arg, _ in pickletools.genops(pickled) if opcode.name == "GLOBAL"}
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype", "_codecs encode"}


def test_scikit_learn_predicts_with_it(tmp_path):
    sklearn_cluster = pytest.importorskip("sklearn.cluster")
    write_centres(tmp_path / "kmeans.pt", {"a": torch.eye(4)})
    model = sklearn_cluster.KMeans(4)
    model.__dict__.update(torch.load(tmp_path / "kmeans.pt", weights_only=False)["a"])
    assert model.predict(np.eye(4, dtype=np.float32)[[2, 0]]).tolist() == [2, 0]


def test_the_file_of_the_reference():
    tables = read_centres(GOLDEN / "cluster_index" / "kmeans_40.pt")
    assert {name: tuple(table.shape) for name, table in tables.items()} == {"alice": (40, 64), "bob": (40, 64)}
    arrays = Case("cluster_index").arrays()
    ids, _ = nearest(torch.from_numpy(arrays["q"]), tables["alice"])
    assert_close(tables["alice"][ids], arrays["centers"], max_abs=0)


def test_a_payload_is_refused(tmp_path, capsys):
    torch.save({"a": {"cluster_centers_": Payload()}}, tmp_path / "evil.pt")
    with pytest.raises(UnsafePickleError, match="builtins.print"):
        read_centres(tmp_path / "evil.pt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content",
    [
        *({}, [1], {"a": 1}, {"a": {}}, {"a": {"cluster_centers_": "x"}}, {"a": {"cluster_centers_": np.zeros(3)}}),
        *({"a": {"cluster_centers_": np.zeros((0, 3))}}, {"a": {"cluster_centers_": np.full((2, 2), np.nan)}}),
        *({"a": {"cluster_centers_": np.full((2, 2), value)}} for value in (1e18, 1e300, np.inf)),
    ],
)
def test_other_contents_are_errors_that_name_the_file(content, tmp_path):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=r"odd\.pt"):
        read_centres(tmp_path / "odd.pt")


def test_a_file_that_is_cut_off(tmp_path):
    write_centres(tmp_path / "a.pt", {"a": torch.randn(50, 4)})
    (tmp_path / "cut.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"cut\.pt"):
        read_centres(tmp_path / "cut.pt")
