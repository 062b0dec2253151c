"""How far the units of long audio in windows are from those of the same audio in one piece, and why.

    python -m benchmarks.windows --audio raw/*.flac --settings 1500/150 500/50

For a HuBERT whose first convolution is normalised over time (ContentVec, HuBERT-soft, WavLM base, DPHuBERT) two things
differ in a window: that norm, and what attention sees. A row of the table for each size of window and its context in
frames, with both, and with only one of the two: "attention", where the norm has the statistics of the whole clip,
and "norm", where attention sees the frames of the whole clip.

    difference   root mean square of it, relative to that of the units; the 99th percentile over frames
    cosine       similarity of a frame to the one of the whole: median, 1st percentile
    speed        seconds of audio per second of CPU time, one thread

Weights are those under pretrain/; where they are absent, random numbers (benchmarks/stand_ins.py). How far attention
looks is something that is learned: with random weights the table is a hint at best. --sharpness multiplies the scores
of attention: with 1, random attention spreads over nearly all frames and makes them alike (the log says how much of the
units is left that varies in time), with 4 it is put on a few.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import vencoder
from benchmarks.features import find_weights
from common import audio
from common.logs import setup_logging
from vencoder.encoder import HOP_LENGTH, SAMPLE_RATE
from vencoder.hubert import HubertEncoder

logger = logging.getLogger("windows")


def output_statistics(conv: nn.Conv1d, wav: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) over time of what ``conv`` makes of wav (T,), from mean and covariance of its inputs."""
    inputs = wav.double().unfold(0, conv.kernel_size[0], conv.stride[0])  # (steps, kernel)
    weight = conv.weight[:, 0].double()  # (C, kernel)
    variance = ((weight @ torch.cov(inputs.T, correction=0)) * weight).sum(dim=1)
    return (weight @ inputs.mean(dim=0)).float(), variance.float()


class FixedNorm(nn.Module):
    """The norm of the first convolution, with statistics over a whole clip instead of those over its input."""

    def __init__(self, norm: nn.GroupNorm, conv: nn.Conv1d, wav: Tensor) -> None:
        super().__init__()
        self.norm = norm
        self.mean, self.variance = output_statistics(conv, wav)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, C, N) -> (B, C, N)"""
        return F.batch_norm(x, self.mean, self.variance, self.norm.weight, self.norm.bias, eps=self.norm.eps)


@contextmanager
def fixed_norm(encoder: HubertEncoder, wav: Tensor) -> Iterator[None]:
    """Within it, the first norm of ``encoder`` has the statistics of ``wav`` (T,)."""
    layer = encoder.net.feature_extractor.conv_layers[0]
    norm = layer[2]
    layer[2] = FixedNorm(norm, layer[0], wav)
    try:
        yield
    finally:
        layer[2] = norm


@contextmanager
def windows_of(encoder: HubertEncoder, max_frames: int, context_frames: int) -> Iterator[None]:
    """Within it, ``encoder`` cuts its input so."""
    before = encoder.max_frames, encoder.context_frames
    encoder.max_frames, encoder.context_frames = max_frames, context_frames
    try:
        yield
    finally:
        encoder.max_frames, encoder.context_frames = before


def norm_in_windows(encoder: HubertEncoder, wav: Tensor) -> Tensor:
    """Units (D, N) of convolutions in windows, and of a transformer that sees the clip."""
    net, n_frames = encoder.net, encoder.n_frames(len(wav))
    pieces = []
    for w in encoder._windows(0, n_frames):
        cut = encoder._cut(wav, w)[None]
        features, _ = net.feature_extractor(cut, torch.tensor([cut.shape[1]]))
        pieces.append(features[:, :, w.start - w.left : w.end - w.left])
    x = net.post_extract_proj(net.layer_norm(torch.cat(pieces, dim=2).transpose(1, 2)))
    return net.final_proj(net.encoder(x, torch.tensor([n_frames])))[0].T


def norm_gains(encoder: HubertEncoder, wav: Tensor) -> Tensor:
    """dB by which the first norm amplifies each channel more in a window than in the whole clip: (windows, C)."""
    conv, n_frames = encoder.net.feature_extractor.conv_layers[0][0], encoder.n_frames(len(wav))
    variances = [output_statistics(conv, encoder._cut(wav, w))[1] for w in encoder._windows(0, n_frames)]
    return 10.0 * torch.log10(output_statistics(conv, wav)[1] / torch.stack(variances))


def compare(got: Tensor, whole: Tensor) -> str:
    """Cells of the table: got and whole are (D, N)."""
    difference = (got - whole).norm(dim=0) / whole.norm() * whole.shape[1] ** 0.5
    cosine = F.cosine_similarity(got, whole, dim=0)
    rms = difference.square().mean().sqrt()
    return f"{rms:.3f} | {difference.quantile(0.99):.3f} | {cosine.median():.4f} | {cosine.quantile(0.01):.4f}"


@torch.no_grad()
def rows(encoder: HubertEncoder, wav: Tensor, settings: Sequence[tuple[int, int]]) -> Iterator[str]:
    seconds = len(wav) / SAMPLE_RATE

    def timed(name: str, encode: Callable[[Tensor], Tensor]) -> str:
        started = time.process_time()
        units = encode(wav)
        return f"| {name} | {compare(units, whole)} | {seconds / (time.process_time() - started):.2f} |"

    with windows_of(encoder, len(wav) // HOP_LENGTH, 0):
        whole = encoder.encode(wav)
        varying = (whole - whole.mean(dim=1, keepdim=True)).norm() / whole.norm()
        logger.info("%.3f of the whole clip's units varies in time", varying)
        yield timed("whole | – | –", encoder.encode)
    for max_frames, context in settings:
        with windows_of(encoder, max_frames, context):
            gains, name = norm_gains(encoder, wav), f"{max_frames} | {context}"
            logger.info("%s: gain of the first norm %.1f to %.1f dB", name, gains.min(), gains.max())
            yield timed(f"{name} | both", encoder.encode)
            with fixed_norm(encoder, wav):
                yield timed(f"{name} | attention", encoder.encode)
            yield timed(f"{name} | norm", lambda wav: norm_in_windows(encoder, wav))


def sharpen(encoder: HubertEncoder, factor: float) -> None:
    for layer in encoder.net.encoder.layers:
        layer.self_attn.q_proj.weight.mul_(factor)
        layer.self_attn.q_proj.bias.mul_(factor)


def pair(text: str) -> tuple[int, int]:
    max_frames, context = map(int, text.split("/"))
    return max_frames, context


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--audio", type=Path, nargs="+", required=True, help="songs, measured one after the other as one"
    )
    parser.add_argument("--encoder", default="vec768l12", help="one whose first convolution is normalised over time")
    parser.add_argument("--settings", type=pair, nargs="+", default=[(1500, 150)], metavar="MAX/CONTEXT", help="frames")
    parser.add_argument("--sharpness", type=float, default=1.0, help="factor on the scores of attention")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        weights, origin = find_weights(args.encoder, Path(folder))
        encoder = vencoder.build(args.encoder, "cpu", weights)
    sharpen(encoder, args.sharpness)
    wav = torch.from_numpy(np.concatenate([audio.load(path, SAMPLE_RATE) for path in args.audio]))
    logger.info("%s with %s weights, %.0f s of audio", args.encoder, origin, len(wav) / SAMPLE_RATE)
    print("| window | context | what differs | difference | 99 % | cosine | 1 % | speed |\n|" + "---|" * 8)  # noqa: T201
    for line in rows(encoder, wav, args.settings):
        print(line, flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
