"""Vocoder files: what users download is read, and everything else is refused with the reason."""

import json
from pathlib import Path

import pytest
import torch

from scripts import release_vocoder
from tests.parity import Case, assert_close
from vdecoder import VOCODERS, build_vocoder
from vdecoder.mel_format import read_mel_format, vocoder_path
from vdecoder.vocoder import LOG10_PER_LN, build_generator

TINY = {
    "sampling_rate": 16000,
    "num_mels": 8,
    "n_fft": 128,
    "hop_size": 32,
    "win_size": 128,
    "fmin": 40,
    "fmax": 8000,
    "resblock": "1",
    "upsample_rates": [8, 4],
    "upsample_kernel_sizes": [16, 8],
    "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
}


def write_vocoder(folder: Path, **changes) -> Path:
    config = TINY | changes
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.save({"generator": build_generator(TINY).state_dict()}, folder / "model")
    return folder / "model"


def test_golden_file(tmp_path: Path, zero_noise: None) -> None:
    case = Case("nsf_hifigan")
    (tmp_path / "config.json").write_text(json.dumps(case.info["config"]), encoding="utf-8")
    torch.save({"generator": case.state_dict()}, tmp_path / "model")
    arrays = {key: torch.from_numpy(value) for key, value in case.arrays().items()}
    vocoder = build_vocoder("nsf-hifigan", tmp_path / "model", "cpu")
    assert_close(vocoder.infer(arrays["mel"], arrays["f0"]), arrays["wav"].squeeze(1), max_abs=1e-4)
    assert (vocoder.sample_rate, vocoder.hop_length, vocoder.n_mels) == (44100, 512, 128)


def test_round_trip_of_shapes_and_speed(tmp_path: Path) -> None:
    vocoder = build_vocoder("nsf-hifigan", write_vocoder(tmp_path), "cpu")
    mel = vocoder.extract(torch.randn(2, 320))
    assert mel.shape == (2, 8, 10)
    assert vocoder.infer(mel, torch.full((2, 10), 200.0)).shape == (2, 320)
    assert vocoder.extract(torch.randn(2, 320), keyshift=3, speed=0.5).shape == (2, 8, 20)


def test_log10_networks_get_log10_mels(tmp_path: Path, zero_noise: None) -> None:
    path, f0 = write_vocoder(tmp_path), torch.full((1, 6), 200.0)
    natural, log10 = build_vocoder("nsf-hifigan", path, "cpu"), build_vocoder("nsf-hifigan-log10", path, "cpu")
    mel = torch.randn(1, 8, 6)
    assert_close(log10.infer(mel, f0), natural.infer(mel * LOG10_PER_LN, f0), max_abs=1e-6)


def test_generator_argument_leaves_the_global_state(tmp_path: Path) -> None:
    vocoder = build_vocoder("nsf-hifigan", write_vocoder(tmp_path), "cpu")
    before = torch.get_rng_state()
    vocoder.infer(torch.zeros(1, 8, 4), torch.zeros(1, 4), generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_pitch_augmented_training_is_the_same_network(tmp_path: Path) -> None:
    path = write_vocoder(tmp_path, pc_aug=True, mini_nsf=False, noise_sigma=0.0)
    assert build_vocoder("nsf-hifigan", path, "cpu").can_shift
    assert not build_vocoder("nsf-hifigan", write_vocoder(tmp_path), "cpu").can_shift


def test_half_precision_weights(tmp_path: Path, zero_noise: None) -> None:
    path = write_vocoder(tmp_path)
    mel, f0 = torch.randn(1, 8, 6), torch.full((1, 6), 200.0)
    full = build_vocoder("nsf-hifigan", path, "cpu").infer(mel, f0)
    state = torch.load(path, weights_only=True)["generator"]
    torch.save({"generator": {key: value.half() for key, value in state.items()}}, path)
    half = build_vocoder("nsf-hifigan", path, "cpu")
    assert all(p.dtype == torch.float32 for p in half.generator.parameters())
    assert_close(half.infer(mel, f0), full, max_abs=2e-3)


def test_a_batch_is_the_single_ones(tmp_path: Path, zero_noise: None) -> None:
    vocoder = build_vocoder("nsf-hifigan", write_vocoder(tmp_path), "cpu")
    wav, f0 = 0.1 * torch.randn(3, 640), torch.tensor([[0.0], [110.0], [440.0]]).expand(3, 20)
    together = vocoder.infer(vocoder.extract(wav), f0)
    for i in range(3):
        alone = vocoder.infer(vocoder.extract(wav[i : i + 1]), f0[i : i + 1])
        assert_close(together[i], alone[0], max_abs=1e-6)


def test_a_folder_or_an_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder.*holds neither model nor model.ckpt"):
        build_vocoder("nsf-hifigan", tmp_path, "cpu")
    write_vocoder(tmp_path)
    with pytest.raises(ValueError, match=r"is a folder, not a vocoder's weights: write .*model"):
        build_vocoder("nsf-hifigan", tmp_path, "cpu")
    archive = tmp_path / "nsf_hifigan_20221211.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(ValueError, match="is an archive: unpack it"):
        build_vocoder("nsf-hifigan", archive, "cpu")


def test_what_is_named_is_looked_for_here_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a message about missing files names the ones that were meant."""
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    write_vocoder(Path("mine"))
    assert vocoder_path("mine/model") == Path("mine/model")
    with pytest.raises(ValueError, match=r"mine is a folder, not a vocoder's weights: write mine.model"):
        read_mel_format("mine")
    Path("mine/config.json").unlink()
    assert vocoder_path("mine/model") == Path("mine/model")
    with pytest.raises(FileNotFoundError, match=r"no mine.config.json"):
        read_mel_format("mine/model")
    assert vocoder_path("pretrain/embedded/vocoder/model.ckpt").is_file()  # of the installation


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop_size": 64}, "upsample_rates multiply to 32, but hop_size is 64"),
        ({"upsample_initial_channel": 32}, "does not fit"),
        ({"upsample_rates": None}, "config.json: upsample_rates must be a list of whole numbers"),
        ({"resblock_dilation_sizes": [1]}, "config.json: resblock_dilation_sizes must be a list"),
        ({"upsample_initial_channel": None}, "config.json: upsample_initial_channel must be a whole number"),
        ({"resblock": "3"}, 'config.json: resblock must be "1" or "2"'),
        ({"noise_sigma": "loud"}, "config.json: could not convert string to float: 'loud'"),
        ({"fmax": 9000}, "config.json: fmin 40 and fmax 9000 must rise, up to 8000 Hz"),
    ],
)
def test_config_that_does_not_fit(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_vocoder("nsf-hifigan", write_vocoder(tmp_path, **change), "cpu")


def test_missing_files_and_keys(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="common.pretrained get nsf-hifigan"):
        build_vocoder("nsf-hifigan", tmp_path / "model", "cpu")
    path = write_vocoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in TINY.items() if k != "fmin"}), encoding="utf-8")
    with pytest.raises(
        ValueError, match="config.json: missing fmin, which a vocoder's config.json has: name the weights"
    ):
        build_vocoder("nsf-hifigan", path, "cpu")
    (tmp_path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="belongs beside its weights"):
        build_vocoder("nsf-hifigan", path, "cpu")


def test_file_without_generator(tmp_path: Path) -> None:
    path = write_vocoder(tmp_path)
    torch.save({"model": {}}, path)
    with pytest.raises(ValueError, match="no key 'generator'"):
        build_vocoder("nsf-hifigan", path, "cpu")


def test_weights_that_are_cut_off_or_of_another_network(tmp_path: Path) -> None:
    path = write_vocoder(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged.*: copy or fetch it again"):
        build_vocoder("nsf-hifigan", path, "cpu")
    path.write_bytes(whole)
    (tmp_path / "config.json").write_text(json.dumps(TINY | {"resblock_kernel_sizes": [5]}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"does not fit the model of this config:\n.*shapes differ"):
        build_vocoder("nsf-hifigan", path, "cpu")


def test_release_in_half_precision(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "größe").mkdir()
    path, target = write_vocoder(tmp_path / "größe", pc_aug=True), tmp_path / "released"
    assert release_vocoder.main(["-m", str(path), "-o", str(target)]) == 0
    assert build_vocoder("nsf-hifigan", target / "model.ckpt", "cpu").can_shift
    released = torch.load(target / "model.ckpt", weights_only=True)["generator"]
    assert {value.dtype for value in released.values()} == {torch.float16}
    assert release_vocoder.main(["-m", str(tmp_path / "none"), "-o", str(target)]) == 1
    state = torch.load(path, weights_only=True)
    state["generator"]["conv_pre.bias"][0] = 1e6
    torch.save(state, path)
    assert release_vocoder.main(["-m", str(path), "-o", str(target)]) == 1
    assert "half precision ends at 65504" in capsys.readouterr().err


def test_names() -> None:
    assert list(VOCODERS) == ["nsf-hifigan", "nsf-hifigan-log10", "subtractive"]
    with pytest.raises(ValueError, match="unknown vocoder 'x'"):
        build_vocoder("x", "model")
