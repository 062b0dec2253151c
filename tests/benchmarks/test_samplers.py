"""The benchmark of samplers, on a network that means nothing: what its columns must be whatever the network."""

import math
from pathlib import Path

import pytest

from benchmarks import samplers
from common import audio
from tests.pipeline.tiny_diffusion import write_diffusion, write_vocoder
from tests.pipeline.tiny_model import SAMPLE_RATE, sung, write_model


def rows(text: str) -> dict[str, list[float]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: [float(cell.replace("–", "nan")) for cell in row[1:]] for row in cells if row[1][:1].isdigit()}


@pytest.mark.parametrize("kind", ["Diffusion", "RectifiedFlow"])
def test_more_steps_come_nearer(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    model, config = write_model(tmp_path)
    vocoder = write_vocoder(tmp_path / "vocoder")
    method = {"Diffusion": "unipc", "RectifiedFlow": "euler"}[kind]
    sections = {"model": {"type": kind, "timesteps": 200}, "infer": {"method": method}}
    diffusion = write_diffusion(tmp_path / "diffusion", vocoder=vocoder, sections=sections)
    audio.save(tmp_path / "song.wav", sung(1.0), SAMPLE_RATE)
    samplers.main(
        [
            *("-dm", str(diffusion[0]), "-dc", str(diffusion[1]), "-m", str(model), "-c", str(config), "-d", "cpu"),
            *("-s", "anna", "--songs", str(tmp_path / "song.wav"), "--seconds", "0.5", "-f0p", "dio", "-ks", "60"),
        ]
    )
    shallow, alone = capsys.readouterr().out.split("diffusion alone")
    assert "shallow diffusion, 60 steps, 0 s of audio" in shallow
    for found in (rows(shallow), rows(alone)):
        fine = next(row for name, row in found.items() if name.startswith("fine"))
        assert fine[3] == 0
        name, unit = ("ddim", 5) if kind == "Diffusion" else ("euler", 5)
        steps = {n: row for n, row in found.items() if n.startswith(name)}
        assert len(steps) > 1
        few, many = list(steps.values())[-1], next(iter(steps.values()))
        assert many[0] > few[0] and many[3] < few[3]
        assert all(row[1] >= row[2] > 0 for row in found.values())
        if kind == "Diffusion":
            assert found["naive"][4] == 0 < found["naive, another seed"][4]
        else:
            assert all(math.isnan(row[4]) for row in found.values())
