"""Speed and peak memory of the speech encoders and the pitch trackers, each in a process of its own.

    python -m benchmarks.features                             all of them on the demo's song
    python -m benchmarks.features vec768l12 rmvpe --audio raw/song.flac
    python -m benchmarks.features vec768l12 --lengths 1800    half an hour: the song is repeated

Clips of each length go through as in preprocessing, as many at once as fit into its batches, at most --clips. A number
is seconds of audio per second of computing: CPU time on a CPU, so that other work on the machine does not count, and
with one thread unless --threads says otherwise. Peak memory is that of the whole process, libraries and loading
included (on CUDA: of the device). "-": not measured, because the length before took longer than --limit. Weights are
those under pretrain/; where they are absent, random numbers in a network of the real size (benchmarks/stand_ins.py).
"""

import argparse
import json
import logging
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

import modules.f0
import vencoder
from benchmarks import stand_ins
from benchmarks.memory import measure
from common import audio, devices
from common.logs import setup_logging
from common.pretrained_files import FILES
from modules.f0 import F0_PREDICTORS
from pipeline.preprocessing import BATCH_SECONDS
from vencoder import SPEECH_ENCODERS
from vencoder.encoder import SAMPLE_RATE as UNITS_RATE

logger = logging.getLogger("features")

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_RATE = 44100  # pitch trackers get the audio as it is
NAMES = [*SPEECH_ENCODERS, *F0_PREDICTORS]
WARM_UP_SECONDS = 1.0  # of audio
LEAST_SECONDS = 2.0  # of computing: a quick member is run several times
Run = Callable[[list[np.ndarray]], object]


def build(name: str, weights: Path | None, device: torch.device) -> tuple[Run, int]:
    """The member called ``name`` as a function of some clips, and the rate that they must have."""
    if name in SPEECH_ENCODERS:
        return vencoder.build(name, str(device), weights).encode_batch, UNITS_RATE
    predictor = modules.f0.build(name, SAMPLE_RATE, device=device, weights=weights)
    return lambda clips: [predictor.compute_f0_uv(clip) for clip in clips], SAMPLE_RATE


def clock(device: torch.device) -> float:
    """Seconds of CPU time, or on a GPU of real time after all that was asked for is done."""
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    else:
        torch.mps.synchronize()
    return time.perf_counter()


def time_of(run: Run, clips: list[np.ndarray], device: torch.device) -> float:
    """Seconds that ``run`` takes for ``clips``."""
    started, n_runs = clock(device), 0
    while (spent := clock(device) - started) < LEAST_SECONDS:
        run(clips)
        n_runs += 1
    return spent / n_runs


def measure_here(args: argparse.Namespace) -> dict[str, object]:
    """Speeds of the one member in ``args.names``, by length; what it asks for where it cannot be built."""
    device = devices.resolve(args.device)
    torch.set_num_threads(args.threads)
    try:
        run, rate = build(args.names[0], args.weights, device)
    except (ValueError, FileNotFoundError) as error:
        return {"error": str(error)}
    song = audio.load(args.audio, rate)
    run([song[: int(WARM_UP_SECONDS * rate)]])
    speeds: list[float | None] = []
    spent = 0.0
    for seconds in sorted(args.lengths):
        if spent > args.limit:
            speeds.append(None)
            continue
        clip = np.resize(song, round(seconds * rate))  # repeated, or cut
        clips = [clip] * min(args.clips, max(1, int(BATCH_SECONDS // seconds)))
        spent = time_of(run, clips, device)
        speeds.append(seconds * len(clips) / spent)
    return {"speeds": speeds, "memory": peak_memory(device)}


def peak_memory(device: torch.device) -> float:
    """MB that this process has held at most, on a CUDA device or else altogether."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says there is at least the peak of the process that started this one
        peak = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        assert peak
        return int(peak[1]) / 1e3
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def find_weights(name: str, folder: Path) -> tuple[Path | None, str]:
    """A file for the member called ``name``, and a word on where it comes from; a stand-in is written to ``folder``."""
    entry = SPEECH_ENCODERS[name] if name in SPEECH_ENCODERS else F0_PREDICTORS[name]
    if entry.weights is None:
        return None, "none"
    if FILES[entry.weights].path.is_file():
        return None, "real"
    stand_in = stand_ins.write(entry.weights, folder)
    return stand_in, "random" if stand_in else "of the package"


def row(name: str, args: argparse.Namespace, folder: Path) -> str:
    """Measure one member in a process of its own -> a row of the table."""
    weights, origin = find_weights(name, folder)
    result = folder / "result.json"
    command = [sys.executable, "-m", "benchmarks.features", name, "--write", str(result), "--audio", str(args.audio)]
    command += ["--threads", str(args.threads), "--clips", str(args.clips), "--limit", str(args.limit)]
    command += ["--lengths", *map(str, args.lengths), *(["--weights", str(weights)] if weights else [])]
    command += ["--device", str(devices.resolve(args.device))]
    measure(command)
    found = json.loads(result.read_text(encoding="utf-8"))
    if "error" in found:
        return f"| `{name}` | {found['error'].partition(chr(10))[0]} |"
    speeds = ["-" if value is None else f"{value:.{0 if value >= 10 else 2}f}" for value in found["speeds"]]
    return " | ".join([f"| `{name}`", origin, *speeds, f"{found['memory']:.0f} |"])


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help="encoders and pitch trackers (all)")
    parser.add_argument(
        "--audio", type=Path, default=ROOT / "demo/raw/antagata_male_96k_stereo.flac", help="the song to measure with"
    )
    parser.add_argument("--lengths", type=float, nargs="+", default=[2.0, 10.0, 60.0], help="seconds of a clip")
    parser.add_argument("--clips", type=int, default=4, help="clips of one length at once, at most")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds of computing after which no longer clips")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("-d", "--device", default="cpu", help="cpu, cuda, cuda:N, mps or auto")
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in NAMES]:
        parser.error(f"unknown: {', '.join(unknown)}; known are: {', '.join(NAMES)}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    if args.write:
        args.write.write_text(json.dumps(measure_here(args)), encoding="utf-8")
        return 0
    lengths = [f"{seconds:g} s" for seconds in sorted(args.lengths)]
    print(f"| name | weights | {' | '.join(lengths)} | peak MB |")  # noqa: T201
    print("|---|---" + "|---" * (len(lengths) + 1) + "|")  # noqa: T201
    for name in args.names:
        with tempfile.TemporaryDirectory() as folder:
            print(row(name, args, Path(folder)), flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
