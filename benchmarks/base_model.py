"""What a model is worth: every speaker of it sings every song, and the results are measured.

    python -m benchmarks.base_model -m logs/44k/G_4000.pth -c logs/44k/config.json --songs raw --recordings dataset_raw

Columns: correlation of log f0 with the song's, RMSE and gross errors (over 50 cents) on frames voiced in both, by
Praat's tracker, which the conversion does not use; cosine similarity of speaker embeddings to the target's recordings
and to the song (Resemblyzer: Wan et al. 2018, arXiv:1710.10467; left out where that package is not installed).
"""

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from common import audio
from common.logs import setup_logging
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.pitch_comparison import compare_pitch, track_pitch

logger = logging.getLogger("base_model")

EMBEDDING_RATE = 16000  # Hz, Resemblyzer's
EMBEDDING_RMS = 0.03  # it was trained on speech at about -30 dB
MAX_RECORDINGS = 12  # of the target, whose mean embedding is compared with

Embed = Callable[[np.ndarray, int], np.ndarray]


def load_embedder() -> Embed | None:
    """Resemblyzer as a function of (wav (T,), rate) -> unit vector, or None where it is not installed."""
    try:
        from resemblyzer import VoiceEncoder
    except ImportError:
        logger.warning("resemblyzer is not installed: no speaker similarity")
        return None
    encoder = VoiceEncoder("cpu", verbose=False)

    def embed(wav: np.ndarray, rate: int) -> np.ndarray:
        wav = audio.resample(wav, rate, EMBEDDING_RATE)
        return encoder.embed_utterance(wav * (EMBEDDING_RMS / max(float(np.sqrt(np.mean(wav**2))), 1e-6)))

    return embed


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True, help="G_<step>.pth")
    parser.add_argument("-c", "--config", type=Path, required=True, help="the config it was trained with")
    parser.add_argument("--songs", type=Path, required=True, help="folder of songs")
    parser.add_argument("--recordings", type=Path, required=True, help="one folder of recordings per speaker")
    parser.add_argument("-f0p", "--f0_predictor", default="fcpe")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    converter, embed = Converter(args.model, args.config, device="cpu"), load_embedder()
    rows = [
        "| speaker | song | f0 correlation | RMSE (cents) | > 50 cents | to target | to source | real-time factor |"
    ]
    rows.append("|---|---|---|---|---|---|---|---|")
    rate = converter.sample_rate
    voices = {speaker: _voice(args.recordings / speaker, embed) for speaker in converter.voice.speakers}
    for path in sorted(path for path in args.songs.iterdir() if audio.is_audio(path)):
        song = audio.load(path, rate)
        pitch = track_pitch(song, rate)
        for speaker in converter.voice.speakers:
            started = time.perf_counter()
            options = ConversionOptions(speaker=speaker, f0_predictor=args.f0_predictor)
            result = converter.convert(song, options)
            factor = (time.perf_counter() - started) * rate / len(song)
            found = compare_pitch(pitch, track_pitch(result, rate))
            similarity = ["", ""]
            if embed is not None:
                got = embed(result, rate)
                similarity = [f"{float(got @ other):.2f}" for other in (voices[speaker], embed(song, rate))]
            melody = f"{found.correlation:.3f} | {found.rmse_cents:.0f} | {found.off_pitch:.1%}"
            rows.append(f"| {speaker} | {path.stem} | {melody} | {similarity[0]} | {similarity[1]} | {factor:.2f} |")
            logger.info("%s", rows[-1])
    print("\n".join(rows))  # noqa: T201  the product
    return 0


def _voice(folder: Path, embed: Embed | None) -> np.ndarray | None:
    """Mean embedding of a speaker's first recordings."""
    if embed is None:
        return None
    clips = sorted(path for path in folder.iterdir() if audio.is_audio(path))[:MAX_RECORDINGS]
    mean = np.mean([embed(*audio.load_native(clip)) for clip in clips], axis=0)
    return mean / np.linalg.norm(mean)


if __name__ == "__main__":
    raise SystemExit(main())
