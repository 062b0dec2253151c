"""The whole road on a small sample of real recordings: `make demo`, or `python -m demo.run`.

A speaking voice (LJ Speech) becomes the singer of a Japanese traditional, through the very commands of the README and
starting from the small models of the repository. What is made along the way goes to demo/work and logs/demo, so that no
file of yours is touched; each run trains anew. DEMO_MINUTES sets for how long (default 3). With --recordings and
--songs it takes yours instead.
"""

import argparse
import logging
import os
import shutil
import time
from pathlib import Path

from common import audio
from common.logs import run_script, setup_logging
from demo.road import ROOT, Road
from pipeline.comparison_picture import draw_comparison
from pipeline.evaluation import EvaluationOptions, evaluate_files
from pipeline.evaluation_table import as_text
from pipeline.measures import Evaluation
from pipeline.pitch_comparison import track_pitch

logger = logging.getLogger("demo")

SONG = ROOT / "demo/raw/antagata_male_96k_stereo.flac"
WORK, PICTURE = Path("demo/work"), Path("results/demo.png")
SAMPLE_RATE = 44100
JUDGE = "pm"  # independent of the networks that convert
LEAST_CORRELATION = 0.9  # of f0, on frames voiced in both


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--recordings", type=Path, default=ROOT / "demo/dataset_raw", help="one folder per singer")
    add("--songs", type=Path, nargs="+", default=[SONG], help="files of what they shall sing")
    add("-t", "--trans", type=int, default=0, help="semitones to transpose")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    recordings, songs = args.recordings.absolute(), [song.absolute() for song in args.songs]
    minutes = os.environ.get("DEMO_MINUTES", "3")
    os.chdir(ROOT)
    if problem := find_problem(recordings, songs, minutes):
        logger.error("%s", problem)
        return 1
    started = time.monotonic()
    for folder in (WORK, Path("logs/demo")):
        shutil.rmtree(folder, ignore_errors=True)
    road = Road(recordings, WORK, "demo")
    road.prepare()
    road.train(float(minutes))
    results = road.convert(songs, road.singers, transpose=args.trans)
    seconds = time.monotonic() - started
    sung = {"source": audio.load(songs[0], SAMPLE_RATE), "result": audio.load(results[0], SAMPLE_RATE)}
    pictures = {name: (wav, track_pitch(wav, SAMPLE_RATE, predictor=JUDGE)) for name, wav in sung.items()}
    draw_comparison(PICTURE, pictures, SAMPLE_RATE)
    options = EvaluationOptions((recordings,), f0_predictor=JUDGE, pictures=False)
    evaluation = evaluate_files([*map(str, songs)], [str(path.absolute()) for path in results], options)
    print(as_text(evaluation))  # noqa: T201  the product
    logger.info("--- done in %.0f s: listen to %s, look at %s", seconds, ", ".join(map(str, results)), PICTURE)
    return 0 if follows_the_songs(evaluation) else 1


def find_problem(recordings: Path, songs: list[Path], minutes: str) -> str:
    """Why the demo cannot begin; "" when it can."""
    if not recordings.is_dir():
        return f"no folder {recordings}: --recordings names one that holds a folder of recordings per singer"
    if (ROOT / WORK) in (recordings, *recordings.parents):
        return f"{recordings} lies in {WORK}, which each run deletes: move it"
    for song in songs:
        if not song.is_file():
            return f"no song {song}: --songs names audio files"
    if len({song.stem.casefold() for song in songs}) < len(songs):
        return "two of the songs have one name: rename one, for their results would too"
    try:
        valid = float(minutes) > 0
    except ValueError:
        valid = False
    return "" if valid else f"DEMO_MINUTES must be a number above 0, got {minutes!r}"


def follows_the_songs(evaluation: Evaluation) -> bool:
    """Whether every result lasts as long as its song and follows its f0; says which do not."""
    bad = [f"{item}: {problem}" for item, problem in evaluation.failed]
    for row in evaluation.rows:
        correlation = row.values.get("f0_correlation", 0.0)
        if row.remarks or correlation < LEAST_CORRELATION:
            bad.append(f"{row.name}: f0 correlation {correlation:.3f}, {LEAST_CORRELATION} is expected. {row.remarks}")
    for line in bad:
        logger.error("%s", line)
    return not bad


if __name__ == "__main__":
    raise SystemExit(run_script(main))
