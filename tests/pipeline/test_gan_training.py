"""The synthesizer's training: exact resume, old checkpoints, bad numbers, half precision, what TensorBoard shows."""

import copy
import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from common import checkpoint
from common.checkpoint import CheckpointError
from models import SynthesizerTrn
from modules.discriminators import MultiPeriodDiscriminator
from pipeline import gan_task, gan_updating, reporting
from pipeline.dataset import DatasetError, collate, load_datasets
from pipeline.gan_task import GanTask
from pipeline.gan_training import TrainOptions, train
from pipeline.reporting import Reporter
from pipeline.sampling import ClipKey
from pipeline.training import TrainingError, TrainState
from pipeline.updating import NonFiniteLossError
from tests.runs import differing, weights
from tests.synthetic import tiny_config, write_dataset

CPU = torch.device("cpu")
LOGS = Path("logs/44k")


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gan")
    write_dataset(folder, tiny_config(model={"vol_embedding": True}), lengths=(20, 30, 40, 24), n_validation=1)
    return folder


@pytest.fixture
def in_tmp(dataset_folder, tmp_path, monkeypatch) -> Path:
    """A folder of its own with the dataset of the module."""
    for name in ("dataset", "filelists"):
        (tmp_path / name).symlink_to(dataset_folder / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(**changes):
    """Four frames per segment, one validation clip's worth of work: steps of a tenth of a second."""
    train_section = {"segment_size": 2048, "eval_interval": 100} | changes.pop("train", {})
    return tiny_config(train=train_section, **changes)


def go(config, folder=LOGS, **options):
    return train(config, TrainOptions(folder=Path(folder), device="cpu", **options))


def scalars(folder) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "audio": 0})
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


@pytest.fixture
def task(in_tmp):
    config = small()
    training, validation = load_datasets(config)
    task = GanTask(config, LOGS, CPU, validation)
    task.set_rate(TrainState())
    task.batch = collate([training[ClipKey(1, i)] for i in (0, 1)])
    return task


# ---- resuming


def test_an_interrupted_run_equals_a_whole_one(in_tmp):
    config = small(model={"vol_embedding": True}, train={"vol_aug": True, "warmup_epochs": 2, "lr_decay": 0.5})
    go(config, "logs/whole", max_steps=7)  # three steps per epoch
    for last in (2, 3, 7):
        assert go(config, "logs/parts", max_steps=last).step == last
    assert differing(weights("logs/whole", 7), weights("logs/parts", 7)) == []
    seen, again = scalars("logs/whole"), scalars("logs/parts")
    for tag in ("train/mel", "train/kl", "train/disc", "train/gen", "train/grad_norm_g"):
        assert seen[tag] == again[tag] and len(seen[tag]) == 7
    assert seen["train/learning_rate"][1] == pytest.approx(1e-4)
    assert seen["train/learning_rate"][7] == pytest.approx(2e-4 * 0.5**2)


def test_checkpoints_have_the_layout_of_4_1_and_keys_of_our_own(in_tmp):
    config = small(train={"keep_ckpts": 1, "eval_interval": 2})
    nets = {"G": SynthesizerTrn(513, 4, **config.as_dict()["model"]), "D": MultiPeriodDiscriminator(False, 8)}
    for letter, net in nets.items():
        checkpoint.save(LOGS / f"{letter}_0.pth", {"model": net.state_dict()})
    (LOGS / ".G_2.pth.123.part").write_bytes(b"half")
    go(config, max_steps=5)
    assert sorted(path.name for path in LOGS.glob("*.pth")) == ["D_0.pth", "D_5.pth", "G_0.pth", "G_5.pth"]
    assert not list(LOGS.glob(".*"))
    content = torch.load(LOGS / "G_5.pth", weights_only=True)
    assert content["iteration"] == 2 and content["learning_rate"] == pytest.approx(2e-4 * 0.999875)
    assert (content["step"], content["batch"]) == (5, 2)
    assert content["config"] == config.as_dict() == json.loads((LOGS / "config.json").read_text())
    assert "enc_q.pre.weight" in content["model"]


def as_written_by_4_1(path: Path, step: int, *, half: bool = False, optimizer: bool = True) -> None:
    """Rewrite a checkpoint as the original tool would have: its four keys, step in the name only."""
    content = torch.load(path, weights_only=True)
    moments = content["optimizer"]
    for group in moments["param_groups"]:
        group["initial_lr"] = group["lr"]
        for key in ("fused", "decoupled_weight_decay"):
            group.pop(key, None)
    for state in moments["state"].values():
        state["step"] = int(state["step"])
    model = {key: value.half() if half else value for key, value in content["model"].items()}
    path.unlink()
    torch.save(
        {
            **{"model": model, "iteration": content["iteration"], "learning_rate": 1e-4},
            "optimizer": moments if optimizer else None,
        },
        path.with_name(f"{path.name[0]}_{step}.pth"),
    )


@pytest.mark.parametrize(("half", "optimizer"), [(False, True), (True, False)])
def test_checkpoints_of_4_1_are_resumed(in_tmp, caplog, half, optimizer):
    caplog.set_level(logging.INFO)
    config = small()
    go(config, max_steps=4)
    for letter in "GD":
        as_written_by_4_1(LOGS / f"{letter}_4.pth", 800, half=half, optimizer=optimizer)
    state = go(config, max_steps=801)
    assert (state.step, state.epoch, state.batch) == (801, 2, 1)
    assert ("G_800.pth holds no optimizer state" in caplog.text) is not optimizer
    assert weights(LOGS, 801)["G.emb_g.weight"].dtype == torch.float32


def test_what_cannot_be_resumed_stops_the_run(in_tmp):
    config = small()
    go(config, max_steps=1)
    whole = {name: (LOGS / name).read_bytes() for name in ("G_1.pth", "D_1.pth")}

    def refused(text: str, config=config) -> None:
        before = {path.name: path.read_bytes() for path in LOGS.glob("*.pth")}
        with pytest.raises(CheckpointError) as caught:
            go(config, max_steps=2)
        assert text in str(caught.value), str(caught.value)
        assert before == {path.name: path.read_bytes() for path in LOGS.glob("*.pth")}

    wider = small(model={"hidden_channels": 32})
    refused("cannot resume from logs/44k/G_1.pth: logs/44k/G_1.pth does not fit the model of this config", wider)
    refused("cannot resume from logs/44k/D_1.pth", small(train={"discriminator_channels": 16}))
    for name, content in whole.items():
        (LOGS / name).write_bytes(content[: len(content) // 2])
        refused(f"{name} is damaged, cut off")
        (LOGS / name).write_bytes(content)
    released = torch.load(LOGS / "G_1.pth", weights_only=True)
    released["model"] = {key: value for key, value in released["model"].items() if not key.startswith("enc_q.")}
    torch.save(released, LOGS / "G_1.pth")
    refused("(a released model, cut down for conversion: it cannot be trained further)")
    other = torch.load(LOGS / "D_1.pth", weights_only=True) | {"step": 9}
    (LOGS / "G_1.pth").write_bytes(whole["G_1.pth"])
    torch.save(other, LOGS / "D_1.pth")
    refused("are of different steps")
    (LOGS / "D_1.pth").unlink()
    refused("G_1.pth has no D_1.pth beside it")


# ---- base models


def test_a_base_model_with_other_speakers(in_tmp, caplog):
    caplog.set_level(logging.INFO)
    config = small()
    base = SynthesizerTrn(513, 4, **small(model={"n_speakers": 9}).as_dict()["model"])
    half = {key: value.half() for key, value in base.state_dict().items()}
    checkpoint.save("pretrain/G_0.pth", {"model": half, "optimizer": None})
    task = GanTask(config, LOGS, CPU, None)
    task.load_base(Path("pretrain"))
    torch.testing.assert_close(task.generator.dec.conv_pre.bias, base.dec.conv_pre.bias.half().float())
    torch.testing.assert_close(task.generator.emb_g.weight[1], base.emb_g.weight.half().float().mean(dim=0))
    assert "starting from base model pretrain/G_0.pth" in caplog.text
    assert "no base model pretrain/D_0.pth" in caplog.text
    assert "to start from a base model" not in caplog.text
    assert task.generator.dec.m_source.l_linear.weight.max() < 1  # the source gain of a start from nothing is not set
    with pytest.raises(FileNotFoundError, match="no base model G_0.pth in nowhere, which --base names"):
        go(config, base=Path("nowhere"))
    state = {key: value for key, value in base.state_dict().items() if not key.startswith("enc_q.")}
    checkpoint.save("pretrain/G_0.pth", {"model": state})
    with pytest.raises(CheckpointError, match="a released model"):
        task.load_base(Path("pretrain"))


@pytest.mark.parametrize(
    ("encoder", "model", "advice"),
    [
        ("cepstral", {}, "train with --base pretrain/embedded/small"),
        ("embedded", {"ssl_dim": 256}, "train with --base pretrain/embedded/base"),
        ("vec768l12", {"ssl_dim": 768}, "run python -m common.pretrained get base-g base-d and train with --base"),
        ("vec768l12", {"ssl_dim": 768, "vol_embedding": True}, "common.pretrained get base-vol-g base-vol-d and"),
        ("vec256l9", {"ssl_dim": 256}, "look for one of vec256l9 in the README"),
    ],
)
def test_a_missing_base_model_names_the_next_command(tmp_path, caplog, encoder, model, advice):
    config = small(model={"speech_encoder": encoder} | model)
    GanTask(config, LOGS, CPU, None).load_base(tmp_path)
    assert advice in caplog.text


# ---- bad numbers


@pytest.mark.parametrize("where", ["generator", "discriminator", "gradient"])
def test_bad_numbers_change_nothing_and_the_next_step_is_sound(task, monkeypatch, where):
    task.step(task.batch, 0)
    before = copy.deepcopy(task.generator.state_dict())
    broken = {
        "generator": ("kl_loss", lambda *_: torch.tensor(math.nan, requires_grad=True)),
        "discriminator": ("discriminator_loss", lambda *_: (torch.tensor(math.inf, requires_grad=True), [], [])),
        "gradient": ("kl_loss", lambda z_p, *_: (z_p.sum() * 0).abs().sqrt()),  # the slope of a root at 0 is infinite
    }
    with monkeypatch.context() as patch:
        patch.setattr(gan_updating if where == "discriminator" else gan_task, *broken[where])
        text = {"generator": "loss kl is", "discriminator": "loss disc is", "gradient": "gradient of mel, kl"}[where]
        with pytest.raises(NonFiniteLossError, match=text):
            task.step(task.batch, 1)
    assert all(torch.equal(before[key], value) for key, value in task.generator.state_dict().items())
    assert all(p.requires_grad for p in task.discriminator.parameters())
    losses = task.step(task.batch, 2)
    assert all(math.isfinite(value) for value in losses.values())
    assert task.is_finite()
    with torch.no_grad():
        task.discriminator.discriminators[0].conv_post.bias.fill_(torch.nan)
    assert not task.is_finite()


def test_loss_scaling(task, monkeypatch):
    """What fp16 on CUDA does, with the scaler that CPUs have too."""
    task.updater.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    torch.manual_seed(1)
    norm = task.step(task.batch, 0)["grad_norm_g"]
    assert 0 < norm < 1e5  # unscaled
    for module, name in ((gan_task, "kl_loss"), (gan_updating, "discriminator_loss")):
        with monkeypatch.context() as patch:
            nan = torch.tensor(math.nan, requires_grad=True)
            patch.setattr(module, name, lambda *_, nan=nan, name=name: nan if name == "kl_loss" else (nan, [], []))
            with pytest.raises(NonFiniteLossError):
                task.step(task.batch, 1)
    assert task.updater.scaler.get_scale() == 1024.0
    before = copy.deepcopy(task.generator.state_dict())
    with monkeypatch.context() as patch:
        patch.setattr(gan_task, "kl_loss", lambda z_p, *_: (z_p.sum() * 0).abs().sqrt())
        task.step(task.batch, 2)  # the gradient overflows: no step, a smaller scale
    assert task.updater.scaler.get_scale() == 512.0
    assert all(torch.equal(before[key], value) for key, value in task.generator.state_dict().items())
    task.step(task.batch, 3)
    assert task.is_finite() and task.updater.scaler.get_scale() == 512.0


def test_a_run_that_diverges_says_so_and_keeps_its_checkpoint(in_tmp, monkeypatch, caplog):
    config = small(train={"eval_interval": 2})
    go(config, max_steps=2)
    good = weights(LOGS, 2)
    monkeypatch.setattr(gan_task, "kl_loss", lambda *_: torch.tensor(math.nan, requires_grad=True))
    monkeypatch.setattr("pipeline.training.STRIKES", 2)
    with pytest.raises(TrainingError, match="lower train.learning_rate, set train.clip_grad_norm to 1000, or use"):
        go(config, max_steps=60)
    assert "loss kl is not finite; update discarded. Clips: dataset/44k/" in caplog.text
    assert differing(good, weights(LOGS, 2)) == []


def test_gradients_are_clipped_where_asked(in_tmp):
    training, validation = load_datasets(small())
    task = GanTask(small(train={"clip_grad_norm": 0.5}), LOGS, CPU, validation)
    task.set_rate(TrainState())
    norm = task.step(collate([training[ClipKey(1, 0)]]), 0)["grad_norm_g"]
    grads = torch.stack([p.grad.norm() for p in task.generator.parameters() if p.grad is not None])
    assert norm > 0.5 and grads.norm() == pytest.approx(0.5, rel=1e-3)


# ---- precision


def test_bf16_on_the_cpu(in_tmp):
    training, validation = load_datasets(small())
    config = small(train={"fp16_run": True, "half_type": "bf16"})
    tasks = [GanTask(c, LOGS, CPU, validation) for c in (small(), config)]
    losses = []
    for task in tasks:
        task.set_rate(TrainState())
        torch.manual_seed(1)
        losses.append(task.step(collate([training[ClipKey(1, 0)]]), 0))
    for name in ("mel", "disc", "gen"):
        assert float(losses[0][name]) == pytest.approx(float(losses[1][name]), rel=0.1)
    assert float(losses[0]["mel"]) != float(losses[1]["mel"])
    assert tasks[1].generator.dec.conv_pre.bias.dtype == torch.float32
    assert tasks[1].is_finite()


def test_fp16_on_the_cpu_is_refused(in_tmp):
    with pytest.raises(ValueError, match="fp16 works on CUDA only, this run is on cpu: set train.half_type to bf16"):
        go(small(train={"fp16_run": True}))


# ---- the discriminators join later


def test_discriminators_join_at_their_step(in_tmp):
    training, validation = load_datasets(small())
    task = GanTask(small(train={"discriminator_start": 1}), LOGS, CPU, validation)
    task.set_rate(TrainState())
    before = copy.deepcopy(task.discriminator.state_dict())
    batch = collate([training[ClipKey(1, 0)]])
    assert {"disc", "gen", "fm", "grad_norm_d"}.isdisjoint(task.step(batch, 0))
    assert all(torch.equal(before[key], value) for key, value in task.discriminator.state_dict().items())
    assert {"disc", "gen", "fm", "grad_norm_d", "mel_l1"} <= task.step(batch, 1).keys()


# ---- what is told


def test_tensorboard_and_the_log(in_tmp, caplog):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    caplog.set_level(logging.INFO)
    go(small(train={"eval_interval": 2}), max_steps=2)
    events = EventAccumulator(str(LOGS))
    events.Reload()
    tags = events.Tags()
    losses = ("mel", "kl", "lf0", "gen", "fm", "disc", "grad_norm_g", "grad_norm_d")
    wanted = {f"train/{name}" for name in (*losses, "learning_rate", "loader_wait_share")} | {"validation/mel_l1"}
    assert wanted <= set(tags["scalars"])
    assert set(tags["images"]) == {"mel/0_0"}  # the first validation clip is called 0.wav
    assert set(tags["audio"]) == {"audio/0_0/recorded", "audio/0_0/synthesised"}
    assert events.Audio("audio/0_0/recorded")[0].sample_rate == 44100
    assert "step 2  disc" in caplog.text and "validation at step 2  mel_l1" in caplog.text
    assert "6 clips on cpu, 3 steps per epoch" in caplog.text


def test_a_picture_that_cannot_be_drawn_is_told(tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("no font")

    monkeypatch.setattr(reporting.Reporter, "_paint", broken)
    reporter = Reporter(tmp_path, 44100)
    reporter.compare("a", {"recorded": np.zeros((4, 5))}, np.zeros(5), 1)
    reporter.close()
    assert "a picture for TensorBoard could not be drawn: no font" in caplog.text


def test_the_first_process_alone_reports(tmp_path):
    reporter = Reporter(None, 44100)
    reporter.scalars("train", {"mel": 1.0}, 1)
    reporter.compare("a", {"recorded": np.zeros((4, 5))}, np.zeros(5), 1)
    reporter.close()
    assert list(tmp_path.iterdir()) == []


def test_clips_that_cannot_be_used_stop_the_run_before_a_step(in_tmp):
    with pytest.raises(DatasetError, match="7 of 7 clips cannot be used(.|\n)*the config wants vec256l9"):
        go(small(model={"speech_encoder": "vec256l9", "ssl_dim": 256}))
    assert not LOGS.exists()
