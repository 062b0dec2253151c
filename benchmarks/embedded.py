"""What the small models of the repository are worth: voices are fine-tuned, sing songs, read sentences.

    python -m benchmarks.embedded --recordings dataset_raw --songs raw/*.flac --minutes 4 \
        --speech dataset_raw/lj/00[1-6].flac --texts benchmarks/texts_lj.tsv

Every voice is trained alone, from the base of the preset, for --minutes, by the scripts of the road (demo/road.py), and
sings every song by the refiner alone. --preset small is the encoder cepstral, from nothing. Columns, as in evaluate.py:
f0 of song and result, by Praat and by the tracker `auto` (gross: frames more than 20 % off; fine: RMSE of the others);
likeness of the result to the target and to the song's singer; sound quality. Length: whether the result has as many
samples as the song. Pauses: the loudest 50 ms of the result where the song is 60 dB below its peak for at least 0.3 s,
in dB below the result's peak. The second table is of sentences of one speaker, converted: words that pocketsphinx hears
wrongly, and what the same number is of the recordings.
"""

import argparse
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from common import audio
from common.logs import setup_logging
from demo.road import ROOT, Road
from modules.metrics.words import Recogniser, word_error_rate, words_of
from pipeline.conversion_options import ConversionOptions
from pipeline.evaluation import EvaluationOptions, evaluate_files
from pipeline.inference_arguments import make_parser
from pipeline.measures import BY_KEY, Row

RATE = 44100
WORK = Path("logs/benchmark")
PITCH = ("f0_correlation", "f0_rmse_cents", "gross_pitch_error", "fine_cents")
JUDGES = {"pm": "Praat", "auto": "auto"}
REST = ("to_target", "to_source", "quality")
BASES = {"embedded": Path("pretrain/embedded/refiner")}  # by preset
COMPARED = ("articulation", "timbre_match", "temperature", "sampler", "speedup", "seed", "f0_filter_threshold")
WINDOW, PAUSE_WINDOWS, PAUSE_DB = 2205, 6, -60.0


def pause_level(song: np.ndarray, result: np.ndarray) -> float:
    """Loudest window of the result (T,) inside the pauses of the song (T,), dB below its peak; NaN without pauses."""
    n = min(len(song), len(result)) // WINDOW

    def level(wav: np.ndarray) -> np.ndarray:
        power = np.square(wav[: n * WINDOW]).reshape(n, WINDOW).mean(axis=1)
        return 10 * np.log10(np.maximum(power, 1e-20)) - 20 * np.log10(max(audio.peak(wav), 1e-10))

    quiet = np.pad(level(song) < PAUSE_DB, 1)
    runs = np.flatnonzero(np.diff(quiet.astype(int)))  # beginnings and ends, in turn
    inside = [np.arange(a + 1, b - 1) for a, b in runs.reshape(-1, 2) if b - a >= PAUSE_WINDOWS]
    return float(level(result)[np.concatenate(inside)].max()) if inside else float("nan")


def songs_rows(voice: str, road: Road, songs: list[Path], options: list[str]) -> Iterator[str]:
    """A line per song; ``options`` are further ones of inference_main.py."""
    label = " ".join([voice, *options])
    results = road.convert(songs, [voice], options=options)
    names = [*map(str, songs)], [str(path.absolute()) for path in results]
    by_judge = [
        evaluate_files(*names, EvaluationOptions((road.recordings,), f0_predictor=judge, pictures=False), in_order=True)
        for judge in JUDGES
    ]
    for rows_of_song in zip(*(evaluation.rows for evaluation in by_judge), strict=True):
        first = rows_of_song[0]
        song, result = (audio.load(path, RATE) for path in (first.source, first.conversion))
        cells = [_cell(row, key) for row in rows_of_song for key in PITCH] + [_cell(first, key) for key in REST]
        level = pause_level(song, result)
        cells.append("same" if len(song) == len(result) else f"{len(result) - len(song):+d}")
        cells.append("–" if np.isnan(level) else f"{level:.0f} dB")
        yield f"| {label} | {first.source.stem} | {' | '.join(cells)} |"
    yield from (f"| {label} | {name}: {problem} |" for name, problem in by_judge[0].failed)


def _cell(row: Row, key: str) -> str:
    return BY_KEY[key].text(row.values[key]) if key in row.values else "–"


def word_error(paths: list[Path], texts: list[list[str]], recogniser: Recogniser) -> float:
    """Words heard wrongly, of all of them."""
    wrong = sum(
        len(text) * word_error_rate(text, recogniser.words(audio.load(path, RATE), RATE))
        for path, text in zip(paths, texts, strict=True)
    )
    return wrong / sum(map(len, texts))


def read_texts(table: Path, clips: list[Path]) -> list[list[str]]:
    """Words of the clips FOLDER/NAME, by lines "FOLDER/NAME<TAB>text" of ``table``; ValueError where one is missing."""
    lines = table.read_text(encoding="utf-8").splitlines() if clips else []
    texts = dict(line.split("\t", 1) for line in lines if "\t" in line)
    names = [f"{clip.parent.name}/{clip.stem}" for clip in clips]
    if missing := [name for name in names if name not in texts]:
        raise ValueError(f"{table} has no text of {', '.join(missing)}")
    return [words_of(texts[name]) for name in names]


def alone(voice: str, args: argparse.Namespace) -> Road:
    """A road of this voice's own, with nothing on it that an earlier run left."""
    folder = WORK / args.preset / voice
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(args.recordings / voice, folder / "in" / voice)
    model = f"{folder.relative_to('logs').as_posix()}/model"
    return Road(folder / "in", folder / "work", model, folder / "results", args.preset, BASES.get(args.preset))


def rows(args: argparse.Namespace) -> Iterator[str]:
    """Lines of Markdown."""
    texts = read_texts(args.texts, args.speech)
    pitch = [f"{BY_KEY[key].title}, {judge}" for judge in JUDGES.values() for key in PITCH]
    head = ["voice", "song", *pitch, *(BY_KEY[key].title for key in REST), "length", "pauses"]
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    spoken = []
    for voice in args.voices:
        road = alone(voice, args)
        road.prepare()
        road.train(args.minutes)
        for number, options in enumerate(args.compare):
            here = replace(road, results=road.results / str(number))
            yield from songs_rows(voice, here, args.songs, options)
            if args.speech:
                speaking = replace(here, results=here.results / "speech")
                spoken.append((" ".join([voice, *options]), speaking.convert(args.speech, [voice], options=options)))
    if spoken:
        recogniser = Recogniser()
        yield "\n| voice | word error |\n|---|---|"
        yield f"| the recordings | {word_error(args.speech, texts, recogniser):.1%} |"
        yield from (f"| {voice} | {word_error(results, texts, recogniser):.1%} |" for voice, results in spoken)


def checked(options: str) -> list[str]:
    """Options of inference_main.py, apart; SystemExit or ValueError where they are none, or none to be compared."""
    apart = shlex.split(options)
    asked, default = (vars(make_parser(None).parse_args(given)) for given in (apart, []))
    if others := [name for name in asked if asked[name] != default[name] and name not in COMPARED]:
        raise ValueError(f"cannot compare {', '.join(others)}: only {', '.join(COMPARED)}")
    ConversionOptions(**{name: asked[name] for name in COMPARED})
    return apart


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--recordings", type=Path, required=True, help="one folder of recordings per voice")
    add("--voices", nargs="+", metavar="NAME", help="of these folders; all of them when absent")
    add("--songs", type=Path, nargs="+", required=True)
    add("--minutes", type=float, default=4.0, help="of training, per voice")
    add("--preset", default="embedded", choices=["embedded", "small"], help="small: encoder cepstral, from nothing")
    add("--speech", type=Path, nargs="+", default=[], help="sentences in English, in a folder of the speaker's name")
    add("--texts", type=Path, default=Path("benchmarks/texts_lj.tsv"), help='lines "speaker/clip<TAB>text"')
    add(
        "--compare",
        action="append",
        metavar="OPTIONS",
        help='sing with these of inference_main.py too, such as --compare="-ft 0.1"; may be repeated',
    )
    args = parser.parse_args(argv)
    args.recordings, args.texts = args.recordings.absolute(), args.texts.absolute()
    args.songs, args.speech = ([path.absolute() for path in paths] for paths in (args.songs, args.speech))
    for path in (args.recordings, args.texts, *args.songs, *args.speech):
        if not path.exists():
            parser.error(f"there is no {path}")
    try:
        args.compare = [[], *(checked(options) for options in args.compare or [])]
    except ValueError as error:
        parser.error(f"--compare: {error}")
    folders = sorted(path.name for path in args.recordings.iterdir() if path.is_dir())
    args.voices = args.voices or [name for name in folders if not name.startswith(".")]
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    os.chdir(ROOT)
    setup_logging()
    for row in rows(args):
        print(row, flush=True)  # noqa: T201  the product


if __name__ == "__main__":
    main()
