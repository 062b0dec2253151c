"""The diffusion model's training: it learns, resumes exactly, keeps the right files, and says what is wrong."""

import logging
import math
from pathlib import Path

import pytest
import torch

import train_diff
from common import checkpoint
from common.checkpoint import CheckpointError
from diffusion import load_unit2mel
from diffusion.loading import build_unit2mel, read_diffusion_config
from modules import timbre
from pipeline import diffusion_training, timbre_fitting
from pipeline.dataset import DatasetError
from pipeline.diffusion_dataset import MelDataset, collate_mels, load_mel_datasets
from pipeline.diffusion_task import DiffusionTask
from pipeline.diffusion_training import DiffusionOptions, train
from pipeline.mel_caches import read_mel
from pipeline.reporting import Reporter
from pipeline.sampling import ClipKey
from pipeline.timbre_fitting import fit_timbres
from pipeline.training import TrainingError, TrainState
from pipeline.updating import NonFiniteLossError
from tests.pipeline.small_refiner import FORMAT, N_MELS, refiner_config, write_refiner, write_refiner_dataset
from tests.pipeline.small_refiner import write_vocoder as write_tiny_vocoder
from tests.pipeline.test_gan_training import scalars
from tests.runs import differing

CPU = torch.device("cpu")
LOGS = Path("logs/44k/diffusion")
FLOW = {"model": {"type": "RectifiedFlow"}, "infer": {"method": "euler"}}
QUIET = {"interval_val": 1000}


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("refiner")
    write_refiner_dataset(folder)
    write_tiny_vocoder(folder / "pretrain/tiny")
    return folder


@pytest.fixture
def in_tmp(dataset_folder, tmp_path, monkeypatch) -> Path:
    for name in ("dataset", "filelists", "pretrain"):
        (tmp_path / name).symlink_to(dataset_folder / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def go(expdir: Path | str = LOGS, changes: dict | None = None, **options) -> TrainState:
    changes = dict(changes or {})
    config = refiner_config(**changes, env={"expdir": str(expdir)})
    return train(config, DiffusionOptions(**options))


def make_task(folder: Path = LOGS, **changes) -> DiffusionTask:
    """A task and a batch for it."""
    config = refiner_config(**changes)
    training, validation = load_mel_datasets(config, n_mels=N_MELS, mel_format=FORMAT)
    task = DiffusionTask(config, folder, CPU, validation, n_mels=N_MELS)
    task.set_rate(TrainState())
    task.batch = collate_mels([training[ClipKey(1, i)] for i in range(len(training))])
    return task


def tensors(folder: Path | str, step: int) -> dict[str, torch.Tensor]:
    """Weights and second moments of a checkpoint."""
    content = torch.load(Path(folder) / f"model_{step}.pt", weights_only=True)
    beside = Path(folder) / f"optimizer_{step}.pt"
    moments = content.get("optimizer") or torch.load(beside, weights_only=True)["optimizer"]
    return content["model"] | {f"moments.{i}": value["exp_avg_sq"] for i, value in moments["state"].items()}


def files(folder: Path = LOGS) -> list[str]:
    return sorted(path.name for path in folder.glob("*.pt"))


# ---- learning


@pytest.mark.parametrize("changes", [{}, FLOW], ids=["diffusion", "flow"])
def test_the_loss_falls(in_tmp, changes):
    task = make_task(**changes, train={"lr": 0.01})
    reporter = Reporter(None, 44100)
    before = task.validate(0, reporter)
    assert task.validate(0, reporter)["loss"] == before["loss"]  # always at the same noise
    for step in range(60):
        torch.manual_seed(step)
        task.step(task.batch, step)
    after = task.validate(60, reporter)
    assert after["loss"] < 0.8 * before["loss"]
    assert after["mel_l1"] < before["mel_l1"] and after["rtf"] > 0
    assert task.model.training and task.is_finite()


def test_padding_teaches_nothing(in_tmp):
    """A short clip padded to a long one gives the gradient that it gives alone."""
    task = make_task()
    i = task.batch.lengths.tolist().index(16)
    alone = [x[i : i + 1] for x in task.batch[:-1]]
    gradients = []
    for n_frames in (16, 25):
        units, f0, volume, mel = (x[:, :n_frames] for x in alone[:4])
        noise = torch.randn(1, 1, N_MELS, 25, generator=torch.Generator().manual_seed(1))[..., :n_frames]
        cond = task.model.condition(units, f0, volume, spk_id=alone[4], aug_shift=alone[5])
        task.model.loss(cond, mel, lengths=alone[6], step=torch.tensor([7]), noise=noise).backward()
        gradients.append(task.model.decoder.denoise_fn.output_projection.weight.grad.clone())
        task.model.zero_grad()
    torch.testing.assert_close(*gradients)


def test_a_shallow_model_is_validated_from_the_mels_of_the_clips(in_tmp):
    task = make_task(model={"k_step_max": 30})
    drawn = task.model.decoder.random_steps(500)
    assert int(drawn.max()) == 29
    shallow, whole = (make.validate(0, Reporter(None, 44100)) for make in (task, make_task()))
    assert shallow["mel_l1"] < whole["mel_l1"] / 2


def test_the_rate_is_a_function_of_the_step(in_tmp):
    task = make_task(train={"lr": 1e-3, "gamma": 0.5, "decay_step": 100, "weight_decay": 0.02})
    rates = [task.set_rate(TrainState(step=step, epoch=step + 1)) for step in (0, 99, 100, 250)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4])
    assert task.optimizer.param_groups[0]["lr"] == rates[-1]
    assert task.optimizer.param_groups[0]["weight_decay"] == 0.02


# ---- resuming, and what stays on disk


@pytest.mark.parametrize("save_opt", [False, True])
def test_an_interrupted_run_equals_a_whole_one(in_tmp, save_opt):
    changes = {"train": QUIET | {"save_opt": save_opt}}
    go("logs/whole", changes, max_steps=7)  # two steps per epoch
    for last in (2, 3, 7):
        assert go("logs/parts", changes, max_steps=last).step == last
    assert differing(tensors("logs/whole", 7), tensors("logs/parts", 7)) == []
    seen, again = scalars("logs/whole"), scalars("logs/parts")
    for tag in ("train/loss", "train/grad_norm", "train/learning_rate"):
        assert seen[tag] == again[tag] and len(seen[tag]) == 7
    assert [seen["train/learning_rate"][step] for step in (1, 3, 4, 7)] == pytest.approx([1e-3, 1e-3, 9e-4, 8.1e-4])


def test_which_checkpoints_stay(in_tmp):
    base = build_unit2mel(refiner_config(), n_mels=N_MELS)
    checkpoint.save(LOGS / "model_0.pt", {"global_step": 0, "model": base.state_dict()})
    whole = (LOGS / "model_0.pt").read_bytes()
    go(max_steps=13)
    assert files() == ["model_0.pt", "model_13.pt", "model_8.pt", "optimizer_13.pt"]
    go(max_steps=14)
    assert files() == ["model_0.pt", "model_14.pt", "model_8.pt", "optimizer_14.pt"]
    assert (LOGS / "model_0.pt").read_bytes() == whole
    go(changes={"train": {"save_opt": True}}, max_steps=17)
    assert files() == ["model_0.pt", "model_16.pt", "model_17.pt", "model_8.pt"]
    content = torch.load(LOGS / "model_16.pt", weights_only=True)
    assert content.keys() >= {"global_step", "model", "optimizer", "epoch", "batch", "config"}
    assert content["global_step"] == 16 and "optimizer" not in torch.load(LOGS / "model_8.pt", weights_only=True)
    go(changes={"train": {"interval_force_save": 1000}}, max_steps=18)  # what was kept stays whatever is set later
    assert files() == ["model_0.pt", "model_16.pt", "model_18.pt", "model_8.pt", "optimizer_18.pt"]


def test_a_checkpoint_serves_for_conversion(in_tmp):
    go(max_steps=1)
    model = load_unit2mel(LOGS / "model_1.pt", device="cpu", n_mels=N_MELS)
    assert (model.config.spk, model.config.env.expdir) == ({"anna": 0, "bob": 1}, str(LOGS))


def test_a_checkpoint_holds_the_timbres_of_its_speakers(in_tmp, monkeypatch, caplog):
    """Fitted to the clips when training starts or goes on, and no part of what is learnt."""
    caplog.set_level(logging.INFO)
    go(max_steps=1)
    assert "too few recordings to know a timbre, which timbre match needs: anna, bob" in caplog.text
    monkeypatch.setattr(timbre, "MIN_FIT_SECONDS", 0.2)
    go(max_steps=2)
    assert "fitting timbres for conversions: anna, bob" in caplog.text
    timbres = load_unit2mel(LOGS / "model_2.pt", device="cpu", n_mels=N_MELS).timbres
    assert timbres.weight.shape == (2, 60, N_MELS) and timbres.has(0) and timbres.has(1)
    # Where bands lie is not known on a machine without the vocoder: what was fitted stays.
    monkeypatch.setattr(diffusion_training, "_mel_format", lambda config: None)
    monkeypatch.setattr(diffusion_training, "N_MELS", N_MELS)
    go(max_steps=3)
    stored = torch.load(LOGS / "model_3.pt", weights_only=True)["timbres"]
    assert all(torch.equal(stored[name], tensor) for name, tensor in timbres._asdict().items())
    task = base_task()
    task.restore()
    assert torch.equal(task.model.timbres.bias, timbres.bias)
    task.model.timbres = fresh = timbres._replace(bias=timbres.bias + 1)
    task.restore()  # as when training goes back from a loss that is not finite
    assert task.model.timbres is fresh
    swapped = base_task(spk={"bob": 0, "anna": 1})
    swapped.restore()
    assert swapped.model.timbres is None and "is of other speakers: its timbres are left out" in caplog.text


def test_timbres_are_of_some_clips_of_each_speaker(in_tmp, monkeypatch):
    """Drawn from all of his, until there are enough; of a speaker without any there is none."""
    monkeypatch.setattr(timbre, "MIN_FIT_SECONDS", 0.2)
    config = refiner_config(model={"n_spk": 3})
    training, _ = load_mel_datasets(config, n_mels=N_MELS, mel_format=FORMAT)
    read = []
    monkeypatch.setattr(timbre_fitting, "read_mel", lambda clip: read.append(clip) or read_mel(clip))
    timbres = fit_timbres(training, FORMAT)
    assert sorted(read) == sorted(training.clips) and read != sorted(read)
    assert [timbres.has(speaker) for speaker in range(3)] == [True, True, False]
    read.clear()
    monkeypatch.setattr(timbre_fitting, "MAX_SECONDS", 0.1)
    fit_timbres(training, FORMAT)
    assert len(read) == 2 and len({clip.parent for clip in read}) == 2


def test_a_run_that_was_killed_between_its_two_files_goes_on(in_tmp, monkeypatch):
    go(max_steps=2)
    save = checkpoint.save

    def killed(path, content):
        if Path(path).name.startswith("model_"):
            raise KeyboardInterrupt
        save(path, content)

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        go(max_steps=3)
    assert files() == ["model_2.pt", "optimizer_2.pt", "optimizer_3.pt"]
    monkeypatch.setattr(checkpoint, "save", save)
    (LOGS / ".model_3.pt.1.part").write_bytes(b"half")
    go(max_steps=4)
    go("logs/whole", max_steps=4)
    assert files() == ["model_4.pt", "optimizer_4.pt"] and not list(LOGS.glob(".*"))
    assert differing(tensors(LOGS, 4), tensors("logs/whole", 4)) == []


def test_a_model_without_its_optimizer_is_resumed_with_a_line(in_tmp, caplog):
    caplog.set_level(logging.INFO)
    go(max_steps=2)
    content = torch.load(LOGS / "model_2.pt", weights_only=True)
    for path in LOGS.glob("*.pt"):
        path.unlink()
    half = {key: value.half() for key, value in content["model"].items()}
    torch.save({"global_step": 900, "model": half}, LOGS / "model_900.pt")  # as other tools leave it
    state = go(max_steps=901)
    assert (state.step, state.epoch, state.batch) == (901, 1, 1)
    assert "model_900.pt holds no optimizer state: the optimizer starts anew" in caplog.text


def test_what_cannot_be_resumed_stops_the_run(in_tmp):
    go(max_steps=1)
    whole = {path: path.read_bytes() for path in LOGS.glob("*.pt")}

    def refused(text: str, **changes) -> None:
        before = {path.name: path.read_bytes() for path in LOGS.glob("*.pt")}
        with pytest.raises(CheckpointError) as caught:
            go(changes=changes, max_steps=2)
        assert text in str(caught.value), str(caught.value)
        assert "cannot resume from logs/44k/diffusion/model_1.pt" in str(caught.value)
        assert before == {path.name: path.read_bytes() for path in LOGS.glob("*.pt")}

    refused("model.n_chans: 16 in the configuration, 32 in the weights", model={"n_chans": 16})
    refused("model.n_layers: 3 in the configuration, 2 in the weights", model={"n_layers": 3})
    for path, content in whole.items():
        path.write_bytes(content[: len(content) // 2])
        advice = ": delete it to go on with an optimizer that starts anew" if "optimizer" in path.name else ""
        refused(f"{path} is damaged, cut off")
        if advice:
            refused(advice)
        path.write_bytes(content)
    other = torch.load(LOGS / "model_1.pt", weights_only=True)
    other["config"]["data"]["encoder"] = "mine"
    torch.save(other, LOGS / "model_1.pt")
    refused("was trained on units of mine, the configuration has cepstral")


# ---- base models

ECOSYSTEM = {"data": {"encoder": "contentvec768l12", "encoder_out_channels": 768}}


def base_task(**changes) -> DiffusionTask:
    return DiffusionTask(refiner_config(**changes), LOGS, CPU, None, n_mels=N_MELS)


def load_base(task: DiffusionTask, path: Path) -> None:
    task.load_base(path, MelDataset([], [], task.config, training=True))


def write_base(path: Path, **changes) -> dict[str, torch.Tensor]:
    """A base model as DDSP-SVC's tools write it: speakers by number, from 1; half precision."""
    config = refiner_config(**changes)
    state = {key: value.half() for key, value in build_unit2mel(config, n_mels=N_MELS).state_dict().items()}
    checkpoint.save(path, {"global_step": 0, "model": state})
    return state


def test_a_base_model_of_the_ecosystem(in_tmp, caplog):
    caplog.set_level(logging.INFO)
    state = write_base(LOGS / "model_0.pt", **ECOSYSTEM, model={"n_spk": 9, "use_pitch_aug": False}, spk=None)
    task = base_task(**ECOSYSTEM)
    load_base(task, LOGS / "model_0.pt")
    key = "decoder.denoise_fn.mlp.0.weight"
    torch.testing.assert_close(task.model.state_dict()[key], state[key].float())
    assert task.model.spk_embed.weight.abs().max() == 0  # all speakers are the mean of the base's
    torch.testing.assert_close(
        task.model.unit_embed.bias, state["unit_embed.bias"].float() + state["spk_embed.weight"].float().mean(dim=0)
    )
    assert "starting from base model logs/44k/diffusion/model_0.pt" in caplog.text
    assert "9 speakers there, 2 here" in caplog.text


@pytest.mark.parametrize("pitch_aug", [True, False])
def test_speakers_begin_as_the_voice_that_predicts_them_best(in_tmp, caplog, pitch_aug):
    """Of three, or the mean of them: whichever it is, the log names it, and no loss is above that of the mean."""
    caplog.set_level(logging.INFO)
    sizes = {"model": {"n_spk": 3, "use_pitch_aug": pitch_aug}}
    config = refiner_config(**sizes, spk={"x": 0, "y": 1, "z": 2})
    model = build_unit2mel(config, n_mels=N_MELS)
    torch.nn.init.normal_(model.spk_embed.weight)
    torch.nn.init.normal_(model.decoder.denoise_fn.output_projection.weight, std=0.3)
    checkpoint.save(Path("base/model_0.pt"), {"global_step": 0, "model": model.state_dict()})
    write_refiner("base/config.yaml", **sizes, spk={"x": 0, "y": 1, "z": 2})
    changes = {"model": {"use_pitch_aug": pitch_aug}}
    task = base_task(**changes)
    training, _ = load_mel_datasets(task.config, n_mels=N_MELS, mel_format=FORMAT)
    task.load_base(Path("base/model_0.pt"), training)
    voices = model.spk_embed.weight - model.spk_embed.weight.mean(dim=0)
    candidates = torch.cat([torch.zeros_like(voices[:1]), voices])
    for name, row in task.config.spk.items():
        own = task.model.spk_embed.weight[row]
        distance = (candidates - own).norm(dim=1)
        assert distance.min() < 1e-5
        title = ("the mean voice", "x of the base", "y of the base", "z of the base")[int(distance.argmin())]
        line = next(record.message for record in caplog.records if record.message.startswith(f"{name} begins"))
        assert f"{name} begins as {title}: loss" in line
        best, mean = (float(word.rstrip(",")) for word in line.split() if word.rstrip(",").replace(".", "").isdigit())
        assert best <= mean


def test_a_base_model_is_found_beside_the_run_or_where_base_says(in_tmp, caplog):
    caplog.set_level(logging.INFO)
    write_base(Path("pretrain2/model_0.pt"))
    write_base(Path("elsewhere/mine.pt"))
    for i, base in enumerate((Path("pretrain2"), Path("elsewhere/mine.pt"))):
        go(f"logs/{i}", base=base, max_steps=1)
    assert "starting from base model pretrain2/model_0.pt" in caplog.text
    assert "starting from base model elsewhere/mine.pt" in caplog.text
    with pytest.raises(FileNotFoundError, match="no base model nowhere, which --base names"):
        go(base=Path("nowhere"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": {"n_layers": 3}}, "model.n_layers: 2 in the configuration, 3 in the weights"),
        (ECOSYSTEM, "data.encoder_out_channels: 60 in the configuration, 768 in the weights"),
        (FLOW, 'model.type: "Diffusion" in the configuration, "RectifiedFlow" in the weights'),
    ],
)
def test_a_base_model_of_another_network_is_refused(in_tmp, changes, text):
    path = LOGS / "model_0.pt"
    write_base(path, **changes)
    with pytest.raises(CheckpointError) as caught:
        load_base(base_task(), path)
    for part in (text, "cannot start from the base model", "name another one with --base"):
        assert part in str(caught.value)


def test_base_models_that_are_damaged_or_of_other_units(in_tmp):
    path = Path("base/model_0.pt")
    write_base(path)
    write_refiner("base/config.yaml", data={"encoder": "whisper-ppg"})
    with pytest.raises(CheckpointError, match="was trained on units of whisper-ppg, the configuration has cepstral"):
        load_base(base_task(), path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CheckpointError, match="model_0.pt is damaged, cut off"):
        load_base(base_task(), path)
    torch.save({"model": {"dec.weight": torch.zeros(2)}}, path)
    path.with_name("config.yaml").unlink()
    with pytest.raises(CheckpointError, match="is no diffusion model"):
        load_base(base_task(), path)


def test_a_missing_base_model_names_the_next_command(in_tmp, caplog):
    task = base_task()
    load_base(task, LOGS / "model_0.pt")
    assert "training from nothing needs far more" in caplog.text and "common.pretrained" not in caplog.text
    sizes = {"n_layers": 20, "n_chans": 512, "n_hidden": 256}
    task.config = refiner_config(**ECOSYSTEM, model=sizes)
    load_base(task, LOGS / "model_0.pt")
    assert "run python -m common.pretrained get base-diffusion and train with --base logs/44k/diffusion" in caplog.text


# ---- bad numbers, precision, devices


def test_bad_numbers_change_nothing(in_tmp, monkeypatch):
    task = make_task()
    task.step(task.batch, 0)
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    with monkeypatch.context() as patch:
        patch.setattr(task.model.decoder, "target", lambda x, noise: noise * math.nan)
        with pytest.raises(NonFiniteLossError, match="loss loss is not finite"):
            task.step(task.batch, 1)
    assert all(torch.equal(before[key], value) for key, value in task.model.state_dict().items())
    assert math.isfinite(task.step(task.batch, 2)["loss"])
    with torch.no_grad():
        task.model.f0_embed.weight.fill_(torch.nan)
    assert not task.is_finite()


def test_a_run_that_diverges_says_what_to_change(in_tmp, monkeypatch):
    go(max_steps=1)
    monkeypatch.setattr("diffusion.gaussian.GaussianDiffusion.target", lambda self, x, noise: noise * math.nan)
    with pytest.raises(TrainingError, match="lower train.lr, or set train.amp_dtype to bf16 or fp32"):
        go(max_steps=60)
    assert files() == ["model_1.pt", "optimizer_1.pt"]


def test_bf16_and_fp16(in_tmp):
    losses = []
    for precision in ("fp32", "bf16"):
        task = make_task(train={"amp_dtype": precision})
        torch.manual_seed(1)
        losses.append(float(task.step(task.batch, 0)["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=0.05) and losses[0] != losses[1]
    with pytest.raises(ValueError, match="fp16 works on CUDA only, this run is on cpu: set train.amp_dtype to bf16"):
        go(changes={"train": {"amp_dtype": "fp16"}})


@pytest.mark.parametrize(
    ("device", "gpu_id", "asked", "chosen"),
    [
        ("auto", 1, None, "cuda:1"),
        ("cuda", 1, None, "cuda:1"),
        ("cuda:0", 1, None, "cuda:0"),
        ("cpu", 1, None, "cpu"),
        ("auto", 1, "cpu", "cpu"),
        ("cpu", 1, "cuda", "cuda"),
    ],
)
def test_the_device_is_that_of_the_configuration_unless_named(in_tmp, monkeypatch, device, gpu_id, asked, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    config = refiner_config(device=device, env={"gpu_id": gpu_id})
    assert diffusion_training._device(config, DiffusionOptions(device=asked)) == torch.device(chosen)


# ---- what is told


def test_tensorboard_shows_mels_and_audio(in_tmp, caplog):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    caplog.set_level(logging.INFO)
    go(changes={"train": {"interval_val": 2, "interval_log": 2}}, max_steps=2)
    events = EventAccumulator(str(LOGS))
    events.Reload()
    tags = events.Tags()
    losses = {f"train/{name}" for name in ("loss", "grad_norm", "learning_rate", "loader_wait_share")}
    assert losses | {f"validation/{name}" for name in ("loss", "mel_l1", "rtf")} == set(tags["scalars"])
    assert set(tags["images"]) == {"mel/0_0"}
    assert set(tags["audio"]) == {"audio/0_0/recorded", "audio/0_0/made"}
    assert "6 clips on cpu, 2 steps per epoch" in caplog.text
    assert "validation at step 2  loss" in caplog.text and "rtf" in caplog.text


def test_without_weights_of_the_vocoder_audio_is_left_out_with_a_line(in_tmp, caplog):
    write_tiny_vocoder(Path("pretrain3"), weights=False)
    changes = {"vocoder": {"ckpt": "pretrain3/model"}}
    go(changes=changes, max_steps=1)
    assert "TensorBoard gets mels but no audio: no vocoder weights at pretrain3/model" in caplog.text


def test_without_a_vocoder_mels_are_taken_as_they_are(in_tmp, caplog):
    with pytest.raises(DatasetError, match="has mels of 16 bands, those of the vocoder have 128"):
        go(changes={"vocoder": {"ckpt": "nowhere/model"}})
    assert "mels are taken as they are, of 128 bands, and timbres are not fitted: no " in caplog.text


# ---- the command line


def test_the_command_line(in_tmp, capsys):
    assert train_diff.main([]) == 1
    missing = "no configuration configs/diffusion.yaml: run python preprocess_flist_config.py, or name another file"
    assert missing in capsys.readouterr().err
    assert not Path("logs").exists()
    write_refiner()
    assert train_diff.main(["--max_steps", "2", "-d", "cpu"]) == 0
    assert "step 2  loss" in (LOGS / "train.log").read_text()
    assert read_diffusion_config(LOGS / "config.yaml") == read_diffusion_config("configs/diffusion.yaml")
    assert train_diff.main(["--max_minutes", "0"]) == 0
    assert "resuming from logs/44k/diffusion/model_2.pt: step 2, epoch 1" in capsys.readouterr().err
    write_refiner(train={"n_epochs": 3, "gamma": "fast"})
    assert train_diff.main([]) == 1
    error = capsys.readouterr().err
    assert "train.n_epochs: unknown field, did you mean 'epochs'?" in error and "train.gamma: expected" in error
