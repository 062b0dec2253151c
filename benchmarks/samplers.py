"""What each sampler costs, and how near it comes to taking every step: the numbers behind the defaults of diffusion.

    python -m benchmarks.samplers -dm logs/44k/diffusion/model_10000.pt -dc logs/44k/diffusion/config.yaml \
        -m logs/44k/G_10000.pth -c logs/44k/config.json -s alice --songs raw/*.flac

One table for shallow diffusion over --k_step steps (left out without -m) and one for diffusion alone (left out where
the model was trained for less). All runs of a table begin with the same noise. Columns:

    evaluations  of the network, for each piece of a song
    speed        seconds of audio per second, of the denoiser and of the whole conversion; on a CPU per second of CPU
                 time, which other work on the machine hardly changes (OMP_NUM_THREADS=1 for one core's)
    to fine      distance of the mel to the exact way back from that noise, which all samplers but naive approximate:
                 mean absolute difference of natural-log mels, in nepers (1 neper = 8.7 dB). Exact is a solver of second
                 order that takes half the steps of training
    to naive     to the result of every step of training, which draws new noise at each: what differs by chance alone
                 is in the row "naive, another seed". Rectified flow has none
"""

import argparse
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common import audio
from common.diffusion_config import DIFFUSION
from common.logs import setup_logging
from diffusion.samplers import evaluations
from pipeline.conversion import Converter
from pipeline.conversion_options import K_STEP, ConversionOptions
from pipeline.conversion_tools import ToolFiles

logger = logging.getLogger("samplers")

SPEEDUPS = (5, 10, 20, 50)  # in shallow diffusion
ALONE_FACTOR = 10  # diffusion alone walks ten times the steps: its speedups are larger by this


@dataclass
class Run:
    """What one setting made of all the songs."""

    mels: list[Tensor] = field(default_factory=list)  # (F, M) of each piece
    denoiser_seconds: float = 0.0
    seconds: float = 0.0


class Bench:
    """A converter whose denoiser is timed and overheard."""

    def __init__(self, converter: Converter, songs: list[np.ndarray], options: ConversionOptions) -> None:
        self.converter, self.songs, self.options = converter, songs, options
        self.model = converter.tools.refiner.model
        self.audio_seconds = sum(len(song) for song in songs) / converter.sample_rate
        self._infer, self._run = self.model.infer, Run()
        self._now = time.process_time if converter.device.type == "cpu" else time.perf_counter
        self.model.infer = self._timed  # type: ignore[method-assign]

    def _timed(self, *args: object, **kwargs: object) -> Tensor:
        started = self._now()
        mel = self._infer(*args, **kwargs)  # type: ignore[arg-type]
        if mel.is_cuda:
            torch.cuda.synchronize()
        self._run.denoiser_seconds += self._now() - started
        self._run.mels += list(mel.cpu())
        return mel

    def run(self, **changes: object) -> Run:
        self._run = Run()
        started = self._now()
        for song in self.songs:
            self.converter.convert(song, replace(self.options, **changes))
        self._run.seconds = self._now() - started
        return self._run


def distance(one: Run, other: Run) -> float:
    """Mean absolute difference of their mels."""
    return torch.cat([(a - b).abs().flatten() for a, b in zip(one.mels, other.mels, strict=True)]).mean().item()


def settings(kind: str, k_step: int, factor: int) -> Iterator[tuple[str, int]]:
    """Samplers and speedups of a table; naive is not among them."""
    names = ("ddim", "pndm", "dpm-solver", "dpm-solver++", "unipc") if kind == DIFFUSION else ("euler", "rk4")
    for name in names:
        for speedup in SPEEDUPS:
            try:
                evaluations(name, k_step=k_step, speedup=speedup * factor)
            except ValueError:  # fewer steps than it can do with
                continue
            yield name, speedup * factor


def table(bench: Bench, kind: str, *, k_step: int, factor: int) -> Iterator[str]:
    """Lines of Markdown."""
    yield "| sampler | evaluations | speed, denoiser | speed, all | to fine | to naive |"
    yield "|---|---|---|---|---|---|"
    method, speedup = ("unipc", 2) if kind == DIFFUSION else ("rk4", 10)
    fine = bench.run(sampler=method, speedup=speedup)
    naive = bench.run(sampler="naive", speedup=1) if kind == DIFFUSION else None

    def row(name: str, n: int, run: Run) -> str:
        speeds = f"{bench.audio_seconds / run.denoiser_seconds:.2f} | {bench.audio_seconds / run.seconds:.2f}"
        to_naive = f"{distance(run, naive):.4f}" if naive else "–"
        return f"| {name} | {n} | {speeds} | {distance(run, fine):.4f} | {to_naive} |"

    for name, steps in settings(kind, k_step, factor):
        n = evaluations(name, k_step=k_step, speedup=steps)
        yield row(f"{name}, speedup {steps}", n, bench.run(sampler=name, speedup=steps))
    yield row(f"fine: {method}, speedup {speedup}", evaluations(method, k_step=k_step, speedup=speedup), fine)
    if naive:
        yield row("naive", k_step, naive)
        yield row("naive, another seed", k_step, bench.run(sampler="naive", speedup=1, seed=bench.options.seed + 1))


def report(converter: Converter, songs: list[np.ndarray], options: ConversionOptions) -> Iterator[str]:
    """Lines of the tables that this model can fill."""
    model, seconds = converter.tools.refiner.config.model, sum(map(len, songs)) / converter.sample_rate
    if converter.model is not None:
        yield f"shallow diffusion, {options.k_step} steps, {seconds:.0f} s of audio\n"
        bench = Bench(converter, songs, replace(options, shallow_diffusion=True))
        yield from table(bench, model.type, k_step=options.k_step, factor=1)
    if model.trained_steps == model.timesteps:
        yield f"\ndiffusion alone, {model.timesteps} steps, {seconds:.0f} s of audio\n"
        bench = Bench(converter, songs, replace(options, only_diffusion=True))
        yield from table(bench, model.type, k_step=model.timesteps, factor=ALONE_FACTOR)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-dm", "--diffusion_model", type=Path, required=True)
    parser.add_argument("-dc", "--diffusion_config", type=Path, required=True)
    parser.add_argument("-m", "--model", type=Path, help="synthesizer, for the table of shallow diffusion")
    parser.add_argument("-c", "--config", type=Path, help="its config")
    parser.add_argument("-s", "--speaker", required=True)
    parser.add_argument("-t", "--transpose", type=float, default=0.0, help="semitones")
    parser.add_argument("--songs", type=Path, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each song, from its beginning")
    parser.add_argument("-ks", "--k_step", type=int, default=K_STEP)
    parser.add_argument("-f0p", "--f0_predictor", default="fcpe")
    parser.add_argument("-d", "--device")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    setup_logging()
    converter = Converter(
        *(args.model, args.config), device=args.device, files=ToolFiles(args.diffusion_model, args.diffusion_config)
    )
    wavs = (audio.load(path, converter.sample_rate) for path in args.songs)
    songs = [wav[: round(args.seconds * converter.sample_rate)] for wav in wavs]
    options = ConversionOptions(
        speaker=args.speaker, transpose=args.transpose, f0_predictor=args.f0_predictor, k_step=args.k_step
    )
    for line in report(converter, songs, options):
        print(line, flush=True)  # noqa: T201  the product


if __name__ == "__main__":
    main()
