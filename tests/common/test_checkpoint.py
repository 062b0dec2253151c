"""The checkpoint door: strict, atomic, never runs what is in a file, never removes the last good pair."""

import logging
import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from common import checkpoint
from common.checkpoint import CheckpointError


class Net(nn.Module):
    """With the parts that files of the family may lack or have in another size."""

    def __init__(self, n_speakers: int = 4, width: int = 3) -> None:
        super().__init__()
        self.emb_g = nn.Embedding(n_speakers, width)
        self.enc_q = nn.Linear(width, width)
        self.dec = nn.Linear(width, 2)


def pair(folder, step: int, *, discriminator: bool = True) -> None:
    for letter in "GD" if discriminator else "G":
        (folder / f"{letter}_{step}.pth").write_bytes(b"x")


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_round_trip(tmp_path):
    net = Net()
    path = tmp_path / "logs" / "G_1.pth"
    checkpoint.save(path, {"model": net.state_dict(), "iteration": 3, "optimizer": None, "learning_rate": 1e-4})
    state, rest = checkpoint.read_model(path)
    assert rest == {"iteration": 3, "optimizer": None, "learning_rate": 1e-4}
    other = Net()
    checkpoint.load_weights(other, state, where=path)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    assert torch.load(path, weights_only=True)["iteration"] == 3  # any tool can read it
    assert checkpoint.read_model(path, only=("iteration",))[1] == {"iteration": 3}


def test_old_layouts_are_read(tmp_path):
    net = Net()
    half = OrderedDict((key, value.half()) for key, value in net.state_dict().items())
    for kwargs in ({}, {"_use_new_zipfile_serialization": False}):
        content = {"model": half, "iteration": 7, "optimizer": None, "learning_rate": 1e-4}
        torch.save(content, tmp_path / "G_9.pth", **kwargs)
        state, _ = checkpoint.read_model(tmp_path / "G_9.pth")
        other = Net()
        checkpoint.load_weights(other, state, where="G_9.pth")
        assert other.dec.weight.dtype == torch.float32
        torch.testing.assert_close(other.dec.weight, net.dec.weight.half().float())


def test_newer_names_of_weight_norm_are_renamed(tmp_path):
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 1))
    torch.save({"model": {f"dec.conv.{key}": value for key, value in conv.state_dict().items()}}, tmp_path / "G_1.pth")
    state, _ = checkpoint.read_model(tmp_path / "G_1.pth")
    assert state["dec.conv.weight_g"].shape == (3, 1, 1) and state["dec.conv.weight_v"].shape == (3, 2, 1)
    assert set(state) == {"dec.conv.bias", "dec.conv.weight_g", "dec.conv.weight_v"}


def test_loading_is_strict():
    net, state = Net(), Net().state_dict()
    state["dec.weight"] = torch.zeros(5, 3)
    state["extra.bias"] = state.pop("dec.bias")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_weights(net, state, where="logs/G_8.pth")
    text = str(caught.value)
    assert "logs/G_8.pth does not fit the model of this config" in text
    assert "1 keys are missing: dec.bias" in text and "1 keys are unknown: extra.bias" in text
    assert "dec.weight is (5, 3), the config makes it (2, 3)" in text


def test_a_released_model(caplog):
    caplog.set_level(logging.INFO)
    state = {key: value for key, value in Net().state_dict().items() if not key.startswith("enc_q.")}
    with pytest.raises(CheckpointError, match=r"2 keys are missing: enc_q.weight, enc_q.bias \(a released model"):
        checkpoint.load_weights(Net(), state, where="G_0.pth")
    checkpoint.load_weights(Net(), state, where="G_0.pth", optional=("enc_q.",))
    assert "2 keys under enc_q. are absent, as in released models" in caplog.text


def test_a_base_model_with_other_speakers(caplog):
    caplog.set_level(logging.INFO)
    base, net = Net(n_speakers=200), Net(n_speakers=2)
    state = checkpoint.adapt_speakers(base.state_dict(), net, where="G_0.pth")
    checkpoint.load_weights(net, state, where="G_0.pth")
    torch.testing.assert_close(net.emb_g.weight[1], base.emb_g.weight.mean(dim=0))
    assert "200 speakers there, 2 here" in caplog.text
    same = Net().state_dict()
    assert checkpoint.adapt_speakers(same, Net(), where="") is same
    with pytest.raises(CheckpointError, match="emb_g.weight is"):  # another width is another model
        wide = checkpoint.adapt_speakers(Net(width=5).state_dict(), net, where="G_0.pth")
        checkpoint.load_weights(net, wide, where="G_0.pth")


def test_moments_of_the_optimizer(caplog):
    net, other = Net(), Net()
    theirs = torch.optim.AdamW(net.parameters(), lr=0.5, betas=(0.1, 0.2), foreach=False)
    sum(p.square().sum() for p in net.parameters()).backward()
    theirs.step()
    saved = theirs.state_dict()
    for group in saved["param_groups"]:  # as an older torch wrote it
        for key in ("fused", "capturable", "decoupled_weight_decay", "differentiable", "maximize"):
            group.pop(key, None)
        group["initial_lr"] = 0.5
    ours = torch.optim.AdamW(other.parameters(), lr=1e-3, betas=(0.8, 0.99), fused=True)
    checkpoint.load_moments(ours, saved, where="G_8.pth")
    first = next(iter(other.parameters()))
    torch.testing.assert_close(ours.state[first]["exp_avg"], theirs.state[next(iter(net.parameters()))]["exp_avg"])
    assert ours.param_groups[0]["lr"] == 1e-3 and ours.param_groups[0]["betas"] == (0.8, 0.99)
    first.grad = torch.ones_like(first)
    ours.step()
    assert not caplog.records
    for empty in (None, {}, torch.optim.AdamW(net.parameters()).state_dict()):
        checkpoint.load_moments(ours, empty, where="release.pth")
        assert "release.pth holds no optimizer state" in caplog.text
        caplog.clear()


def test_moments_of_another_model_are_refused():
    wide = Net(width=5)
    theirs = torch.optim.AdamW(wide.parameters())
    sum(p.sum() for p in wide.parameters()).backward()
    theirs.step()
    ours = torch.optim.AdamW(Net().parameters())
    for saved in (theirs.state_dict(), {"state": {0: {}}, "param_groups": []}, {"state": {0: 1}}):
        with pytest.raises(CheckpointError, match="the optimizer state does not fit this model"):
            checkpoint.load_moments(ours, saved, where="G_8.pth")


class Evil:
    def __init__(self, marker) -> None:
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_a_file_that_would_run_code_is_refused(tmp_path, how):
    path, marker = tmp_path / "G_8.pth", tmp_path / "marker"
    content = {"model": {}, "optimizer": Evil(marker)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(CheckpointError, match=r"G_8.pth is refused: reading it would call \S*open"):
        checkpoint.read_model(path)
    assert not marker.exists()


def test_files_that_are_no_checkpoints(tmp_path):
    path = tmp_path / "G_8.pth"
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoint.read_model(path)
    torch.save({"model": Net().state_dict()}, path)
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"G_8.pth is damaged, cut off"):
            checkpoint.read_model(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list, not a table"):
        checkpoint.read_model(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError, match="its key 'model' holds no tensors"):
        checkpoint.read_model(path)


def test_pairs(tmp_path):
    for step in (800, 1600, 10000, 0):
        pair(tmp_path, step)
    for other in ("G_best.pth", "D_2400.pth", "G_800.pth.bak"):
        (tmp_path / other).touch()
    assert [found.step for found in checkpoint.find_pairs(tmp_path)] == [800, 1600, 10000]
    assert checkpoint.newest_pair(tmp_path).generator.name == "G_10000.pth"
    assert checkpoint.newest_pair(tmp_path / "absent") is None


def test_a_generator_alone_stops_the_run(tmp_path):
    pair(tmp_path, 800)
    pair(tmp_path, 400, discriminator=False)
    assert checkpoint.newest_pair(tmp_path).step == 800
    pair(tmp_path, 1600, discriminator=False)
    with pytest.raises(CheckpointError, match=r"G_1600.pth has no D_1600.pth beside it"):
        checkpoint.newest_pair(tmp_path)


@pytest.mark.parametrize(("keep", "left"), [(0, {1, 2, 3}), (1, {3}), (2, {2, 3}), (9, {1, 2, 3})])
def test_old_pairs_are_removed(tmp_path, keep, left):
    for step in (0, 1, 2, 3):
        pair(tmp_path, step)
    checkpoint.remove_old(tmp_path, keep)
    assert names(tmp_path) == {f"{letter}_{step}.pth" for letter in "GD" for step in {0} | left}


def test_what_a_killed_removal_left_goes_too(tmp_path):
    pair(tmp_path, 3)
    for name in ("D_1.pth", "D_5.pth", "G_2.pth", "D_0.pth"):
        (tmp_path / name).touch()
    checkpoint.remove_old(tmp_path, 2)
    assert names(tmp_path) == {"G_3.pth", "D_3.pth", "D_5.pth", "G_2.pth", "D_0.pth"}


def test_safetensors_hold_the_same_but_for_the_optimizer(tmp_path):
    net, path = Net(), tmp_path / "logs/歌.safetensors"
    state = net.state_dict() | {"dec.twin": net.dec.weight.detach()}  # shares its memory
    config = {"model": {"gin_channels": 3}, "spk": {"歌手": 0}}
    content = {"model": state, "iteration": 3, "optimizer": {"state": {}}, "learning_rate": 1e-4, "config": config}
    checkpoint.save(path, content)
    got, rest = checkpoint.read_model(path)
    assert got.keys() == state.keys() and all(torch.equal(got[key], state[key]) for key in state)
    assert rest == {"format": "pt", "iteration": 3, "learning_rate": 1e-4, "config": config}
    assert checkpoint.read_model(path, only=("iteration",))[1] == {"iteration": 3}
    assert checkpoint.read_embedded_config(path) == config
    assert names(path.parent) == {path.name}
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode  # whoever may read other files may read it


def test_the_config_inside_a_model(tmp_path):
    for i, (config, expected) in enumerate([({"spk": {"a": 0}}, {"spk": {"a": 0}}), ([1025, 32], None), ("x", None)]):
        for name in (f"{i}.pth", f"{i}.safetensors"):
            checkpoint.save(tmp_path / name, {"model": Net().state_dict(), "config": config})
            assert checkpoint.read_embedded_config(tmp_path / name) == expected
    checkpoint.save(tmp_path / "none.safetensors", {"model": {}})
    assert checkpoint.read_embedded_config(tmp_path / "none.safetensors") is None


@pytest.mark.parametrize("reader", [checkpoint.read_model, checkpoint.read_embedded_config])
def test_safetensors_that_cannot_be_read(tmp_path, reader):
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="no checkpoint .*a.safetensors"):
        reader(path)
    for damage in (b"", b"no such thing", b"\xff" * 8 + b"{}", pickle.dumps({"model": 1})):
        path.write_bytes(damage)
        with pytest.raises(CheckpointError, match=r"a.safetensors is no safetensors file: "):
            reader(path)
    checkpoint.save(path, {"model": Net().state_dict()})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"a.safetensors is no safetensors file: "):
        reader(path)


def test_metadata_of_other_tools_is_kept_as_text(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {"title": "my voice", "deep": "[" * 100_000})
    assert checkpoint.read_model(tmp_path / "a.safetensors")[1] == {"title": "my voice", "deep": "[" * 100_000}


def test_half_precision():
    shared = torch.tensor([1.0, 65504.0])
    state = {
        "a": shared,
        "b": shared,
        "n": torch.tensor([70000]),
        "c": torch.tensor([1e-9, 1 / 3]),
        "e": torch.empty(0),
    }
    half = checkpoint.halved(state, where="G_1.pth")
    assert half["a"] is half["b"] and half["a"].dtype == torch.float16 and half["n"] is state["n"]
    assert half["c"].tolist() == [0.0, pytest.approx(1 / 3, rel=1e-3)]
    with pytest.raises(CheckpointError, match=r"G_1.pth: c reaches 65520, half precision ends at 65504"):
        checkpoint.halved(state | {"c": torch.tensor([-65520.0])}, where="G_1.pth")
    for bad in (torch.nan, torch.inf):
        with pytest.raises(
            CheckpointError, match=r"G_1.pth holds numbers that are not finite, so it cannot sing: a, b"
        ):
            checkpoint.halved({"a": torch.tensor([bad]), "b": torch.tensor([bad])}, where="G_1.pth")


@pytest.mark.parametrize("name", ["G_1.pth", "a.safetensors"])
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64, torch.uint64])
def test_kinds_of_numbers_that_no_model_has(tmp_path, name, dtype):
    path = tmp_path / name
    checkpoint.save(path, {"model": {"dec.weight": torch.zeros(2).to(dtype), "dec.bias": torch.zeros(2)}})
    with pytest.raises(CheckpointError) as error:
        checkpoint.read_model(path)
    assert name in str(error.value)
    if name.endswith(".safetensors"):  # the other reader names what it does not know in its own words
        assert f"kinds that are not supported: dec.weight ({dtype})" in str(error.value)
