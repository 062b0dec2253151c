"""What content units know: who speaks, how high, and whether they still say the same when only the timbre changes.

    python -m benchmarks.units_probe --data dataset_raw --encoder cepstral cepstral-unwarped logmel80 mfcc39

For every encoder a table row of
  speaker     accuracy of a small network on single frames, and of a linear one on a clip's mean and spread (lower is
              better; chance is 1 / speakers; where speakers say different things, part of it is what they say)
  timbre      accuracy of a linear classifier, on a clip's mean and spread, that tells copies with formants moved up
              from copies moved down: the same words, so nothing but timbre is left (lower is better, chance 0.5)
  f0 R2       share of the variance of log f0, about each speaker's mean, that a small network reads from a voiced
              frame (lower is better)
  content     share of frames of the original whose nearest neighbour in a changed copy is at the same time, within 40
              ms (higher is better): formants up, formants down, equaliser only
  distance    mean squared distance between original and formant-shifted copy, 1 = two unrelated frames
  phone error share of frames whose phone a small network reads wrongly (lower is better), where a .tsv beside each
              recording says its phones (benchmarks/phone_labels.py): of other clips of the speakers it was trained on,
              and of a speaker it has not heard, each in turn
Speakers who only hold vowels are left out of the last two with --wordless: they have no frames to find again.

Clips are split into two thirds for training and one third for testing, anew for each seed.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import modules.f0
import vencoder
from benchmarks.phone_probe import probe_phones, read_labels
from common import audio
from common.logs import setup_logging
from modules.f0.predictor import F0Predictor
from modules.mel_processing import mel_to_hz
from modules.perturb import apply_timbre, draw_equaliser
from vencoder.cepstral import WARPS, CepstralEncoder
from vencoder.encoder import HOP_LENGTH, SpeechEncoder
from vencoder.encoder import SAMPLE_RATE as UNITS_RATE

logger = logging.getLogger(__name__)

SAMPLE_RATE = 44100  # copies are made where preprocessing makes them
COPIES = ("up", "down", "eq")
LOUD_DB = 35.0  # frames quieter than the loud ones by more say nothing
FRAMES_PER_CLIP = 60
Encode = Callable[[np.ndarray], np.ndarray]  # (T,) at 16 kHz -> (N, D)


@dataclass(frozen=True)
class Clip:
    """One recording and its changed copies, (T,) at 16 kHz, with what is known of each of its N frames."""

    speaker: int
    original: np.ndarray
    copies: dict[str, np.ndarray]
    loud: np.ndarray  # (N,) bool
    f0: np.ndarray  # (N,) Hz, 0 where unvoiced
    has_words: bool = True  # a held vowel has no frames to find again
    phones: np.ndarray | None = None  # (N,), -1 in silence


class Unwarped(CepstralEncoder):
    """The built-in encoder without its vocal tract normalisation."""

    def _warp(self, envelope: Tensor, weight: Tensor) -> int:
        return len(WARPS) // 2


def read_clips(
    data: Path, per_speaker: int, formant_ratio: float, *, wordless: Sequence[str] = ()
) -> tuple[list[str], list[Clip]]:
    """Up to ``per_speaker`` clips of every folder in ``data``, evenly spaced in the order of their names."""
    rng = np.random.default_rng(0)
    pitch = modules.f0.build("pm", sample_rate=UNITS_RATE, hop_length=HOP_LENGTH)
    speakers = [folder for folder in sorted(data.iterdir()) if folder.is_dir()]
    clips = []
    for index, folder in enumerate(speakers):
        paths = sorted(path for path in folder.iterdir() if audio.is_audio(path))
        for path in paths[:: max(1, len(paths) // per_speaker)][:per_speaker]:
            wav = audio.load(path, SAMPLE_RATE)
            clip = make_clip(wav, index, pitch, formant_ratio=formant_ratio, rng=rng)
            phones = read_labels(path, len(clip.loud))
            clips.append(replace(clip, has_words=folder.name not in wordless, phones=phones))
    return [folder.name for folder in speakers], clips


def make_clip(
    wav: np.ndarray, speaker: int, pitch: F0Predictor, *, formant_ratio: float, rng: np.random.Generator
) -> Clip:
    def at_16k(samples: np.ndarray) -> np.ndarray:
        return audio.resample(samples, SAMPLE_RATE, UNITS_RATE)

    flat = draw_equaliser(rng) * [1.0, 0.0, 1.0]
    original = at_16k(wav)
    n_frames = (len(original) - 400) // HOP_LENGTH + 1
    frames = np.lib.stride_tricks.sliding_window_view(original, 400)[::HOP_LENGTH]
    level = 10.0 * np.log10(np.square(frames).mean(axis=1) + 1e-12)
    f0, voiced = pitch.compute_f0_uv(original, n_frames)
    copies = {
        "up": at_16k(apply_timbre(wav, SAMPLE_RATE, formant_ratio, flat)),
        "down": at_16k(apply_timbre(wav, SAMPLE_RATE, 1.0 / formant_ratio, flat)),
        "eq": at_16k(apply_timbre(wav, SAMPLE_RATE, 1.0, draw_equaliser(rng))),
    }
    return Clip(speaker, original, copies, level > np.quantile(level, 0.95) - LOUD_DB, f0 * voiced)


def log_mel(wav: np.ndarray, n_mels: int = 80) -> np.ndarray:
    """Plain log mel spectrogram (N, n_mels), 25 ms windows.

    Its bands have height 1, not the equal area of `mel_filterbank`: the figures in docs/cepstral.md belong to these.
    """
    edges = mel_to_hz(np.linspace(0.0, 2840.0, n_mels + 2), htk=True)
    hertz = np.arange(513)[:, None] * UNITS_RATE / 1024
    rise, fall = (hertz - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - hertz) / np.diff(edges)[1:]
    frames = np.lib.stride_tricks.sliding_window_view(wav, 400)[::HOP_LENGTH]
    power = np.abs(np.fft.rfft(frames * np.hanning(400), 1024)) ** 2
    return np.log(power @ np.maximum(np.minimum(rise, fall), 0.0) + 1e-8)


def mfcc(wav: np.ndarray) -> np.ndarray:
    """Thirteen cepstra of 40 bands and their first and second differences (N, 39), nothing normalised."""
    bands = log_mel(wav, 40)
    cepstra = bands @ np.cos(np.pi * (np.arange(40)[:, None] + 0.5) * np.arange(13) / 40)
    slope = np.gradient(cepstra, axis=0)
    return np.concatenate([cepstra, slope, np.gradient(slope, axis=0)], axis=1)


def build(name: str, device: str | None, weights: Path | None = None) -> Encode:
    """The encoder called ``name``: one of the registry, those with weights from ``weights``, or a baseline of here."""
    baselines: dict[str, Encode] = {"logmel80": log_mel, "mfcc39": mfcc}
    if name in baselines:
        return baselines[name]
    if name == "cepstral-unwarped":
        encoder: SpeechEncoder = Unwarped()
    else:
        has_weights = vencoder.SPEECH_ENCODERS[name].weights is not None
        encoder = vencoder.build(name, device, weights if has_weights else None)
    return lambda wav: encoder.encode(wav).T.cpu().numpy()


def fit(inputs: np.ndarray, targets: np.ndarray, *, classes: int, hidden: int, seed: int) -> Callable:
    """Train a classifier (``classes`` outputs) or, with 0, a regressor; linear where ``hidden`` is 0.

    Returns a function from inputs (n, D) to outputs (n, classes or 1).
    """
    torch.manual_seed(seed)
    mean, scale = inputs.mean(0), inputs.std(0) + 1e-6

    def standard(x: np.ndarray) -> Tensor:
        return torch.tensor((x - mean) / scale, dtype=torch.float32)

    outputs = classes or 1
    body = [nn.Linear(inputs.shape[1], hidden), nn.ReLU(), nn.Dropout(0.2)] if hidden else []
    net = nn.Sequential(*body, nn.Linear(hidden or inputs.shape[1], outputs))
    goal = torch.tensor(targets, dtype=torch.long if classes else torch.float32)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3 if hidden else 1e-2, weight_decay=1e-2)
    x = standard(inputs)
    for _ in range(30 if hidden else 100):
        for rows in torch.randperm(len(x)).split(256):
            out = net(x[rows])
            loss = nn.functional.cross_entropy(out, goal[rows]) if classes else (out[:, 0] - goal[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    return lambda values: net(standard(values)).detach().numpy()


def pooled(units: np.ndarray, loud: np.ndarray) -> np.ndarray:
    """Mean and spread over time (2 D,)."""
    return np.concatenate([units[loud].mean(axis=0), units[loud].std(axis=0)])


def split(clips: Sequence[Clip], seed: int) -> tuple[list[int], list[int]]:
    """Indices of the training and of the test clips; a third of every speaker's clips is for the test."""
    rng = np.random.default_rng(seed)
    speakers = np.array([clip.speaker for clip in clips])
    test: list[int] = []
    for speaker in np.unique(speakers):
        own = rng.permutation(np.where(speakers == speaker)[0])
        test += own[: max(1, len(own) // 3)].tolist()
    return [i for i in range(len(clips)) if i not in test], test


def frames_of(clips: Sequence[Clip], units: Sequence[np.ndarray], which: Sequence[int], *, voiced: bool, seed: int):
    """Some frames of the clips ``which``: units (n, D), speakers (n,), f0 (n,)."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in which:
        rows = np.where(clips[i].loud & ((clips[i].f0 > 0) | (not voiced)))[0]
        rows = rng.permutation(rows)[:FRAMES_PER_CLIP]
        parts.append((units[i][rows], np.full(len(rows), clips[i].speaker), clips[i].f0[rows]))
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def probe_frames(clips: Sequence[Clip], units: Sequence[np.ndarray], seed: int) -> dict[str, float]:
    """Speaker accuracy and f0 R2 of single frames."""
    train, test = split(clips, seed)
    classes = 1 + max(clip.speaker for clip in clips)
    x, speaker, _ = frames_of(clips, units, train, voiced=False, seed=seed)
    x_test, speaker_test, _ = frames_of(clips, units, test, voiced=False, seed=seed)
    guess = fit(x, speaker, classes=classes, hidden=64, seed=seed)(x_test).argmax(axis=1)
    accuracy = np.mean([(guess == speaker_test)[speaker_test == s].mean() for s in range(classes)])

    x, speaker, f0 = frames_of(clips, units, train, voiced=True, seed=seed)
    x_test, speaker_test, f0_test = frames_of(clips, units, test, voiced=True, seed=seed)
    means = {s: np.log(f0[speaker == s]).mean() for s in np.unique(speaker)}
    goal, goal_test = (
        np.log(hertz) - np.array([means[s] for s in who]) for hertz, who in ((f0, speaker), (f0_test, speaker_test))
    )
    scale = goal.std()
    read = fit(x, goal / scale, classes=0, hidden=64, seed=seed)(x_test)[:, 0] * scale
    r2 = 1.0 - np.square(read - goal_test).mean() / goal_test.var()
    return {"speaker frame": float(accuracy), "f0 R2": float(r2)}


def probe_clips(clips: Sequence[Clip], units: dict[str, list[np.ndarray]], seed: int) -> dict[str, float]:
    """Speaker and timbre accuracy of whole clips."""
    train, test = split(clips, seed)
    pools = {kind: np.stack([pooled(u, c.loud) for u, c in zip(units[kind], clips, strict=True)]) for kind in units}
    speakers = np.array([clip.speaker for clip in clips])
    classify = fit(pools["original"][train], speakers[train], classes=1 + speakers.max(), hidden=0, seed=seed)
    speaker = (classify(pools["original"][test]).argmax(axis=1) == speakers[test]).mean()
    both, both_test = (np.concatenate([pools["up"][rows], pools["down"][rows]]) for rows in (train, test))
    classify = fit(both, np.repeat([1, 0], len(train)), classes=2, hidden=0, seed=seed)
    timbre = (classify(both_test).argmax(axis=1) == np.repeat([1, 0], len(test))).mean()
    return {"speaker clip": float(speaker), "timbre": float(timbre)}


def probe_content(clips: Sequence[Clip], units: dict[str, list[np.ndarray]]) -> dict[str, float]:
    """Nearest-neighbour agreement in time, and distances, between originals and copies of clips with words."""
    result: dict[str, float] = {}
    distances = []
    for kind in COPIES:
        hits = []
        for clip, first, second in zip(clips, units["original"], units[kind], strict=True):
            if not clip.has_words:
                continue
            squared = np.square(first).sum(1)[:, None] + np.square(second).sum(1) - 2.0 * first @ second.T
            late = np.abs(squared.argmin(axis=1) - np.arange(len(first)))
            hits.append((late <= 2)[clip.loud].mean())
            if kind != "eq":
                moved = np.square(first - second)[clip.loud].sum(axis=1).mean()
                distances.append(moved / (2.0 * first[clip.loud].var(axis=0).sum()))
        result[f"content {kind}"] = float(np.mean(hits))
    result["distance"] = float(np.mean(distances))
    return result


def probe(name: str, encode: Encode, clips: Sequence[Clip], *, seeds: int, verbose: bool = False) -> dict[str, float]:
    """All measures of one encoder, those with a split averaged over ``seeds`` splits."""
    units = {"original": [encode(clip.original) for clip in clips]}
    for kind in COPIES:
        units[kind] = [encode(clip.copies[kind]) for clip in clips]
    rows = [probe_split(clips, units, seed) for seed in range(seeds)]
    if verbose:
        for seed, row in enumerate(rows):
            logger.info("%s, split %d: %s", name, seed, ", ".join(f"{key} {value:.3f}" for key, value in row.items()))
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return {"dim": float(units["original"][0].shape[1])} | mean | probe_content(clips, units)


def probe_split(clips: Sequence[Clip], units: dict[str, list[np.ndarray]], seed: int) -> dict[str, float]:
    """All measures that depend on the split of the clips."""
    row = probe_frames(clips, units["original"], seed) | probe_clips(clips, units, seed)
    labelled = [i for i, clip in enumerate(clips) if clip.phones is not None]
    if labelled:
        some = [clips[i] for i in labelled]
        labels, speakers = [clip.phones for clip in some], np.array([clip.speaker for clip in some])
        own = [units["original"][i] for i in labelled]
        row |= probe_phones(labels, speakers, own, fit, split=split(some, seed), seed=seed)
    return row


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder of recordings per speaker")
    parser.add_argument("--encoder", nargs="+", default=["cepstral", "cepstral-unwarped", "logmel80", "mfcc39"])
    parser.add_argument("--clips", type=int, default=20, help="clips per speaker")
    parser.add_argument("--wordless", nargs="*", default=[], help="speakers to leave out of content and distance")
    parser.add_argument("--seeds", type=int, default=3, help="splits to average over")
    parser.add_argument("--formant_ratio", type=float, default=1.2, help="how far the copies' formants are moved")
    parser.add_argument("--device", default=None, help="device of the encoders")
    parser.add_argument("--weights", type=Path, help="weights file of the encoders, instead of their own")
    parser.add_argument("--verbose", action="store_true", help="log the measures of every split")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    setup_logging()
    args = parse_args(argv)
    speakers, clips = read_clips(args.data, args.clips, args.formant_ratio, wordless=args.wordless)
    logger.info("%d clips of %s, formants moved by %s", len(clips), ", ".join(speakers), args.formant_ratio)
    header = None
    for name in args.encoder:
        encode = build(name, args.device, args.weights)
        row = probe(name, encode, clips, seeds=args.seeds, verbose=args.verbose)
        if header is None:
            header = ["encoder", *row]
            print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))  # noqa: T201
        values = [f"{value:.0f}" if key == "dim" else f"{value:.3f}" for key, value in row.items()]
        print(f"| {name} | " + " | ".join(values) + " |", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
