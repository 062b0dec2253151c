"""Whether loudness follows the song (-lea, models with vol_embedding), and a predicted melody (-a) suits the singer.

    python -m benchmarks.timbre_tools -m G_0.pth -c config.json --songs raw --recordings dataset_raw

Loudness: each song as it is and with a crescendo laid over it, from -20 dB to 0, by each speaker at -lea 0, 0.5 and 1.
"corr." is the correlation of levels in windows of 50 ms, as evaluate.py measures it; "off" the root mean square
difference of the envelopes over a second, which is what -lea acts on, after the mean difference is taken away, in dB.

Auto f0: each song by each speaker with -a; 5th percentile, median and 95th percentile of the result's f0 beside those
of the speaker's recordings, and the share of the voiced frames between their 5th and 95th percentile widened by two
semitones.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from common import audio
from common.logs import setup_logging
from modules.metrics.loudness import loudness_correlation
from modules.volume import loudness_envelope
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.evaluation import find_targets
from pipeline.pitch_comparison import track_pitch
from pipeline.pitch_range import PitchRange, pitch_range

RATES = (0.0, 0.5, 1.0)
CRESCENDO_DB = 20.0
AUDIBLE_DB = 40.0  # seconds of the song that lie further below its loudest do not count
MARGIN = 2.0  # semitones on either side of a speaker's range
MOST_RECORDINGS = 12  # for a speaker's range


def crescendo(wav: np.ndarray) -> np.ndarray:
    """(T,) with a gain that rises evenly from -CRESCENDO_DB to 0 dB."""
    return wav * np.logspace(-CRESCENDO_DB / 20, 0, len(wav), dtype=np.float32)


def envelope_difference(source: np.ndarray, result: np.ndarray, sample_rate: int) -> float:
    """Root mean square difference in dB of the envelopes over a second, but for a constant."""
    a, b = (loudness_envelope(torch.from_numpy(wav), sample_rate).double().numpy() for wav in (source, result))
    audible = a > a.max() * 10 ** (-AUDIBLE_DB / 20)
    return float(np.std(20 * np.log10(np.maximum(b[audible], 1e-6) / a[audible])))


def share_within(f0_hz: np.ndarray, limits: PitchRange) -> float:
    """Share of (N,) Hz in the range, MARGIN semitones wider."""
    factor = 2 ** (MARGIN / 12)
    return float(np.mean((f0_hz >= limits.low / factor) & (f0_hz <= limits.high * factor)))


def loudness_rows(converter: Converter, songs: dict[str, np.ndarray], f0_predictor: str) -> Iterator[str]:
    yield "| song | speaker | " + " | ".join(f"-lea {rate:g}: corr., off" for rate in RATES) + " |"
    yield "|---|---|" + "---|" * len(RATES)
    for name, song in songs.items():
        for title, wav in ((name, song), (f"{name}, crescendo", crescendo(song))):
            for speaker in converter.voice.speakers:
                cells = []
                for rate in RATES:
                    options = ConversionOptions(
                        speaker=speaker, f0_predictor=f0_predictor, loudness_envelope_adjustment=rate
                    )
                    result = converter.convert(wav, options)
                    correlation = loudness_correlation(wav, result, converter.sample_rate)
                    off = envelope_difference(wav, result, converter.sample_rate)
                    cells.append(f"{correlation:.3f}, {off:.1f} dB")
                yield f"| {title} | {speaker} | {' | '.join(cells)} |"


def auto_f0_rows(
    converter: Converter, songs: dict[str, np.ndarray], recordings: Path, f0_predictor: str
) -> Iterator[str]:
    yield "| song | speaker | the song | with -a | the speaker's recordings | within their range |"
    yield "|---|---|---|---|---|---|"
    rate = converter.sample_rate
    for speaker, folder in find_targets((recordings,)).items():
        if speaker not in converter.voice.speakers:
            continue
        clips = sorted(path for path in folder.iterdir() if audio.is_audio(path))[:MOST_RECORDINGS]
        own = pitch_range((audio.load(clip, rate) for clip in clips), rate)
        if own is None:
            raise ValueError(f"nothing in {folder} is heard as sung or spoken")
        for name, song in songs.items():
            options = ConversionOptions(speaker=speaker, f0_predictor=f0_predictor, auto_predict_f0=True)
            result = converter.convert(song, options)
            voiced = [
                track.f0[track.uv > 0] for track in (track_pitch(wav, rate, predictor="fcpe") for wav in (song, result))
            ]
            if not all(map(len, voiced)):
                yield f"| {name} | {speaker} | nothing voiced | | {own} | |"
                continue
            ranges = " | ".join(str(PitchRange.of(hz)) for hz in voiced)
            yield f"| {name} | {speaker} | {ranges} | {own} | {share_within(voiced[1], own):.0%} |"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True, help="G_<step>.pth")
    parser.add_argument("-c", "--config", type=Path, required=True, help="the config it was trained with")
    parser.add_argument("--songs", type=Path, nargs="+", required=True, help="songs, or speech")
    parser.add_argument("--recordings", type=Path, required=True, help="one folder of recordings per speaker")
    parser.add_argument("-f0p", "--f0_predictor", default="fcpe")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    converter = Converter(args.model, args.config, device="cpu")
    songs = {path.stem: audio.load(path, converter.sample_rate) for path in args.songs}
    for row in loudness_rows(converter, songs, args.f0_predictor):
        print(row, flush=True)  # noqa: T201  the product
    for row in auto_f0_rows(converter, songs, args.recordings, args.f0_predictor):
        print(row, flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
