"""The vocoder's benchmark on a network that has learnt nothing: it measures, and says so in a table."""

from pathlib import Path

from benchmarks import vocoder
from common import audio
from tests.synthetic import sing
from tests.vdecoder.test_vocoder import write_vocoder


def test_a_row_for_every_shift(tmp_path: Path, capsys) -> None:
    audio.save(tmp_path / "sung.wav", sing(220.0, 1.0), 44100)
    (tmp_path / "val.txt").write_text(f"{tmp_path}/sung.wav\n", encoding="utf-8")
    path = write_vocoder(tmp_path)
    assert vocoder.main([str(tmp_path / "val.txt"), "-m", str(path), "--shift", "3"]) == 0
    header, line, same, shifted = capsys.readouterr().out.splitlines()
    assert len({row.count("|") for row in (header, line, same, shifted)}) == 1
    assert "val (1) | +0" in same and "| +3 |  |  |" in shifted
    assert float(same.split("|")[3]) > 0
