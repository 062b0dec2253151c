"""Which pitch tracker is right when: every predictor on signals whose f0 is known.

    python -m benchmarks.pitch
    python -m benchmarks.pitch --write docs/pitch.md
    python -m benchmarks.pitch --predictors pm crepe --groups creaky song --audio my_songs --json creaky.json

Signals are those of `benchmarks.pitch_signals`, measures those of `benchmarks.pitch_metrics`. Every predictor runs
with the default range of f0 and with the one of --wide. Crepe takes several seconds per second of audio: it runs with
--wide only, on a part of each group (--slow_seconds), and has tables of its own in which the others have the same part.
Speed is in seconds of audio per second of CPU time of one thread, without loading.
"""

import argparse
import json
import logging
import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.pitch_metrics import PitchScore
from benchmarks.pitch_runs import SLOW, Result, Run, build_runs, measure
from benchmarks.pitch_signals import GROUPS, signals
from common.logs import run_script, setup_logging
from modules.f0 import F0_MAX, F0_MIN, F0_PREDICTORS
from scripts.tables import MARKED

logger = logging.getLogger("pitch")

PREDICTORS = tuple(name for name in F0_PREDICTORS if name != "dspitch")  # which draws a pitch of its own
DEFAULT_RANGE, WIDE_RANGE = (F0_MIN, F0_MAX), (40.0, 2000.0)  # Hz
TABLE = "pitch"  # of the marker in the document that --write writes to

Rows = Iterator[Sequence[str]]


def report(result: Result, said: str) -> str:
    """All tables as Markdown; ``said`` is the command that they come from."""
    quick = [run for run in result.runs if run.name not in SLOW]
    slow = [run for run in result.runs if run.name in SLOW]
    parts = [f"`{said}`: {_amount(result, result.everything)}.\n"]
    parts += [f"Not measured: `{name}` ({why}).\n" for name, why in result.absent.items()]
    for f0_range in dict.fromkeys(run.f0_range for run in quick):
        chosen = [run for run in quick if run.f0_range == f0_range]
        parts += [f"**Range: {_label(f0_range)}. Raw pitch accuracy (octave errors), %**\n"]
        parts += [markdown(group_rows(result, chosen, result.everything))]
    if quick:
        parts += ["**Mean over the groups but tones**\n", markdown(measure_rows(result, quick, result.everything))]
    if slow:
        chosen = [run for run in result.runs if run.f0_range == slow[0].f0_range]
        amount, names = _amount(result, result.slow_part), ", ".join(run.name for run in slow)
        parts += [f"**The part that {names} was given: {amount}, range: {_label(slow[0].f0_range)}**\n"]
        parts += [markdown(group_rows(result, chosen, result.slow_part))]
        parts += [markdown(measure_rows(result, chosen, result.slow_part))]
    return "\n".join(parts)


def group_rows(result: Result, runs: Sequence[Run], among: Sequence[int]) -> Rows:
    """A row per group, a column per run: accuracy (octave errors)."""
    yield ["signals", *(f"`{run.name}`" for run in runs)]
    columns = [result.by_group(run, among) for run in runs]
    for group in columns[0] if columns else ():
        cells = [f"{_percent(column[group].accuracy)} ({_percent(column[group].octave_errors)})" for column in columns]
        yield [group, *cells]


def measure_rows(result: Result, runs: Sequence[Run], among: Sequence[int]) -> Rows:
    """A row per run: every measure, averaged over the groups, and the speed."""
    yield [
        *("predictor", "range", "raw pitch accuracy (%)", "octave errors (%)", "median error (cents)"),
        *("missed (%)", "false alarms (%)", "overall accuracy (%)", "times real time"),
    ]
    for run in runs:
        mean = result.by_group(run, among)["mean"]
        pitch = [_percent(mean.accuracy), _percent(mean.octave_errors), _tenths(mean.median_cents)]
        voicing = [_percent(mean.missed), _percent(mean.false_alarms)]
        speed = f"{run.speed:.2f}" if run.speed < 1 else f"{run.speed:.0f}"
        yield [f"`{run.name}`", _label(run.f0_range), *pitch, *voicing, _percent(mean.overall), speed]


def markdown(rows: Rows) -> str:
    header, *body = rows
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, ["---"] * len(header), *body])


def as_json(result: Result) -> dict:
    """Every score of every run: by group, mean, and by signal; null where there is no frame to judge by."""
    found = []
    for run in result.runs:
        among = result.slow_part if run.name in SLOW else result.everything
        groups = {group: _jsonable(each) for group, each in result.by_group(run, among).items()}
        by_signal = [
            {"group": result.signals[i].group, "name": result.signals[i].name} | _jsonable(result.score(run, [i]))
            for i in among
        ]
        about = {"predictor": run.name, "f0_min": run.f0_range[0], "f0_max": run.f0_range[1]}
        found.append(about | {"times_real_time": run.speed, "groups": groups, "signals": by_signal})
    return {"runs": found, "not_measured": result.absent}


def check_place(path: Path) -> str:
    """The text of ``path``, which has a place for the tables.

    Raises:
        ValueError: it has none.
    """
    text = path.read_text(encoding="utf-8")
    if TABLE not in (match[2] for match in MARKED.finditer(text)):
        raise ValueError(f"{path} has no place for the tables: add <!-- table:{TABLE} --> and <!-- /table --> lines")
    return text


def write_tables(path: Path, tables: str) -> None:
    """Put ``tables`` between the markers of ``path``. Raises ValueError as `check_place` does."""
    old = check_place(path)
    new = MARKED.sub(lambda match: f"{match[1]}{tables}{match[3]}" if match[2] == TABLE else match[0], old)
    path.write_text(new, encoding="utf-8", newline="\n")


def _amount(result: Result, among: Sequence[int]) -> str:
    return f"{len(among)} signals, {sum(result.signals[i].seconds for i in among):.0f} s"


def _jsonable(score: PitchScore) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else round(value, 5) for key, value in asdict(score).items()}


def _percent(share: float) -> str:
    return _tenths(100 * share)


def _tenths(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def _label(f0_range: tuple[float, float]) -> str:
    return "default" if f0_range == DEFAULT_RANGE else f"{f0_range[0]:g}–{f0_range[1]:g} Hz"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pitch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--predictors", nargs="+", choices=tuple(F0_PREDICTORS), default=PREDICTORS, metavar="NAME")
    add("--groups", nargs="+", choices=tuple(GROUPS), metavar="GROUP", help=f"default: all of {', '.join(GROUPS)}")
    add("--audio", type=Path, help="folder of recordings whose re-synthesis is measured too")
    add("--wide", nargs=2, type=float, default=WIDE_RANGE, metavar=("F0_MIN", "F0_MAX"), help="the other range, Hz")
    add("--slow_seconds", type=float, default=3.0, help=f"audio per group for {', '.join(SLOW)}, s (default 3)")
    add("--seed", type=int, default=0, help="of melodies, noise and jitter")
    add("--device", default="cpu")
    add("--json", type=Path, help="file for all scores, also of single signals")
    add("--write", type=Path, help=f"Markdown file whose table:{TABLE} is written anew")
    return parser.parse_args(argv)


def command(args: argparse.Namespace) -> str:
    """The command that gives the same tables; folders and files of the caller are not named."""
    said = ["python -m benchmarks.pitch"]
    defaults = vars(parse_args([]))
    for name in ("predictors", "groups", "audio", "wide", "slow_seconds", "seed", "device"):
        value = getattr(args, name)
        if value != defaults[name]:
            words = value if isinstance(value, list) else [value]
            said.append(f"--{name} {' '.join('FOLDER' if name == 'audio' else shlex.quote(str(w)) for w in words)}")
    return " ".join(said)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    torch.set_num_threads(1)
    try:
        if args.write is not None:
            check_place(args.write)
        ranges = list(dict.fromkeys([DEFAULT_RANGE, tuple(args.wide)]))
        runs, absent = build_runs(args.predictors, ranges, args.device)
        found = list(signals(args.seed, args.groups, recordings=args.audio))
        result = measure(found, runs, absent, args.slow_seconds)
    except (ValueError, OSError) as error:
        logger.error("%s", error)
        return 1
    tables = report(result, command(args))
    print(tables)  # noqa: T201  the product
    if args.json is not None:
        args.json.write_text(json.dumps(as_json(result), indent=1), encoding="utf-8")
    if args.write is not None:
        write_tables(args.write, tables)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
