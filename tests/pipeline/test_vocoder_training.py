"""The vocoder's training: what a clip becomes, exact resume, where it starts from, what its checkpoints are."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import train_vocoder as script
from common import audio
from common.checkpoint import CheckpointError
from common.config import ConfigError
from common.vocoder_config import VocoderConfig, load_vocoder_config
from models import SynthesizerTrn
from pipeline import vocoder_task
from pipeline.dataset import DatasetError
from pipeline.sampling import ClipKey
from pipeline.training import TrainState
from pipeline.updating import NonFiniteLossError
from pipeline.vocoder_dataset import MARGIN, collate, load_vocoder_datasets
from pipeline.vocoder_task import VocoderTask
from pipeline.vocoder_training import VocoderOptions, train_vocoder
from tests.parity import assert_close
from tests.runs import differing
from tests.synthetic import HOP, RATE, tiny_config, write_clip, write_dataset
from vdecoder import build_vocoder
from vdecoder.mel_format import MEAN
from vdecoder.vocoder import MEL_KEYS, build_generator

TINY: dict[str, Any] = {
    "train": {
        **{"batch_size": 2, "log_interval": 1, "eval_interval": 4, "learning_rate": 2e-4, "segment_size": 4096},
        **{"discriminator_channels": 8, "num_workers": 0, "pitch_aug": 0.5, "vol_aug": True, "c_stft": 1},
    },
    "data": {},
    "model": {
        **{"sampling_rate": RATE, "num_mels": 20, "hop_size": HOP, "n_fft": 2048, "win_size": 2048, "fmin": 40},
        **{"fmax": 16000, "resblock": "2", "upsample_rates": [8, 8, 8], "upsample_kernel_sizes": [16, 16, 16]},
        **{"upsample_initial_channel": 32, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]]},
    },
}
FOLDER = Path("logs/44k/vocoder")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vocoder")
    write_dataset(folder, tiny_config(), lengths=(20, 30, 40, 8), n_validation=1)
    return folder


@pytest.fixture
def in_tmp(dataset_folder, tmp_path, monkeypatch) -> Path:
    """A folder of its own with the dataset of the module."""
    for name in ("dataset", "filelists"):
        (tmp_path / name).symlink_to(dataset_folder / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(**changes: dict[str, Any]) -> VocoderConfig:
    path = Path("vocoder.json")
    sections = {name: section | changes.get(name, {}) for name, section in TINY.items()}
    path.write_text(json.dumps(sections), encoding="utf-8")
    return load_vocoder_config(path)


def go(config: VocoderConfig, folder: Path | str = FOLDER, **options: Any):
    return train_vocoder(config, VocoderOptions(folder=Path(folder), device="cpu", **options))


def weights(folder: Path | str, step: int) -> dict[str, torch.Tensor]:
    """All tensors of a step: both networks and both optimizers' second moments."""
    vocoder = torch.load(Path(folder) / f"model_{step}.ckpt", weights_only=True)["generator"]
    training = torch.load(Path(folder) / f"training_{step}.pth", weights_only=True)
    moments = {
        f"{name}.{i}": value["exp_avg_sq"]
        for name in ("optimizer_g", "optimizer_d")
        for i, value in training[name]["state"].items()
    }
    return vocoder | training["discriminator"] | moments


def write_base(folder: Path, **changes: Any) -> Path:
    network = TINY["model"] | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(network), encoding="utf-8")
    torch.save({"generator": build_generator(network).state_dict()}, folder / "model")
    return folder / "model"


# ---- clips


def test_windows_have_one_length_and_come_back_the_same(in_tmp, caplog):
    caplog.set_level("INFO")
    training, validation = load_vocoder_datasets(config())
    assert "2 of 6 clips are shorter than 12 frames: silence follows them" in caplog.text
    for index in range(len(training)):
        window, again = training[ClipKey(3, index)], training[ClipKey(3, index)]
        assert window.wav.shape == (12 * HOP,) and window.f0.shape == (12,)
        assert window.wav.dtype == window.f0.dtype == torch.float32
        assert torch.equal(window.wav, again.wav) and torch.equal(window.f0, again.f0)
        assert window.wav.abs().max() <= 1
    assert len(validation[ClipKey(0, 0)].f0) == 20
    batch = collate([training[ClipKey(1, i)] for i in range(3)])
    assert batch.wav.shape == (3, 12 * HOP) and batch.to(CPU).names == batch.names


def test_a_short_clip_is_followed_by_silence(in_tmp):
    training, _ = load_vocoder_datasets(config(train={"pitch_aug": 0.0, "vol_aug": False}))
    window = training[ClipKey(1, training.n_frames.index(8))]
    assert window.wav[: 8 * HOP].any() and not window.wav[9 * HOP :].any()
    assert (window.f0[:8] > 0).all() and not window.f0[8:].any()


def test_a_clip_played_faster_sounds_higher_and_its_f0_says_so(in_tmp):
    """The strongest partial of a pure tone, against the f0 that comes with it."""
    clip = write_clip(in_tmp / "tone.wav", tiny_config(), n_frames=60, f0_hz=300.0)
    time = np.arange(60 * HOP) / RATE
    Path(f"{clip}.features.json").unlink()  # the f0 is this tone's, too
    audio.save(clip, (0.5 * np.sin(2 * np.pi * 300 * time)).astype(np.float32), RATE)
    Path("filelists_tone.txt").write_text("tone.wav\n", encoding="utf-8")
    files = {"training_files": "filelists_tone.txt", "validation_files": "filelists_tone.txt"}
    training, _ = load_vocoder_datasets(config(data=files, train={"pitch_aug": 1.0, "segment_size": 8192}))
    heard = []
    for epoch in range(1, 9):
        window = training[ClipKey(epoch, 0)]
        spectrum = torch.fft.rfft(window.wav * torch.hann_window(len(window.wav)), n=1 << 17).abs()
        hertz = spectrum.argmax().item() * RATE / (1 << 17)
        assert hertz == pytest.approx(window.f0.median().item(), rel=0.01)
        heard.append(hertz)
    assert min(heard) < 270 and max(heard) > 330 and min(heard) >= 150 and max(heard) <= 600


def test_clips_that_cannot_be_used_are_all_listed(in_tmp):
    Path("bad.txt").write_text("absent.wav\nlow.wav\n", encoding="utf-8")
    audio.save("low.wav", np.zeros(16000, np.float32), 16000)
    with pytest.raises(DatasetError, match="2 of 3 clips") as error:
        load_vocoder_datasets(config(data={"training_files": "bad.txt"}))
    assert "no such audio file" in str(error.value) and "run python resample.py" in str(error.value)
    with pytest.raises(FileNotFoundError, match="preprocess_flist_config"):
        load_vocoder_datasets(config(data={"training_files": "none.txt"}))
    clip = write_clip(in_tmp / "no_f0.wav", tiny_config(), n_frames=20)
    Path(f"{clip}.f0.npy").unlink()
    Path("bad.txt").write_text("no_f0.wav\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"no features for .*: run python preprocess_hubert_f0.py"):
        load_vocoder_datasets(config(data={"training_files": "bad.txt"}))
    clip = write_clip(in_tmp / "changed.wav", tiny_config(), n_frames=20)
    audio.save(clip, np.zeros(20 * HOP, np.float32), RATE)
    Path("bad.txt").write_text("changed.wav\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="was changed after its features were extracted"):
        load_vocoder_datasets(config(data={"training_files": "bad.txt"}))


# ---- the journey


def test_an_interrupted_run_equals_a_whole_one(in_tmp):
    settings = config(train={"pc_aug": 0.5, "lr_decay": 0.5, "warmup_epochs": 2, "discriminator_start": 2})
    go(settings, "logs/whole/vocoder", max_steps=7)  # three steps per epoch
    for stop in (2, 3, 5, 7):
        state = go(settings, "logs/parts/vocoder", max_steps=stop)
    assert (state.step, state.epoch, state.batch) == (7, 3, 1)
    assert differing(weights("logs/whole/vocoder", 7), weights("logs/parts/vocoder", 7)) == []


def test_what_comes_out_is_a_vocoder(in_tmp):
    go(config(train={"pc_aug": 1.0, "keep_ckpts": 2, "eval_interval": 1}), max_steps=4)
    assert sorted(path.name for path in FOLDER.glob("*_*.*") if path.suffix in (".ckpt", ".pth")) == [
        *("model_3.ckpt", "model_4.ckpt", "training_3.pth", "training_4.pth")
    ]
    vocoder = build_vocoder("nsf-hifigan", FOLDER / "model_4.ckpt", "cpu")
    assert vocoder.can_shift
    assert vocoder.infer(vocoder.extract(torch.zeros(1, 10 * HOP)), torch.full((1, 10), 200.0)).shape == (1, 10 * HOP)


def test_what_was_learnt_of_other_pitches_is_remembered(in_tmp):
    """A run that goes on without pc_aug still has a vocoder that can shift."""
    go(config(train={"pc_aug": 1.0}), max_steps=1)
    go(config(train={"pc_aug": 0.0}), max_steps=2)
    network = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert network["pc_aug"] is True


def test_the_script_starts_from_a_base_and_leaves_it_alone(in_tmp):
    base = write_base(Path("pretrain/nsf_hifigan"), upsample_initial_channel=16)
    before = base.read_bytes()
    config()
    command = ["-c", "vocoder.json", "-m", "mine", "-d", "cpu", "--base", str(base)]
    assert script.main([*command, "--max_steps", "1"]) == 0
    log = (Path("logs/mine/vocoder") / "train.log").read_text(encoding="utf-8")
    assert f"starting from {base}" in log and "mel_l1" in log
    assert script.main([*command, "--max_steps", "2"]) == 0
    assert "resuming from" in (Path("logs/mine/vocoder") / "train.log").read_text(encoding="utf-8")
    assert base.read_bytes() == before
    network = json.loads(Path("logs/mine/vocoder/config.json").read_text(encoding="utf-8"))
    assert network["upsample_initial_channel"] == 16 and network["pc_aug"] is False
    build_vocoder("nsf-hifigan", "logs/mine/vocoder/model_2.ckpt", "cpu")


def test_fine_tuning_begins_with_what_the_base_sings(in_tmp):
    base = write_base(Path("base"))
    settings = config(train={"learning_rate": 1e-12, "discriminator_start": 9, "smooth_upsampling": False})
    go(settings, base=base, max_steps=1)
    tuned = torch.load(FOLDER / "model_1.ckpt", weights_only=True)["generator"]
    for key, value in torch.load(base, weights_only=True)["generator"].items():
        assert torch.allclose(tuned[key], value, atol=1e-6), key


def test_a_synthesizer_gives_its_decoder(in_tmp):
    torch.manual_seed(5)
    synthesizer = SynthesizerTrn(513, 8, **tiny_config().as_dict()["model"])
    torch.save({"model": synthesizer.state_dict(), "iteration": 1, "optimizer": None}, "G_5.pth")
    settings = config()
    task = VocoderTask(settings, FOLDER, CPU, load_vocoder_datasets(settings)[1])
    fresh = {key: value.clone() for key, value in task.generator.conv_pre.state_dict().items()}
    task.load_decoder(Path("G_5.pth"))
    theirs = synthesizer.dec.state_dict()
    for key, value in task.generator.state_dict().items():
        if key.startswith("conv_pre."):
            same = torch.equal(value, fresh[key.removeprefix("conv_pre.")])
            assert same == key.endswith("weight_v"), key  # new, and scaled to mels
        else:
            assert torch.equal(value, theirs[key]), key
    torch.save({"model": {"enc_p.x": torch.zeros(1)}, "iteration": 1, "optimizer": None}, "G_6.pth")
    with pytest.raises(CheckpointError, match="has no decoder"):
        task.load_decoder(Path("G_6.pth"))
    other = config(model={"upsample_initial_channel": 64})
    with pytest.raises(CheckpointError, match="shapes differ"):
        VocoderTask(other, FOLDER, CPU, None).load_decoder(Path("G_5.pth"))


def learning(settings: VocoderConfig) -> float:
    """By what share the distance to one batch falls in 25 updates from nothing."""
    training, validation = load_vocoder_datasets(settings)
    task = VocoderTask(settings, FOLDER, CPU, validation)
    task.begin_from_nothing()
    task.set_rate(TrainState())
    batch = collate([training[ClipKey(1, i)] for i in range(3)])
    losses = [float(task.step(batch, step)["mel_l1"]) for step in range(25)]
    return 1 - losses[-1] / losses[0]


def test_training_brings_the_voice_nearer(in_tmp):
    plain = {"pitch_aug": 0.0, "vol_aug": False, "learning_rate": 2e-3, "discriminator_start": 999}
    assert learning(config(train=plain)) > 0.25


def test_a_subtractive_vocoder_learns_and_goes_on(in_tmp):
    network = {key: TINY["model"][key] for key in MEL_KEYS} | {"network": "subtractive", "channels": 16, "n_layers": 1}
    raw = TINY | {"model": network}
    raw["train"] = raw["train"] | {
        "learning_rate": 3e-3,
        "discriminator_start": 999,
        "pitch_aug": 0.0,
        "vol_aug": False,
    }
    Path("vocoder.json").write_text(json.dumps(raw), encoding="utf-8")
    settings = load_vocoder_config(Path("vocoder.json"))
    assert learning(settings) > 0.2
    go(settings, max_steps=1)
    assert go(settings, max_steps=2).step == 2
    with pytest.raises(ValueError, match="which a subtractive vocoder has not"):
        go(settings, "elsewhere", init_from=Path("G_0.pth"))


def test_an_update_leaves_alone_what_becomes_of_the_mean_mel(in_tmp):
    """Log mels lie far from 0: else every step would move all that the first layer gives."""
    task = VocoderTask(config(), FOLDER, CPU, None)
    task.begin_from_nothing()
    mel = torch.full((1, task.first.in_channels, 12), MEAN)
    before = task.first(mel)
    with task._held_at(mel), torch.no_grad():
        task.first.weight_v += 0.1
    assert_close(task.first(mel)[..., 3:-3], before[..., 3:-3], max_abs=1e-4)  # beyond, the convolution sees padding
    assert before[..., 3:-3].abs().max() < 1e-4  # and a fresh network begins at the middle of its range
    assert not torch.allclose(task.first(mel + 1), before + task.first(torch.ones_like(mel)), atol=1e-3)


def test_the_mel_of_another_pitch_is_that_of_the_networks_own_voice(in_tmp):
    settings = config(train={"aug_semitones": 7.0})
    task = VocoderTask(settings, FOLDER, CPU, None)
    task.generator.init_gains()
    mel, f0 = torch.randn(2, 20, 12), torch.full((2, 12), 200.0)
    torch.manual_seed(1)
    first = task._at_another_pitch(mel, f0)
    torch.manual_seed(1)
    again = task._at_another_pitch(mel, f0)
    other = task._at_another_pitch(mel, f0)
    assert first.shape == mel.shape and torch.equal(first, again) and not torch.allclose(first, other)
    assert not first.requires_grad


def test_mels_of_a_segment_see_what_is_around_it(in_tmp):
    """The network's input is cut out of the mel of the longer window."""
    settings = config(train={"discriminator_start": 9})
    training, _ = load_vocoder_datasets(settings)
    task = VocoderTask(settings, FOLDER, CPU, None)
    task.set_rate(TrainState())
    batch = collate([training[ClipKey(1, i)] for i in range(2)])
    seen: list[torch.Tensor] = []
    task.generator.register_forward_pre_hook(lambda _, args: seen.extend(args))
    task.step(batch, 0)
    assert torch.equal(seen[0], task.mel(batch.wav)[..., MARGIN:-MARGIN])
    assert torch.equal(seen[1], batch.f0[:, MARGIN:-MARGIN])


def test_bad_numbers_change_nothing(in_tmp, monkeypatch):
    settings = config()
    training, _ = load_vocoder_datasets(settings)
    task = VocoderTask(settings, FOLDER, CPU, None)
    task.set_rate(TrainState())
    batch = collate([training[ClipKey(1, 0)]])
    before = {key: value.clone() for key, value in task.generator.state_dict().items()}
    with monkeypatch.context() as patch:
        patch.setattr(vocoder_task, "stft_loss", lambda *_: torch.tensor(math.nan, requires_grad=True))
        with pytest.raises(NonFiniteLossError, match="loss stft is not finite"):
            task.step(batch, 0)
    assert all(torch.equal(before[key], value) for key, value in task.generator.state_dict().items())
    assert all(math.isfinite(value) for value in task.step(batch, 1).values()) and task.is_finite()


# ---- errors


def test_a_checkpoint_that_cannot_be_used_stops_the_run(in_tmp):
    settings = config()
    go(settings, max_steps=1)
    training = FOLDER / "training_1.pth"
    content = torch.load(training, weights_only=True)
    torch.save({key: value for key, value in content.items() if key != "optimizer_g"}, training)
    with pytest.raises(CheckpointError, match=r"cannot resume from .*training_1.pth: it has no key 'optimizer_g'"):
        go(settings)
    training.write_bytes(training.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot resume from"):
        go(settings)
    training.unlink()
    with pytest.raises(CheckpointError, match=r"model_1.ckpt has no training_1.pth beside it"):
        go(settings)
    torch.save(content, training)
    with pytest.raises(CheckpointError, match="model.upsample_initial_channel: 64 in the configuration, 32 there"):
        go(config(model={"upsample_initial_channel": 64}))
    with pytest.raises(CheckpointError, match=r"model.fmax: 8000 in the configuration, 16000 there\n.*--base"):
        go(config(model={"fmax": 8000}))  # the same tensors, and other mels
    network = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert network["upsample_initial_channel"] == 32  # the file beside the weights still is theirs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "none/model"}, "no vocoder weights at"),
        ({"base": "base"}, "is a folder"),
        ({"init_from": "G_9.pth"}, "no checkpoint G_9.pth"),
        ({"base": "base/model", "init_from": "G_9.pth"}, "exclude one another"),
    ],
)
def test_starts_that_are_not_there(in_tmp, options, message):
    write_base(Path("base"))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        go(config(), **{name: Path(path) for name, path in options.items()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"pitch_aug": 2}}, "train.pitch_aug: must be from 0 to 1, got 2"),
        ({"train": {"aug_semitones": 40}}, "train.aug_semitones: must be from 0 to 24"),
        ({"train": {"batch_size": "2"}}, 'train.batch_size: expected int, got "2"'),
        ({"train": {"c_stf": 1}}, "did you mean 'c_stft'"),
    ],
)
def test_settings_that_do_not_fit(in_tmp, changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_settings_that_do_not_fit_the_network(in_tmp, monkeypatch):
    with pytest.raises(ValueError, match="multiple of hop_size"):
        go(config(train={"segment_size": 4000}))
    with pytest.raises(ValueError, match="upsample_rates multiply to 512, but hop_size is 256"):
        go(config(model={"hop_size": 256}))
    with pytest.raises(ValueError, match="section model: missing"):
        path = Path("vocoder.json")
        path.write_text(json.dumps({"train": TINY["train"], "data": {}}), encoding="utf-8")
        go(load_vocoder_config(path))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="without torchrun"):
        go(config())


@pytest.mark.parametrize("path", sorted(script.TEMPLATE.parent.glob("vocoder*.json")), ids=lambda path: path.stem)
def test_the_templates_are_sound(path):
    template = load_vocoder_config(path)
    assert template.model["num_mels"] == 128
    build_generator(template.model)
