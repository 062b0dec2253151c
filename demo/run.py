"""The whole road on a small sample of real recordings: `make demo`, or `python -m demo.run`.

A speaking voice (LJ Speech) becomes the singer of a Japanese traditional, through the very commands of the README and
starting from the small base model of the repository. What is made along the way goes to demo/work and logs/demo,
so that no file of yours is touched; each run trains anew. DEMO_MINUTES sets for how long (default 3).
"""

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from common import audio
from common.checkpoint import find_pairs
from common.logs import run_script, setup_logging
from pipeline.comparison_picture import draw_comparison
from pipeline.pitch_comparison import compare_pitch, track_pitch

logger = logging.getLogger("demo")

ROOT = Path(__file__).resolve().parent.parent

SONG, SPEAKER, TRANSPOSE, PREDICTOR = "antagata_male_96k_stereo", "lj", 0, "fcpe"
SAMPLE, WORK, LOGS = Path("demo"), Path("demo/work"), Path("logs/demo")
RESULT = Path(f"results/{SONG}_{TRANSPOSE}key_{SPEAKER}_sovits_{PREDICTOR}.flac")
PICTURE = Path("results/demo.png")
SAMPLE_RATE = 44100
LEAST_CORRELATION = 0.9  # of f0 by PREDICTOR, on frames voiced in both


def stage(title: str, script: str, *arguments: object) -> None:
    """Run one script as a user would, and stop the demo when it fails."""
    command = [script, *map(str, arguments)]
    logger.info("--- %s: python %s", title, " ".join(command))
    started = time.monotonic()
    code = subprocess.run([sys.executable, *command], cwd=ROOT).returncode
    if code:
        raise SystemExit(f"demo: {script} failed with exit code {code}; its message stands above")
    logger.info("    %.0f s", time.monotonic() - started)


def walk_the_road(minutes: float) -> None:
    """resample -> filelists -> features -> training -> conversion."""
    lists = ["--train_list", WORK / "train.txt", "--val_list", WORK / "val.txt"]
    config = WORK / "config.json"
    stage("1 resample", "resample.py", "--in_dir", SAMPLE / "dataset_raw", "--out_dir2", WORK / "44k")
    stage(
        *("2 filelists and config", "preprocess_flist_config.py", "--preset", "small", "--source_dir", WORK / "44k"),
        *("--config_dir", WORK, *lists),
    )
    stage(
        *("3 features", "preprocess_hubert_f0.py", "--in_dir", WORK / "44k", "-c", config),
        *("--f0_predictor", PREDICTOR, "--num_processes", min(4, os.cpu_count() or 1)),
    )
    stage(
        *("4 training", "train.py", "-c", config, "-m", "demo", "--base", "pretrain/embedded/small"),
        *("--max_minutes", minutes),
    )
    model = find_pairs(ROOT / LOGS)[-1].generator.relative_to(ROOT)
    stage(
        *(
            "5 conversion",
            "inference_main.py",
            "-m",
            model,
            "-c",
            LOGS / "config.json",
            "-n",
            SAMPLE / "raw" / f"{SONG}.flac",
        ),
        *("-s", SPEAKER, "-t", TRANSPOSE, "-f0p", PREDICTOR),
    )


def main() -> int:
    os.chdir(ROOT)
    setup_logging()
    started = time.monotonic()
    shutil.rmtree(LOGS, ignore_errors=True)
    walk_the_road(float(os.environ.get("DEMO_MINUTES", "3")))
    source, result = (audio.load(path, SAMPLE_RATE) for path in (SAMPLE / "raw" / f"{SONG}.flac", RESULT))
    # Two trackers, for each has errors of its own: one octave error of Praat costs 0.1 of the correlation.
    found = {}
    for name in (PREDICTOR, "pm"):
        tracks = [track_pitch(wav, SAMPLE_RATE, predictor=name) for wav in (source, result)]
        found[name] = compare_pitch(*tracks, transpose=TRANSPOSE)
    draw_comparison(PICTURE, {"source": (source, tracks[0]), "result": (result, tracks[1])}, SAMPLE_RATE)
    logger.info("--- done in %.0f s: listen to %s, look at %s", time.monotonic() - started, RESULT, PICTURE)
    for name, comparison in found.items():
        logger.info("by %s: %s", name, comparison)
    if len(result) != len(source) or found[PREDICTOR].correlation < LEAST_CORRELATION:
        logger.error("the result should last as long as the song and follow its f0 (correlation %s)", LEAST_CORRELATION)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
