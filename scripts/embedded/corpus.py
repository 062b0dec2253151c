"""Make the corpus of the embedded content encoder from nothing: free speech engines, multiplied by WORLD.

    python -m scripts.embedded.corpus -o CORPUS --shards 40 --jobs 2

Shard i depends on (seed, i) only; what is there already is kept, so an interrupted run is continued by the same
command. A shard has about two minutes of speech in four copies each, with the class of the phone (int8) and the f0 of
every 5 ms. What has to be installed: scripts/embedded/engines.py.
"""

import argparse
import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from common.logs import run_script, setup_logging
from scripts.embedded import engines, texts
from scripts.embedded.rendering import FRAME, Copies, render
from vencoder.encoder import SAMPLE_RATE

logger = logging.getLogger("corpus")

N_COPIES = 4
ESPEAK_UTTERANCES, FESTIVAL_UTTERANCES = 16, 14  # per shard
MIN_SECONDS = 1.2


def speak_all(seed: int, shard: int) -> Iterator[engines.Speech]:
    """The utterances of a shard: random languages and variants of espeak-ng, and one voice of festival."""
    rng = np.random.default_rng((seed, shard))
    espeak = engines.Espeak()
    for _ in range(ESPEAK_UTTERANCES):
        language, script = engines.ESPEAK_LANGUAGES[rng.integers(len(engines.ESPEAK_LANGUAGES))]
        text = texts.sentence(rng, script, n_words=int(rng.integers(2, 7)))
        speech = espeak.speak(text, language, str(rng.choice(engines.ESPEAK_VARIANTS)), rng=rng)
        if speech is not None:
            yield speech
    voice, table, script, encoding = engines.FESTIVAL_VOICES[shard % len(engines.FESTIVAL_VOICES)]
    lines = [texts.sentence(rng, script, n_words=int(rng.integers(3, 9))) for _ in range(FESTIVAL_UTTERANCES)]
    yield from engines.festival(voice, table, lines, encoding)


def make_shard(path: Path, seed: int, shard: int) -> float:
    """Write one shard; returns the seconds of audio in it, copies counted."""
    rng = np.random.default_rng((seed, shard, 1))
    parts: list[Copies] = []
    voices: list[str] = []
    for speech in speak_all(seed, shard):
        if len(speech.wav) > MIN_SECONDS * SAMPLE_RATE and np.abs(speech.wav).max() > 1e-3:
            parts.append(render(speech, N_COPIES, rng))
            voices.append(speech.voice)
    tensors = {
        "wav": np.concatenate([np.round(part.wav * 32767.0).astype(np.int16) for part in parts], axis=1),
        "f0": np.concatenate([part.f0.astype(np.float16) for part in parts], axis=1),
        "phone": np.concatenate([part.phone.astype(np.int8) for part in parts]),
        "frames": np.array([len(part.phone) for part in parts]),
    }
    partial = path.with_suffix(".part")
    save_file(tensors, partial, {"voices": json.dumps(voices)})
    os.replace(partial, path)
    return tensors["phone"].size * FRAME * N_COPIES / SAMPLE_RATE


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the corpus, 20 MB per shard")
    parser.add_argument("--shards", type=int, default=40, help="how many shards there should be")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another corpus")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    args.output.mkdir(parents=True, exist_ok=True)
    paths = {i: args.output / f"{i:04}.safetensors" for i in range(args.shards)}
    with ProcessPoolExecutor(args.jobs, max_tasks_per_child=1) as pool:
        jobs = {pool.submit(make_shard, path, args.seed, i): path for i, path in paths.items() if not path.exists()}
        for job in as_completed(jobs):
            try:
                logger.info("%s: %.0f s of audio", jobs[job].name, job.result())
            except FileNotFoundError as error:
                pool.shutdown(cancel_futures=True)
                logger.error("%s", error)
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
