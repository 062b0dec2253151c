"""An evaluation as a table of text, and as what evaluation.json holds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.evaluation import EvaluationOptions
from pipeline.measures import FORMAT, MEASURES, Evaluation, Row, Verdict

ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
NOT_MEASURED = "–"


@dataclass(frozen=True)
class Grid:
    """Cells of text, and the notes whose numbers stand in them."""

    head: list[str]
    rows: list[list[str]]
    notes: list[str]


def tabulate(rows: Sequence[Row]) -> Grid:
    """One line per row, one column per measure, and the means below where several rows are of one model.

    What was not measured is a dash with the number of the reason.
    """
    reasons: dict[str, int] = {}

    def cell(row: Row, key: str, text: str | None) -> str:
        if text is not None:
            return text
        why = row.missing[key]
        return f"{NOT_MEASURED} [{reasons.setdefault(why, len(reasons) + 1)}]"

    lines = []
    for row in rows:
        texts = {each.key: each.text(row.values[each.key]) if each.key in row.values else None for each in MEASURES}
        remarks = "".join(f" [{reasons.setdefault(remark, len(reasons) + 1)}]" for remark in row.remarks)
        lines.append([row.name + remarks, *(cell(row, key, text) for key, text in texts.items())])
    if len(rows) > 1 and len({row.checkpoint for row in rows}) == 1:
        lines.append(["mean", *_means(rows)])
    head = ["conversion", *(f"{measure.title}{ARROWS[measure.better]}" for measure in MEASURES)]
    return Grid(head, lines, list(reasons))


def tabulate_verdict(verdict: Verdict) -> Grid:
    """The checkpoints, best first, with their ranks."""
    names = list(verdict.standings[0].ranks)
    rows = [
        [each.checkpoint, *(f"{each.criteria[name]} ({each.ranks[name]:g})" for name in names), f"{each.mean_rank:.2f}"]
        for each in verdict.standings
    ]
    return Grid(["checkpoint", *(f"{name} (rank)" for name in names), "mean rank"], rows, [])


def as_text(evaluation: Evaluation) -> str:
    """Everything that can be said without pictures, in Markdown."""
    parts = []
    if evaluation.rows:
        grid = tabulate(evaluation.rows)
        parts.append(_markdown(grid))
        if grid.notes:
            parts.append("\n".join(f"[{number}] {note}" for number, note in enumerate(grid.notes, start=1)))
        parts.append("↑ more is better, ↓ less is\n" + "\n".join(f"{m.title}: {m.meaning}" for m in MEASURES))
    if evaluation.verdict:
        verdict = evaluation.verdict
        parts += [_markdown(tabulate_verdict(verdict)), f"**{verdict.reason}**", f"The rule: {verdict.rule}."]
    return "\n\n".join(parts)


def as_dict(evaluation: Evaluation, options: EvaluationOptions) -> dict[str, Any]:
    """The content of evaluation.json; ``options`` say how it was measured."""
    settings = {
        "f0_predictor": options.f0_predictor,
        "targets": [path.as_posix() for path in options.targets],
        "references": options.references.as_posix() if options.references else None,
        "transcripts": options.transcripts,
        "warp": options.warp,
    }
    return {
        "format": FORMAT,
        "settings": settings,
        "measures": {m.key: {"title": m.title, "better": m.better, "meaning": m.meaning} for m in MEASURES},
        "rows": [row.as_dict() for row in evaluation.rows],
        "failed": [{"item": item, "reason": reason} for item, reason in evaluation.failed],
        "verdict": asdict(evaluation.verdict) if evaluation.verdict else None,
    }


def _means(rows: Sequence[Row]) -> list[str]:
    """Of each measure, over the rows that have it."""
    found = [(measure, [row.values[measure.key] for row in rows if measure.key in row.values]) for measure in MEASURES]
    return [measure.text(float(np.mean(values))) if values else NOT_MEASURED for measure, values in found]


def _markdown(grid: Grid) -> str:
    lines = [grid.head, ["---"] * len(grid.head), *grid.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
