"""What a mel vocoder is worth: recordings are taken apart into mel and f0 and made again.

    python -m benchmarks.vocoder filelists/val.txt -m pretrain/embedded/vocoder/model.ckpt --shift -5 5

Columns: mean L1 of the log-mels (nepers) and of log magnitudes on narrow STFT bins; correlation of log f0 with the f0
that was asked for, RMSE and share off pitch (over 50 cents) on frames voiced in both, by Praat's tracker; real-time
factor. ``--shift`` also asks for an f0 moved by so many semitones with the mel as it is, where mels cannot be compared.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from common import audio
from common.logs import setup_logging
from modules.losses import stft_loss
from pipeline.dataset import read_filelist
from pipeline.pitch_comparison import compare_pitch, track_pitch
from vdecoder import build_vocoder
from vdecoder.vocoder import Vocoder

SEED = 1  # of the source's noise
HEADER = "| clips | shift | mel L1 | STFT | f0 correlation | RMSE (cents) | > 50 cents | real-time factor |"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True, help="weights, with config.json beside them")
    parser.add_argument("--shift", type=float, nargs="*", default=[], help="semitones")
    parser.add_argument("-d", "--device", default="cpu")
    parser.add_argument("clips", type=Path, nargs="+", help="audio files, or filelists of them (.txt)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    vocoder = build_vocoder("nsf-hifigan", args.model, args.device)
    rows = [HEADER, "|---" * HEADER.count(" | ") + "|---|"]
    for group in args.clips:
        clips = read_filelist(group) if group.suffix == ".txt" else [group]
        for shift in (0.0, *args.shift):
            figures = np.nanmean([measure(vocoder, clip, shift) for clip in clips], axis=0)
            mel, stft, correlation, rmse, off_pitch, factor = figures
            same = f"{mel:.3f} | {stft:.3f}" if shift == 0 else " | "
            rows.append(
                f"| {group.stem} ({len(clips)}) | {shift:+g} | {same} | {correlation:.3f} | {rmse:.0f} |"
                f" {100 * off_pitch:.1f} % | {factor:.2f} |"
            )
    print("\n".join(rows))  # noqa: T201  the product
    return 0


def measure(vocoder: Vocoder, clip: Path, shift: float) -> tuple[float, ...]:
    """Mel L1, STFT distance, f0 correlation, RMSE in cents, share of frames off pitch, real-time factor."""
    rate, hop = vocoder.sample_rate, vocoder.hop_length
    wav = audio.load(clip, rate)
    wav = wav[: len(wav) // hop * hop]
    asked = track_pitch(wav, rate, hop_length=hop)
    recorded = torch.from_numpy(wav)[None].to(vocoder.device)
    mel = vocoder.extract(recorded)
    f0 = asked.f0[: mel.shape[-1]] * np.float32(2 ** (shift / 12))
    started = time.perf_counter()
    made = vocoder.infer(mel, torch.from_numpy(f0).float()[None], generator=torch.Generator().manual_seed(SEED))
    sung = made[0].cpu().numpy()
    factor = (time.perf_counter() - started) * rate / len(wav)
    found = compare_pitch(asked, track_pitch(sung, rate, hop_length=hop), transpose=shift)
    mel_l1 = (vocoder.extract(made) - mel).abs().mean().item()
    return (
        *(mel_l1, stft_loss(recorded, made).item()),
        *(found.correlation, found.rmse_cents, found.off_pitch, factor),
    )


if __name__ == "__main__":
    raise SystemExit(main())
