"""Which checkpoint to keep: every one sings the same songs, and the results are measured and ranked."""

import glob
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from common import audio
from common.failures import reason
from pipeline.batch_conversion import result_name
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.evaluation import SAMPLE_RATE, EvaluationOptions, Evaluator
from pipeline.evaluation_pairs import Pair
from pipeline.measures import Evaluation, Row, Standing, Verdict
from pipeline.rendering import Target
from pipeline.songs import Song, find_songs

logger = logging.getLogger(__name__)

WARM_UP_SECONDS = 1.0  # of song, converted before the clock runs
RULE = (
    "ranks, 1 the best, for voice (similarity to the target minus similarity to the source), melody (share of the"
    " voiced frames more than 50 cents off) and quality (DNSMOS), each a mean over all conversions of the checkpoint;"
    " the lowest mean rank wins, and of equals the one with the better voice, then melody, then quality"
)


@dataclass(frozen=True)
class Criterion:
    """What checkpoints are ranked by: ``value`` of a row, KeyError where that was not measured; lower is better."""

    name: str
    value: Callable[[Row], float]
    text: Callable[[float], str]


CRITERIA = (
    Criterion(
        "voice", lambda row: row.values["to_source"] - row.values["to_target"], lambda value: f"{-value:+.2f} to target"
    ),
    Criterion("melody", lambda row: row.values["off_pitch"], lambda value: f"{value:.1%} off pitch"),
    Criterion("quality", lambda row: -row.values["quality"], lambda value: f"quality {-value:.2f}"),
)


@dataclass(frozen=True)
class CheckpointOptions:
    """Which checkpoints sing what.

    Attributes:
        checkpoints: files and patterns.
        config_path: the config they were trained with; None: config.json beside each.
        songs: names as for inference_main.py.
        speakers: names or ids; none: all of the model.
        transpose: semitones.
        f0_predictor: who hears the songs for the model.
        out_dir: where a folder of conversions is made for each checkpoint.
    """

    checkpoints: list[str]
    config_path: Path | None
    songs: list[str]
    speakers: list[str]
    transpose: float
    f0_predictor: str
    out_dir: Path
    device: str | None = None


def evaluate_checkpoints(options: CheckpointOptions, measured: EvaluationOptions) -> Evaluation:
    """Convert every song with every checkpoint for every speaker, measure the results, and rank the checkpoints.

    A checkpoint or a song that fails never stops the rest, and a checkpoint that lacks a conversion is not ranked.

    Raises:
        FileNotFoundError: no checkpoint, or as `Evaluator`.
        ValueError: as `Evaluator`.
    """
    songs, failed = find_songs(options.songs, Path("raw"))
    checkpoints = find_checkpoints(options.checkpoints)
    evaluation, evaluator = Evaluation(failed=failed), Evaluator(measured)
    for label, path in checkpoints.items():
        try:
            converter = Converter(path, options.config_path or path.with_name("config.json"), device=options.device)
            voice = converter.voice
            speakers = {voice.speaker_id(speaker): None for speaker in options.speakers or voice.speakers}
        except (ValueError, OSError) as error:
            evaluation.failed.append((label, reason(error, str(path))))
            continue
        logger.info("%s sings %s", label, ", ".join(song.name for song in songs))
        for song, speaker_id in product(songs, speakers):
            try:
                row = _convert_and_measure(converter, evaluator, label, song, speaker_id=speaker_id, options=options)
                evaluation.rows.append(row)
            except Exception as error:  # the boundary of the batch job: reported per conversion
                item = f"{label}, {song.path}, {voice.speaker_name(speaker_id)}"
                evaluation.failed.append((item, reason(error, str(song.path))))
    if len(checkpoints) > 1 and evaluation.rows:
        _judge(evaluation)
    return evaluation


def _judge(evaluation: Evaluation) -> None:
    """Rank the checkpoints of the rows, and report those that cannot be; what was measured stays in any case."""
    try:
        evaluation.verdict = rank(evaluation.rows)
    except ValueError as error:
        evaluation.failed.append(("no verdict", reason(error)))
        return
    ranked = {standing.checkpoint for standing in evaluation.verdict.standings}
    left_out = {str(row.checkpoint) for row in evaluation.rows} - ranked
    evaluation.failed += [(label, "not ranked: conversions of it are missing") for label in sorted(left_out)]


def _convert_and_measure(  # noqa: PLR0913  one conversion and where it belongs
    converter: Converter, evaluator: Evaluator, label: str, song: Song, *, speaker_id: int, options: CheckpointOptions
) -> Row:
    rate = converter.sample_rate
    wav = audio.load(song.path, rate)
    how = ConversionOptions(speaker=speaker_id, transpose=options.transpose, f0_predictor=options.f0_predictor)
    converter.convert(wav[: round(WARM_UP_SECONDS * rate)], how)  # what is built once is not the song's time
    started = time.perf_counter()
    result = converter.convert(wav, how)
    factor = (time.perf_counter() - started) * rate / len(wav)
    name = result_name(converter, song.name, Target(speaker_id, options.transpose), options=how)
    folder = re.sub(r'[<>:"/\\|?*]', "_", label)  # no file name holds these
    path = options.out_dir / "conversions" / folder / f"{name}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.save(path, result, rate)
    pair = Pair(song.path, path, converter.voice.speaker_name(speaker_id), options.transpose)
    row = evaluator.measure(pair, audio.resample(result, rate, SAMPLE_RATE), checkpoint=label)
    row.values["real_time_factor"] = factor
    del row.missing["real_time_factor"]
    return row


def find_checkpoints(names: Sequence[str]) -> dict[str, Path]:
    """Files that names and patterns mean, each with what it is called; numbers in names count as numbers.

    Discriminators (D_<step>.pth) are passed over.

    Raises:
        FileNotFoundError: a name that means no file.
    """
    paths: dict[Path, None] = {}
    for name in names:
        found = [Path(name)] if Path(name).is_file() else [Path(each) for each in glob.glob(name, recursive=True)]
        models = [path for path in found if path.is_file() and not path.name.startswith("D_")]
        if not models:
            raise FileNotFoundError(f"--checkpoints {name}: no such model")
        paths |= dict.fromkeys(models)
    ordered = sorted(paths, key=_natural)
    stems = [path.stem for path in ordered]
    return {path.stem if stems.count(path.stem) == 1 else path.as_posix(): path for path in ordered}


def rank(rows: Sequence[Row]) -> Verdict:
    """The verdict on the checkpoints of ``rows``, by the criteria that could be measured.

    A checkpoint of which one cannot be measured, while it can of others (nothing it made is voiced), is the last there.

    Raises:
        ValueError: none could be.
    """
    by_checkpoint: dict[str, list[Row]] = {}
    for row in rows:
        by_checkpoint.setdefault(str(row.checkpoint), []).append(row)
    most = max(map(len, by_checkpoint.values()))
    complete = {label: found for label, found in by_checkpoint.items() if len(found) == most}
    means = {label: {c.name: _mean(found, c) for c in CRITERIA} for label, found in complete.items()}
    used = [c for c in CRITERIA if any(np.isfinite(values[c.name]) for values in means.values())]
    if not used:
        raise ValueError("nothing that checkpoints are ranked by was measured for any of them")
    ranks = {c.name: _ranks({label: values[c.name] for label, values in means.items()}) for c in used}
    standings = [
        Standing(
            label,
            {c.name: c.text(values[c.name]) if np.isfinite(values[c.name]) else f"no {c.name}" for c in used},
            {name: by_label[label] for name, by_label in ranks.items()},
            float(np.mean([by_label[label] for by_label in ranks.values()])),
        )
        for label, values in means.items()
    ]
    standings.sort(key=lambda standing: (standing.mean_rank, *means[standing.checkpoint].values()))
    unused = [criterion.name for criterion in CRITERIA if criterion not in used]
    rule = RULE + (f"; not measured, so without effect: {', '.join(unused)}" if unused else "")
    return Verdict(standings, rule, _why(standings))


def _why(standings: Sequence[Standing]) -> str:
    first = standings[0]
    places = ", ".join(f"{name} {place:g}" for name, place in first.ranks.items())
    text = f"keep {first.checkpoint}: mean rank {first.mean_rank:.2f} ({places}); {', '.join(first.criteria.values())}"
    if len(standings) > 1 and standings[1].mean_rank == first.mean_rank:
        text += f"; {standings[1].checkpoint} has the same mean rank: listen to both"
    return text


def _ranks(values: dict[str, float]) -> dict[str, float]:
    """1 for the lowest; equals share the mean of their places."""
    ordered = sorted(values.values())
    return {label: ordered.index(value) + (ordered.count(value) + 1) / 2 for label, value in values.items()}


def _mean(rows: Sequence[Row], criterion: Criterion) -> float:
    """Over all rows; infinite where one of them has no such value."""
    try:
        return float(np.mean([criterion.value(row) for row in rows]))
    except KeyError:
        return float("inf")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Orders G_800 before G_1000."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
