"""Ranks of made-up rows, and which files a pattern means."""

from pathlib import Path

import pytest

from pipeline.checkpoint_ranking import find_checkpoints, rank
from pipeline.measures import Row


def row(checkpoint: str, **values: float) -> Row:
    return Row(Path("song.wav"), Path("x.flac"), "anna", 0.0, checkpoint, values=values)


def measured(checkpoint: str, to_target: float, to_source: float, off_pitch: float, quality: float) -> Row:
    return row(checkpoint, to_target=to_target, to_source=to_source, off_pitch=off_pitch, quality=quality)


def test_the_lowest_mean_rank_wins():
    verdict = rank(
        [
            measured("G_1", 0.5, 0.7, 0.30, 3.5),  # voice 3, melody 3, quality 1
            measured("G_2", 0.8, 0.5, 0.10, 3.0),  # voice 1, melody 2, quality 2
            measured("G_3", 0.7, 0.6, 0.05, 2.0),  # voice 2, melody 1, quality 3
        ]
    )
    assert [standing.checkpoint for standing in verdict.standings] == ["G_2", "G_3", "G_1"]
    assert verdict.standings[0].ranks == {"voice": 1, "melody": 2, "quality": 2}
    assert [standing.mean_rank for standing in verdict.standings] == pytest.approx([5 / 3, 2, 7 / 3])
    assert verdict.reason == (
        "keep G_2: mean rank 1.67 (voice 1, melody 2, quality 2); +0.30 to target, 10.0% off pitch, quality 3.00"
    )
    assert "without effect" not in verdict.rule


def test_values_are_means_over_the_conversions():
    rows = [measured("G_1", 0.9, 0.1, 0.0, 1), measured("G_1", 0.1, 0.9, 0.2, 3), measured("G_2", 0.6, 0.5, 0.05, 1)]
    verdict = rank([*rows, measured("G_2", 0.6, 0.5, 0.05, 1)])
    assert verdict.standings[-1].ranks == {"voice": 2, "melody": 2, "quality": 1}
    assert verdict.standings[-1].criteria["melody"] == "10.0% off pitch"


def test_equals_share_a_rank_and_the_better_voice_wins():
    verdict = rank([measured("G_1", 0.5, 0.5, 0.1, 3.0), measured("G_2", 0.6, 0.5, 0.2, 3.0)])
    assert verdict.standings[0].checkpoint == "G_2"
    assert verdict.standings[0].ranks == {"voice": 1, "melody": 2, "quality": 1.5}
    assert verdict.reason.endswith("G_1 has the same mean rank: listen to both")


def test_what_was_not_measured_has_no_effect():
    verdict = rank([row("G_1", off_pitch=0.2), row("G_2", off_pitch=0.1)])
    assert verdict.standings[0].checkpoint == "G_2"
    assert verdict.standings[0].ranks == {"melody": 1}
    assert verdict.rule.endswith("not measured, so without effect: voice, quality")
    with pytest.raises(ValueError, match="nothing that checkpoints are ranked by was measured"):
        rank([row("G_1"), row("G_2")])


def test_a_checkpoint_of_which_something_cannot_be_measured_is_last_there():
    """One whose output has no voiced frame must not take the melody out of the comparison of the others."""
    verdict = rank(
        [row("G_1", quality=5.0), row("G_2", off_pitch=0.1, quality=3.0), row("G_3", off_pitch=0.2, quality=4)]
    )
    by_label = {standing.checkpoint: standing for standing in verdict.standings}
    assert by_label["G_1"].ranks == {"melody": 3, "quality": 1}
    assert by_label["G_1"].criteria["melody"] == "no melody"
    assert by_label["G_2"].ranks == {"melody": 1, "quality": 3}


def test_a_checkpoint_that_lacks_a_conversion_is_not_ranked():
    rows = [measured("G_1", 0.5, 0.5, 0.1, 3.0)] * 2 + [measured("G_2", 0.9, 0.1, 0.0, 5.0)]
    assert [standing.checkpoint for standing in rank(rows).standings] == ["G_1"]


def test_patterns_mean_models_in_the_order_of_their_steps(tmp_path):
    for name in ("a/G_1000.pth", "a/G_800.pth", "a/D_800.pth", "b/G_800.pth", "b/G_9.pth"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_checkpoints([str(tmp_path / "a/*.pth"), str(tmp_path / "a/G_800.pth")])
    assert list(found) == ["G_800", "G_1000"]
    both = find_checkpoints([str(tmp_path / "*/G_*.pth")])
    assert list(both) == [
        (tmp_path / "a/G_800").as_posix() + ".pth",
        "G_1000",
        "G_9",
        (tmp_path / "b/G_800.pth").as_posix(),
    ]
    with pytest.raises(FileNotFoundError, match="G_7"):
        find_checkpoints([str(tmp_path / "a/G_7*.pth")])
