"""Make the recordings that the base model of the embedded encoder learns from: real voices, and more made of them.

    python -m scripts.embedded.base_corpus -i dataset_raw -o embedded-work/base/raw --jobs 2

For each voice NAME of the input: its recordings as they are; copies of some of them in NAME too, whose melody WORLD has
moved by up to an octave and whose formants stay, so that a voice is heard outside its own range; copies that are sung,
vowels held and on notes, so that voices cannot be told apart by whether they speak or sing; and voices NAME_x0.70 to
NAME_x1.40, the same played slower or faster, in which pitch and formants move together. Three voices of flite read
made-up sentences, and sing them. Everything depends on the seed and the voice's own files only; what is there is
written anew.
"""

import argparse
import logging
import shutil
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pyworld

from common import audio
from common.logs import run_script, setup_logging
from scripts.embedded import engines, texts
from scripts.embedded.rendering import F0_RANGE, PERIOD_MS, notes
from vencoder.encoder import SAMPLE_RATE

logger = logging.getLogger("base_corpus")

SPEEDS = (0.7, 0.85, 1.18, 1.4)
MAX_OCTAVES = 1.0  # by which melodies are moved, up and down
FLITE_VOICES = ("awb", "rms", "slt")  # not kal, which has 8 kHz
WORDS = (8, 15)  # per sentence
SUNG_F0 = (110.0, 350.0)  # Hz, of the middle of a melody, log-uniform
HOLD = 5.0  # extra repeats of a frame in the middle of a vowel
CHANGE_MS = 50.0  # over which it is measured how fast the spectrum changes


def move_pitch(wav: np.ndarray, rate: int, ratio: float) -> np.ndarray:
    """wav (T,) at ``rate`` Hz with its f0 multiplied by ``ratio`` within 60 to 1000 Hz, formants kept (WORLD)."""
    f0, envelope, breath = _take_apart(wav, rate)
    moved = np.where(f0 > 0, np.clip(f0 * ratio, *F0_RANGE), 0.0)
    return _level(pyworld.synthesize(moved, envelope, breath, rate, PERIOD_MS)[: len(wav)])


def sing(wav: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """wav (T,) at ``rate`` Hz as a song: what is voiced and steady is held, on notes; formants kept (WORLD)."""
    f0, envelope, breath = _take_apart(wav, rate)
    change = np.abs(np.diff(np.log(envelope), axis=0, append=np.log(envelope[-1:]))).mean(axis=1)
    width = min(round(CHANGE_MS / PERIOD_MS), len(change))
    change = np.convolve(change, np.ones(width) / width, "same")
    voiced = f0 > 0
    usual = float(np.median(change[voiced])) if voiced.any() else 1.0
    reached = np.cumsum(1.0 + HOLD * voiced * np.exp(-change / max(usual, 1e-9)))
    source = np.interp(np.arange(int(reached[-1])), reached, np.arange(len(f0))).round().astype(int)
    centre = np.exp(rng.uniform(*np.log(SUNG_F0)))
    melody = np.where(voiced[source], np.clip(centre * np.exp(notes(len(source), rng)), *F0_RANGE), 0.0)
    return _level(pyworld.synthesize(melody, envelope[source], breath[source], rate, PERIOD_MS))


def _take_apart(wav: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f0 (N,), power envelope and aperiodicity (N, K) of frames of PERIOD_MS."""
    samples = wav.astype(np.float64)
    f0, times = pyworld.dio(samples, rate, f0_floor=55.0, f0_ceil=800.0, frame_period=PERIOD_MS)
    f0 = pyworld.stonemask(samples, f0, times, rate)
    return f0, pyworld.cheaptrick(samples, f0, times, rate), pyworld.d4c(samples, f0, times, rate)


def change_speed(wav: np.ndarray, rate: int, speed: float) -> np.ndarray:
    """wav (T,) as if its tape ran ``speed`` times as fast: (T / speed,)."""
    return _level(audio.resample(wav, round(rate * speed), rate))


def _level(wav: np.ndarray) -> np.ndarray:
    """wav (T,) made softer where it would be clipped."""
    return (wav * min(1.0, 0.99 / max(audio.peak(wav), 1e-9))).astype(np.float32)


def make_voice(folder: Path, output: Path, *, n_clips: int, n_sung: int, seed: int) -> int:
    """The recordings of one speaker, copies of ``n_clips`` of them moved and of ``n_sung`` sung, and its variants.

    Returns the clips written.

    Raises:
        FileNotFoundError: there is no recording in ``folder``.
    """
    recordings = sorted(path for path in folder.iterdir() if audio.is_audio(path))
    if not recordings:
        raise FileNotFoundError(f"{folder}: no recording that can be read; put audio files of one speaker there")
    rng = np.random.default_rng((seed, zlib.crc32(folder.name.encode())))
    own = output / folder.name
    own.mkdir(parents=True, exist_ok=True)
    for path in recordings:
        shutil.copyfile(path, own / path.name)
    clips = [own / path.name for path in recordings]
    chosen = _draw(clips, n_clips, rng)
    octaves = rng.permutation(np.linspace(-MAX_OCTAVES, MAX_OCTAVES, len(chosen)))
    for path, octave in zip(chosen, octaves, strict=True):
        wav, rate = audio.load_native(path)
        moved = own / f"{path.stem}_moved{octave:+.2f}.flac"
        audio.save(moved, move_pitch(wav, rate, 2.0**octave), rate)
        clips.append(moved)
    written = len(clips)
    for speed in SPEEDS:
        variant = output / f"{folder.name}_x{speed:.2f}"
        variant.mkdir(exist_ok=True)
        for path in _draw(sorted(clips), n_clips, rng):
            wav, rate = audio.load_native(path)
            audio.save(variant / f"{path.stem}.flac", change_speed(wav, rate, speed), rate)
            written += 1
    for path in _draw(clips[: len(recordings)], n_sung, rng):
        wav, rate = audio.load_native(path)
        audio.save(own / f"{path.stem}_sung.flac", sing(wav, rate, rng), rate)
        written += 1
    return written


def _draw(paths: Sequence[Path], count: int, rng: np.random.Generator) -> list[Path]:
    return [paths[i] for i in sorted(rng.choice(len(paths), min(count, len(paths)), replace=False))]


def read_aloud(voice: str, output: Path, *, n_sentences: int, seed: int) -> int:
    """``n_sentences`` by one of FLITE_VOICES, each said and sung; returns how many clips.

    Raises:
        FileNotFoundError: flite is not installed.
    """
    rng = np.random.default_rng((seed, zlib.crc32(voice.encode())))
    folder = output / f"flite_{voice}"
    folder.mkdir(parents=True, exist_ok=True)
    wavs: list[np.ndarray] = []
    for i in range(n_sentences):
        text = texts.sentence(rng, "english", n_words=int(rng.integers(*WORDS)))
        wavs.append(engines.flite_phones(voice, text)[0])
        audio.save(folder / f"{i:03}.flac", wavs[-1], SAMPLE_RATE)
    for i, wav in enumerate(wavs):
        audio.save(folder / f"{i:03}_sung.flac", sing(wav, SAMPLE_RATE, rng), SAMPLE_RATE)
    return 2 * n_sentences


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", type=Path, required=True, help="one folder of recordings per speaker")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the same with more voices: for resample.py")
    parser.add_argument("--clips", type=int, default=12, help="moved copies of each voice, and clips of each variant")
    parser.add_argument("--sung", type=int, default=24, help="sung copies of each voice")
    parser.add_argument("--sentences", type=int, default=16, help="by each voice of flite; 0: none")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    try:
        speakers = sorted(path for path in args.input.iterdir() if path.is_dir() and not path.name.startswith("."))
        with ProcessPoolExecutor(args.jobs) as pool:
            jobs = {
                pool.submit(
                    make_voice, folder, args.output, n_clips=args.clips, n_sung=args.sung, seed=args.seed
                ): folder.name
                for folder in speakers
            }
            for voice in FLITE_VOICES if args.sentences else ():
                jobs[pool.submit(read_aloud, voice, args.output, n_sentences=args.sentences, seed=args.seed)] = voice
            for job in as_completed(jobs):
                logger.info("%s: %d clips", jobs[job], job.result())
    except (OSError, audio.AudioError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
