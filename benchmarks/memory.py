"""Peak memory and speed of a conversion against the length of the song.

python -m benchmarks.memory -m logs/44k/G_10000.pth -c logs/44k/config.json -s alice --song raw/song.flac --minutes 1 60

For each length the song is repeated until it lasts so long, and inference_main.py converts it in a process of its own.
What follows ``--`` is given to it as it is, such as -- -shd -dm logs/44k/diffusion/model_9000.pt
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from common import audio

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_RATE = 44100


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model_path", type=Path, required=True, help="the model")
    parser.add_argument("-c", "--config_path", type=Path, required=True, help="its config")
    parser.add_argument("-s", "--speaker", required=True, help="name or id")
    parser.add_argument("--song", type=Path, required=True, help="sample that is repeated")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1 / 6, 10.0], help="lengths of the songs")
    parser.add_argument("-d", "--device", default="cpu", help="as inference_main.py takes it")
    parser.add_argument("options", nargs="*", help="more options of inference_main.py, behind --")
    return parser.parse_args(argv)


def write_song(sample: np.ndarray, minutes: float, path: Path) -> None:
    """Repeat (T,) until it lasts ``minutes``, without holding the whole in memory."""
    left = round(minutes * 60 * SAMPLE_RATE)
    with audio.writer(path, SAMPLE_RATE) as write:
        while left > 0:
            write(sample[:left])
            left -= min(left, len(sample))


def measure(command: list[str]) -> tuple[float, float]:
    """Run a command; returns the seconds it took and its peak resident memory in MB."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    messages = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{messages}")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    return time.monotonic() - started, usage.ru_maxrss / unit


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    sample = audio.load(args.song, SAMPLE_RATE)
    print("minutes  peak RSS (MB)  real-time factor")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        for minutes in args.minutes:
            song = Path(folder) / "song.wav"
            write_song(sample, minutes, song)
            model = ["-m", str(args.model_path.resolve()), "-c", str(args.config_path.resolve()), "-s", args.speaker]
            places = ["-n", str(song), "--out_dir", folder, "-d", args.device]
            seconds, megabytes = measure([sys.executable, "inference_main.py", *model, *places, *args.options])
            print(f"{minutes:7.2f}  {megabytes:13.0f}  {seconds / minutes / 60:16.2f}")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
