"""The ranges of the singers, and what is advised when a song lies elsewhere."""

import numpy as np
import pytest

from pipeline.pitch_range import PitchRange
from pipeline.speakers import FILE, advise, dataset_pitch_ranges, read_pitch_ranges, write_pitch_ranges


def around(median: float) -> PitchRange:
    return PitchRange(median * 0.75, median, median * 1.33)


def test_ranges_of_a_dataset(tmp_path):
    for name, hz in (("anna/1", 200.0), ("anna/2", 300.0), ("bob/1", 100.0), ("mute/1", 0.0)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        f0 = np.stack([np.full(50, hz), np.full(50, float(hz > 0))]).astype(np.float32)
        f0[:, :5] = [[999.0], [0.0]]  # unvoiced frames do not count
        np.save(tmp_path / f"{name}.wav.f0.npy", f0)
    clips = [tmp_path / f"{name}.wav" for name in ("bob/1", "anna/1", "anna/2", "mute/1")]
    ranges = dataset_pitch_ranges(clips)
    assert ranges == {"anna": PitchRange(200.0, 250.0, 300.0), "bob": PitchRange(100.0, 100.0, 100.0)}
    write_pitch_ranges(tmp_path, ranges)
    assert read_pitch_ranges(tmp_path) == ranges


def test_models_of_other_tools_have_no_ranges(tmp_path, caplog):
    assert read_pitch_ranges(tmp_path) == {} and not caplog.text
    (tmp_path / FILE).write_text('{"pitch": {"anna": [1]}}')
    assert read_pitch_ranges(tmp_path) == {} and "damaged" in caplog.text


@pytest.mark.parametrize(
    ("song", "target", "transpose", "expected"),
    [
        (220.0, 220.0, 0, None),
        (220.0, 250.0, 0, None),
        (110.0, 220.0, 12, None),
        (110.0, 220.0, 0, "try -t 12"),
        (110.0, 185.0, 0, "try -t 9, or -t 12 to stay in the key of the accompaniment"),
        (220.0, 220.0, 12, "try -t 0"),
        (440.0, 110.0, 0, "try -t -24"),
    ],
)
def test_advice(song, target, transpose, expected):
    advice = advise(around(song), around(target), transpose)
    assert advice == (expected and f"the ranges do not meet: {expected}")
