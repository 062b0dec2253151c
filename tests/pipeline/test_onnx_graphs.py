"""The other networks as files: encoders that load as our own, a vocoder, a pitch tracker, the graphs of diffusion."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import onnx_export
from diffusion.samplers.pndm import PNDM
from modules.f0.nets.rmvpe import Rmvpe
from modules.f0.rmvpe import RmvpePredictor
from modules.mel_processing import dft_kernels, stft_power, stft_power_by_convolution
from pipeline import moe_voice_studio
from pipeline.onnx_diffusion import diffusion_graphs
from pipeline.onnx_export import ExportOptions, export
from pipeline.onnx_files import write_graph
from pipeline.onnx_graphs import PHASES, SOURCE_NOISE, encoder_graph, rmvpe_graph
from tests.diffusion import tiny
from tests.parity import Case, assert_close
from tests.pipeline.onnx_projects import run_without_torch, write_project
from tests.vdecoder.test_vocoder import write_vocoder
from tests.vencoder import test_cnhubertlarge, test_dphubert, test_hubert, test_wavlm
from tests.vencoder.small_files import CPU, saved
from vdecoder import build_vocoder
from vencoder.hubert import HubertEncoder
from vencoder.hubertsoft import HubertSoft
from vencoder.onnx import OnnxEncoder


def soft(tmp_path: Path) -> HubertEncoder:
    """HuBERT-soft's way of padding around a small network."""
    encoder = test_hubert.tiny(layer=1, project=True)
    encoder.padding = HubertSoft.padding
    return encoder


ENCODERS: dict[str, Any] = {
    "ContentVec": lambda path: test_hubert.tiny(),
    "ContentVec, projected": lambda path: test_hubert.tiny(layer=1, project=True),
    "HuBERT-soft": soft,
    "Chinese HuBERT": lambda path: test_cnhubertlarge.built(path, {"args": None, "model": test_cnhubertlarge.state()}),
    "DPHuBERT": lambda path: test_dphubert.built(path, test_dphubert.state(), test_dphubert.config()),
    "WavLM": lambda path: test_wavlm.built(path, *test_wavlm.post_norm()),
    "WavLM, normalized": lambda path: test_wavlm.built(path, test_wavlm.state(), test_wavlm.config()),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_exported_encoders_load_as_our_own(tmp_path: Path, name: str) -> None:
    encoder, path = ENCODERS[name](tmp_path), tmp_path / "encoder.onnx"
    write_graph(encoder_graph(encoder), path, properties={})
    again = OnnxEncoder(path, CPU, dim=encoder.dim, padding=encoder.padding)
    assert (again.input, again.output) == ("source", "embed")
    wavs = [0.1 * torch.randn(n) for n in (16000, 5000, 27777)]
    for one, other in zip(again.encode_batch(wavs), encoder.encode_batch(wavs), strict=True):
        assert_close(one, other, max_abs=1e-4)
    alone = run_without_torch(path, {"source": wavs[1][None, None]})[0]
    assert_close(alone[0].T, encoder.encode(wavs[1]), max_abs=1e-4)


def test_the_encoder_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, speech_encoder="vec256l9", ssl_dim=256)
    weights = Case("contentvec_files").folder / "contentvec_tiny.pt"
    tiny_encoder = test_hubert.tiny(layer=1, project=True)
    monkeypatch.setattr("vencoder.build", lambda name, device, path: tiny_encoder if path == weights else None)
    export(ExportOptions("alice", what="encoder", model=weights))
    assert Path("checkpoints/alice/vec-256-layer-9.onnx").is_file()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("vec768l12", "vec-768-layer-12"),
        ("vec768l12-onnx", "vec-768-layer-12"),
        ("vec768l9-onnx", "vec-768-layer-9"),
        ("hubertsoft", "hubert-soft"),
        ("dphubert", "dphubert"),
        ("cepstral", None),
        ("embedded", None),
        ("whisper-ppg", None),
    ],
)
def test_what_the_file_of_an_encoder_is_called(name: str, file: str | None) -> None:
    assert moe_voice_studio.encoder_file(name) == file


def test_the_vocoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = write_vocoder(tmp_path)
    assert onnx_export.main(["-n", "alice", "--what", "vocoder", "-m", str(weights)]) == 0
    vocoder, path = build_vocoder("nsf-hifigan", weights, "cpu"), Path("checkpoints/alice/nsf_hifigan.onnx")
    mel, f0 = torch.randn(1, 8, 30) - 5, torch.full((1, 30), 200.0)
    f0[:, 10:15] = 0
    generator = torch.Generator().manual_seed(52468)
    expected = vocoder.infer(mel, f0, generator=generator)
    inputs = {"c": mel, "f0": f0}
    silent = {PHASES: torch.zeros(1, 9), SOURCE_NOISE: torch.zeros(1, 1, 1)}
    by_default, zeroed = run_without_torch(path, inputs, inputs | silent)
    assert_close(by_default[0], expected, max_abs=1e-5)
    assert np.abs(by_default - zeroed).max() > 1e-4


def test_a_short_time_spectrum_by_convolution() -> None:
    wav = torch.randn(2, 3000)
    power = stft_power_by_convolution(wav, dft_kernels(256), 100)
    assert_close(power, stft_power(wav, 256, 100, center=True), max_abs=1e-2, mean_abs=1e-4)


@pytest.mark.slow
def test_rmvpe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("rmvpe")
    network = Rmvpe().eval()
    network.load_state_dict(case.recipe())
    monkeypatch.setattr("modules.f0.rmvpe.load_network", lambda path: network)
    predictor = RmvpePredictor(device="cpu", weights=saved(tmp_path / "rmvpe.pt", {}))
    write_graph(rmvpe_graph(predictor), tmp_path / "RMVPE.onnx", properties={})
    wav = case.arrays()["wav16"].astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "RMVPE.onnx")
    reading = predictor.hear(wav)
    for threshold in (0.0, float(np.median(reading.confidence))):
        f0, uv = session.run(["f0", "uv"], {"waveform": wav[None], "threshold": np.float32([threshold])})
        # a frame whose best bins, or whose confidence and the threshold, are as good as equal may fall either way
        differ = np.abs(f0[0] - reading.voiced(threshold)) > 0.1
        assert differ.mean() < 0.02 and (uv == (f0 == 0)).all()


def exported_diffusion(tmp_path: Path, **changes: Any) -> tuple[Any, dict[str, onnxruntime.InferenceSession]]:
    model, sessions = tiny.model(**changes), {}
    for name, graph in diffusion_graphs(model, n_mels=8).items():
        write_graph(graph, tmp_path / f"{name}.onnx", properties={})
        sessions[name] = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
    return model, sessions


def give(session: onnxruntime.InferenceSession, **inputs: Any) -> np.ndarray:
    return session.run(None, {name: np.asarray(value) for name, value in inputs.items()})[0]


@pytest.mark.parametrize("n_speakers", [1, 3])
def test_the_graphs_of_diffusion_walk_as_pndm_does(tmp_path: Path, n_speakers: int) -> None:
    """As MoeVoiceStudio does it, compared with our own sampler; spk_mix is an input even of one voice."""
    model, graphs = exported_diffusion(tmp_path, n_spk=n_speakers)
    (units, f0, volume), _ = tiny.inputs()
    weights, n_frames = torch.rand(20, n_speakers).softmax(dim=1), units.size(1)
    noise = torch.randn(1, 1, 8, n_frames)
    plan = model.plan(method="pndm", speedup=100, k_step=None, shallow=False)
    condition = model.condition(units, f0, volume, spk_id=weights).detach()
    expected = model.infer(condition, plan, draw=lambda like: noise)

    mel2ph = np.arange(1, n_frames + 1)[None]
    cond = give(graphs["encoder"], hubert=units, mel2ph=mel2ph, f0=f0[..., 0], volume=volume[..., 0], spk_mix=weights)
    assert_close(cond, condition.transpose(1, 2), max_abs=1e-5)

    def network(x: torch.Tensor, step: float) -> torch.Tensor:
        return torch.from_numpy(give(graphs["denoise"], noise=x, time=[int(step)], condition=cond))

    def follow(x: torch.Tensor, predicted: torch.Tensor, now: Any, then: Any) -> torch.Tensor:
        steps = {"time": [int(now.step)], "time_prev": [int(then.step)]}
        return torch.from_numpy(give(graphs["pred"], noise=x, noise_pred=predicted, **steps))

    assert isinstance(plan.sampler, PNDM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusion.samplers.pndm.follow_noise", follow)
        x = plan.sampler.sample(network, noise, model.decoder.schedule)
    assert_close(give(graphs["after"], x=x), expected.transpose(1, 2), max_abs=1e-3)


def test_rectified_flow_is_not_exported() -> None:
    with pytest.raises(
        ValueError, match="rectified flow .* is not exported: MoeVoiceStudio walks it with other graphs"
    ):
        diffusion_graphs(tiny.model(model_type="RectifiedFlow"), n_mels=8)


def test_a_diffusion_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "checkpoints/alice"
    folder.mkdir(parents=True)
    (folder / "model.pt").touch()
    (folder / "config.yaml").touch()
    monkeypatch.setattr("pipeline.onnx_export.load_unit2mel", lambda *_: tiny.model(out_dims=128))
    assert onnx_export.main(["-n", "alice", "--what", "diffusion"]) == 0
    written = sorted(path.name for path in folder.glob("*.onnx"))
    assert written == [f"alice_{name}.onnx" for name in ("after", "denoise", "encoder", "pred")]
