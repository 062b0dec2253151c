"""What refining is worth: a singer's own recordings, which no training saw, converted to that singer's voice.

    python -m benchmarks.refiner -m logs/44k/G_10000.pth -c logs/44k/config.json -s alice \
        --clips dataset/44k/alice/8.wav \
        --refiners logs/44k/diffusion/model_9000.pt logs/44k/flow/model_9000.pt --k_steps 50 100 200

The recording is what the conversion should be, so the distance to it is that of the vocoder's mels, in nepers (mean
absolute difference of natural-log mels): of all, and of what is below 8 kHz and above -60 dB, "heard". A refiner's
config.yaml lies beside it. Rows: the synthesizer alone; the vocoder alone, on the mel of the recording, which no
refiner that sings through it can beat; each refiner at each number of steps, and alone (-od). f0 is that of the
recording by --f0_predictor, Praat judges it. Speed: seconds of audio per second of CPU time.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common import audio
from common.logs import setup_logging
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.conversion_tools import ToolFiles
from pipeline.pitch_comparison import compare_pitch, track_pitch
from vdecoder.vocoder import Vocoder

HEARD_LOG_MEL = -7.0  # 60 dB below a loud voice
HEARD_BANDS = 104  # of 128: up to 8 kHz
JUDGE = "pm"


class Clips:
    """Recordings, their mels, and how far something is from them."""

    def __init__(self, paths: list[Path], vocoder: Vocoder, predictor: str) -> None:
        self.vocoder, self.predictor = vocoder, predictor
        self.wavs = [audio.load(path, vocoder.sample_rate) for path in paths]
        self.mels = [self.mel(wav) for wav in self.wavs]
        self.pitches = [track_pitch(wav, vocoder.sample_rate, predictor=JUDGE) for wav in self.wavs]
        self.seconds = sum(map(len, self.wavs)) / vocoder.sample_rate

    def mel(self, wav: np.ndarray) -> Tensor:
        return self.vocoder.extract(torch.from_numpy(wav)[None])[0].cpu()

    def row(self, name: str, results: list[np.ndarray], seconds: float) -> str:
        """A line of the table for results of the lengths of the recordings, made in so much time."""
        all_bands, heard, off, rmse = [], [], [], []
        for wav, mel, pitch in zip(results, self.mels, self.pitches, strict=True):
            distance = (self.mel(wav) - mel).abs()
            all_bands.append(distance.mean().item())
            heard.append(distance[:HEARD_BANDS][mel[:HEARD_BANDS] > HEARD_LOG_MEL].mean().item())
            found = compare_pitch(pitch, track_pitch(wav, self.vocoder.sample_rate, predictor=JUDGE))
            off.append(found.off_pitch)
            rmse.append(found.rmse_cents)
        figures = (np.mean(all_bands), np.mean(heard), np.mean(rmse), 100 * np.mean(off), self.seconds / seconds)
        return "| {} | {:.3f} | {:.3f} | {:.0f} | {:.1f} % | {:.2f} |".format(name, *figures)

    def resynthesised(self) -> list[np.ndarray]:
        """The recordings through the vocoder alone."""
        made = []
        for wav, mel in zip(self.wavs, self.mels, strict=True):
            pitch = track_pitch(wav, self.vocoder.sample_rate, predictor=self.predictor)
            f0 = torch.from_numpy(np.asarray(pitch.f0, np.float32))[None, : mel.shape[1]]
            out = self.vocoder.infer(mel[None], f0, generator=torch.Generator().manual_seed(0))[0].cpu().numpy()
            made.append(np.pad(out, (0, max(0, len(wav) - len(out))))[: len(wav)])
        return made


def rows(args: argparse.Namespace) -> Iterator[str]:
    """Lines of Markdown."""
    yield "| | mel, all | mel, heard | f0 RMSE (cents) | > 50 cents | speed |"
    yield "|---|---|---|---|---|---|"
    converters = [
        Converter(args.model, args.config, device=args.device, files=ToolFiles(path, path.with_name("config.yaml")))
        for path in args.refiners
    ]
    clips = Clips(args.clips, converters[0].tools.refiner.vocoder, args.f0_predictor)

    def made(converter: Converter, options: ConversionOptions) -> tuple[list[np.ndarray], float]:
        started = time.process_time()
        results = [converter.convert(wav, options) for wav in clips.wavs]
        return results, time.process_time() - started

    # A recording is compared with itself: its articulation would be taken from the very answer. What is measured is the
    # network, and not what is done to its mels.
    plain = ConversionOptions(speaker=args.speaker, f0_predictor=args.f0_predictor, articulation=0.0, timbre_match=0.0)
    yield clips.row("synthesizer", *made(converters[0], plain))
    started = time.process_time()
    yield clips.row("vocoder, of the recording's mel", clips.resynthesised(), time.process_time() - started)
    for path, converter in zip(args.refiners, converters, strict=True):
        config = converter.tools.refiner.config.model
        for k_step in args.k_steps:
            shallow = replace(plain, shallow_diffusion=True, k_step=k_step, speedup=max(1, k_step // 10))
            yield clips.row(f"{config.type}, {path.stem}, -shd -ks {k_step}", *made(converter, shallow))
        if config.trained_steps == config.timesteps:
            alone = replace(plain, only_diffusion=True, speedup=config.timesteps // args.alone_steps)
            for temperature in args.temperatures:
                name = f"{config.type}, {path.stem}, -od, {args.alone_steps} steps, temperature {temperature:g}"
                yield clips.row(name, *made(converter, replace(alone, temperature=temperature)))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True, help="the synthesizer")
    parser.add_argument("-c", "--config", type=Path, required=True, help="its config")
    parser.add_argument("-s", "--speaker", required=True, help="who speaks or sings in the clips")
    parser.add_argument("--clips", type=Path, nargs="+", required=True)
    parser.add_argument("--refiners", type=Path, nargs="+", required=True, help="model_<step>.pt of one encoder")
    parser.add_argument("--k_steps", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--alone_steps", type=int, default=20, help="of the sampler, with -od")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0], help="with -od")
    parser.add_argument("-f0p", "--f0_predictor", default="fcpe")
    parser.add_argument("-d", "--device")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    setup_logging()
    for row in rows(args):
        print(row, flush=True)  # noqa: T201  the product


if __name__ == "__main__":
    main()
