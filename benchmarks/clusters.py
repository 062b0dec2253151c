"""Time and memory of clustering, of feature indexes, and of retrieval, on made-up units.

python -m benchmarks.clusters --what full minibatch --frames 1000000
python -m benchmarks.clusters --what full faiss --frames 50000 --clusters 2000
python -m benchmarks.clusters --what search --frames 200000

full and minibatch: k-means as cluster/train_cluster.py has it, frames on disk, seconds per pass; faiss: its k-means,
frames in memory; search: retrieval per second of audio, for several numbers of probed lists. Each runs in a process of
its own, so that peak memory is that of one thing. Times are CPU-seconds: other programs lengthen them little.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.memory import measure
from cluster.feature_index import build_index
from cluster.kmeans import kmeans
from pipeline.unit_frames import FrameFile

FRAMES_PER_SECOND = 44100 / 512
SONG_SECONDS = 30
N_SOUNDS = 5000  # that the made-up frames scatter around
PROBES = (1, 8, 64)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = ("full", "minibatch", "faiss", "search")
    parser.add_argument("--what", nargs="+", choices=what, default=list(what), help="what is measured")
    parser.add_argument("--frames", type=int, default=100_000, help="50 are a second of recordings")
    parser.add_argument("--clusters", type=int, default=10_000, help="of k-means")
    parser.add_argument("--width", type=int, default=768, help="channels of a frame")
    parser.add_argument("--passes", type=int, default=1, help="of k-means over all frames")
    parser.add_argument("--threads", type=int, default=1, help="of torch and faiss")
    parser.add_argument("--here", action="store_true", help="in this process: without peak memory")
    return parser.parse_args(argv)


def made_up(n_frames: int, width: int, seed: int) -> np.ndarray:
    """Frames (N, D) scattered around sounds that are the same for every seed."""
    sounds = np.random.default_rng(0).standard_normal((N_SOUNDS, width), np.float32)
    rng = np.random.default_rng(seed)
    return sounds[rng.integers(N_SOUNDS, size=n_frames)] + 0.5 * rng.standard_normal((n_frames, width), np.float32)


def time_kmeans(args: argparse.Namespace, minibatch: bool) -> str:
    block = 10_000
    with tempfile.TemporaryFile(dir=Path.cwd()) as file:
        for start in range(0, args.frames, block):
            file.write(made_up(min(block, args.frames - start), args.width, seed=start + 1).tobytes())
        file.flush()
        frames = FrameFile(file, (args.frames, args.width))
        started = time.process_time()
        kmeans(frames, args.clusters, device=torch.device("cpu"), minibatch=minibatch, max_iterations=args.passes)
        return f"{(time.process_time() - started) / args.passes:.1f} CPU-seconds per pass"


def time_faiss(args: argparse.Namespace) -> str:
    import faiss

    faiss.omp_set_num_threads(args.threads)
    frames = made_up(args.frames, args.width, seed=1)
    started = time.process_time()
    faiss.Kmeans(args.width, args.clusters, niter=args.passes, max_points_per_centroid=args.frames).train(frames)
    return f"{(time.process_time() - started) / args.passes:.1f} CPU-seconds per pass"


def time_search(args: argparse.Namespace) -> str:
    started = time.process_time()
    index = build_index(made_up(args.frames, args.width, seed=1), device=torch.device("cpu"), seed=1)
    found = [f"built in {time.process_time() - started:.0f} CPU-seconds"]
    song = torch.from_numpy(made_up(round(SONG_SECONDS * FRAMES_PER_SECOND), args.width, seed=2))
    for n_probes in PROBES:
        started = time.process_time()
        index.search(song, 8, n_probes)
        found.append(f"{n_probes} probes {1000 * (time.process_time() - started) / SONG_SECONDS:.1f} ms")
    return ", ".join(found) + " per second of audio"


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if args.here:
        torch.set_num_threads(args.threads)
        for what in args.what:
            minibatch = what == "minibatch"
            timed = {"faiss": time_faiss, "search": time_search}.get(what)
            result = timed(args) if timed else time_kmeans(args, minibatch)
            print(f"{what}, {args.frames} frames: {result}", flush=True)  # noqa: T201
        return 0
    numbers = [f"--{name}={getattr(args, name)}" for name in ("frames", "clusters", "width", "passes", "threads")]
    for what in args.what:
        _, megabytes = measure([sys.executable, "-m", "benchmarks.clusters", "--here", "--what", what, *numbers])
        print(f"{what}: peak memory {megabytes:.0f} MB", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
