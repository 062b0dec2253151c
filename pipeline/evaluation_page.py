"""An evaluation as one HTML page that needs nothing besides: tables, pictures, players."""

import base64
import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from common.formats import write_json, write_text
from pipeline.evaluation import EvaluationOptions
from pipeline.evaluation_table import Grid, as_dict, tabulate, tabulate_verdict
from pipeline.measures import MEASURES, Evaluation, Row

NUMBERS, PAGE = "evaluation.json", "evaluation.html"
# What browsers play; other formats are linked, and the browser asks what to do with them.
MEDIA_TYPES = {
    **{".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg"},
    **{".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg"},
}
STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 80em; padding: 0 1em }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #8886; padding: .3em .6em; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; background: white }
audio { vertical-align: middle; width: 22em; max-width: 100% }
.players { display: flex; flex-wrap: wrap; gap: .5em 2em }
.verdict { font-weight: bold }
.failed { color: #c33 }
"""


def write_report(
    folder: Path, evaluation: Evaluation, options: EvaluationOptions, *, embed_audio: bool = False
) -> list[Path]:
    """Write evaluation.json and evaluation.html; returns their paths.

    Raises:
        OSError: a file cannot be written, or audio to embed cannot be read.
        ValueError: a name is not valid text.
    """
    write_json(folder / NUMBERS, as_dict(evaluation, options))
    write_text(folder / PAGE, page(evaluation, folder, embed_audio=embed_audio))
    return [folder / NUMBERS, folder / PAGE]


def page(evaluation: Evaluation, folder: Path, *, embed_audio: bool) -> str:
    """The HTML of a page that will lie in ``folder``; audio is linked relative to it, or contained."""
    parts = ["<h1>Evaluation</h1>"]
    if evaluation.verdict:
        verdict = evaluation.verdict
        parts += [f'<p class="verdict">{escape(verdict.reason)}</p>', _table(tabulate_verdict(verdict))]
        parts.append(f"<p>The rule: {escape(verdict.rule)}.</p>")
    if evaluation.rows:
        grid = tabulate(evaluation.rows)
        notes = "".join(f"<li>{escape(note)}</li>" for note in grid.notes)
        meanings = "".join(f"<dt>{escape(m.title)}</dt><dd>{escape(m.meaning)}</dd>" for m in MEASURES)
        parts += [_table(grid), f"<ol>{notes}</ol>" if notes else ""]
        parts.append(f"<details><summary>What the columns mean</summary><dl>{meanings}</dl></details>")
    if evaluation.failed:
        items = "".join(f"<li>{escape(item)}: {escape(reason)}</li>" for item, reason in evaluation.failed)
        parts.append(f'<h2>Not evaluated</h2><ul class="failed">{items}</ul>')
    parts += [_section(row, folder, embed_audio=embed_audio) for row in evaluation.rows]
    head = f'<meta charset="utf-8"><title>Evaluation</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _table(grid: Grid) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in grid.head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in grid.rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{lines}</tbody></table></div>'


def _section(row: Row, folder: Path, *, embed_audio: bool) -> str:
    players = "".join(
        f"<p>{label}<br>{_player(path, folder, embed_audio=embed_audio)}</p>"
        for label, path in (("source", row.source), ("result", row.conversion))
    )
    remarks = "".join(f"<p>{escape(remark)}</p>" for remark in row.remarks)
    picture = ""
    if row.picture:
        data = base64.b64encode(row.picture).decode()
        picture = f'<img alt="spectrograms and melodies of source and result" src="data:image/png;base64,{data}">'
    return f'<h2>{escape(row.name)}</h2>{remarks}<div class="players">{players}</div>{picture}'


def _player(path: Path, folder: Path, *, embed_audio: bool) -> str:
    kind = MEDIA_TYPES.get(path.suffix.lower())
    if embed_audio and kind:
        address = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    else:
        address = _address(path, folder)
    if kind is None:
        return f'<a href="{escape(address)}">{escape(path.name)}</a>'
    return f'<audio controls preload="none" src="{escape(address)}"></audio> {escape(path.name)}'


def _address(path: Path, folder: Path) -> str:
    """Relative to ``folder``, or absolute where there is no way from one to the other (drives of Windows)."""
    try:
        relative = Path(os.path.relpath(path.resolve(), folder.resolve()))
    except ValueError:
        return path.resolve().as_uri()
    return quote(relative.as_posix())
