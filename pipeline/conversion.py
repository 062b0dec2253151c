"""A song in another voice: cut, extract, synthesise, join.

Letters: T samples at the model's rate, K conversions of one song made side by side (speakers, transpositions),
B pieces of a batch, F frames, D unit channels.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common import audio, checkpoint, devices
from common.config import Config
from models import INFER_SEED, SynthesizerTrn
from modules.f0 import CONFIDENT, SEARCHING
from modules.layers import remove_weight_norms
from modules.units import resize_units
from modules.volume import match_loudness
from pipeline import pieces
from pipeline.features import FeatureExtractor, Features, FeatureSettings
from pipeline.pieces import Piece
from pipeline.settings import read_config

logger = logging.getLogger(__name__)

NO_CONFIG = "train.py writes it into the folder of the model; name that one with -c, or run python train.py first"

# On a GPU pieces of similar length are converted together: so many seconds at once, chosen among so many.
BATCH_SECONDS, LOOKAHEAD_SECONDS = 90.0, 300.0


@dataclass(frozen=True)
class ConversionOptions:
    """How a song is converted. The defaults are those of inference_main.py.

    Raises:
        ValueError: every value that is out of its range.
    """

    speaker: str | int = 0  # name, or id
    transpose: float = 0.0  # semitones
    auto_predict_f0: bool = False  # sing the melody that the model predicts: for speech, not for songs
    f0_predictor: str = "pm"
    f0_filter_threshold: float = 0.05  # confidence below which crepe, rmvpe and fcpe call a frame unvoiced
    f0_min: float = 50.0  # Hz
    f0_max: float = 1100.0  # Hz
    noise_scale: float = 0.4  # of the prior; more is livelier and rougher
    slice_db: float = -40.0  # level below which a pause may be cut, dB relative to full scale
    pad_seconds: float = 0.5  # context on both sides of a piece
    clip: float = 0.0  # length of forced cuts; 0 cuts in pauses
    linear_gradient: float = 0.0  # seconds by which forced cuts overlap
    linear_gradient_retain: float = 0.75  # share of the overlap that is faded over
    loudness_envelope_adjustment: float = 1.0  # 0: loudness of the source, 1: of the output
    seed: int = INFER_SEED

    def __post_init__(self) -> None:
        rules = {
            f"noise_scale (-ns) must not be negative, got {self.noise_scale}": self.noise_scale >= 0,
            f"slice_db (-sd) must be negative (dB below full scale), got {self.slice_db}": self.slice_db < 0,
            f"pad_seconds (-p) must not be negative, got {self.pad_seconds}": self.pad_seconds >= 0,
            f"clip (-cl) must be 0 or at least 0.1, got {self.clip}": self.clip == 0 or self.clip >= 0.1,
            f"linear_gradient (-lg) must lie between 0 and clip (-cl, {self.clip}), got {self.linear_gradient}": (
                0 <= self.linear_gradient < (self.clip or float("inf"))
            ),
            f"linear_gradient_retain (-lgr) must lie between 0 and 1, got {self.linear_gradient_retain}": (
                0 <= self.linear_gradient_retain <= 1
            ),
            f"loudness_envelope_adjustment (-lea) must lie between 0 and 1, got {self.loudness_envelope_adjustment}": (
                0 <= self.loudness_envelope_adjustment <= 1
            ),
        }
        broken = [text for text, holds in rules.items() if not holds]
        if broken:
            raise ValueError("; ".join(broken))

    def without_effect(self) -> Iterator[str]:
        """A line for each option that was set, and that nothing comes of because of the others."""
        default = ConversionOptions()
        if self.linear_gradient and not self.clip:
            yield "-lg has no effect without -cl: only forced cuts overlap"
        if self.linear_gradient_retain != default.linear_gradient_retain and not self.linear_gradient:
            yield "-lgr has no effect without -lg"
        if (self.f0_min, self.f0_max) != (default.f0_min, default.f0_max) and self.f0_predictor not in SEARCHING:
            yield f"--f0_min and --f0_max have no effect on {self.f0_predictor}, which has a range of its own"
        if self.f0_filter_threshold != default.f0_filter_threshold and self.f0_predictor not in CONFIDENT:
            yield f"-ft has no effect on {self.f0_predictor}, which knows no confidence"


class Target(NamedTuple):
    """One of the conversions of a song."""

    speaker_id: int
    transpose: float  # semitones


class Converter:
    """A trained model, ready to convert.

    Args:
        model_path: G_<step>.pth of this project or of so-vits-svc 4.0 and 4.1, complete or released, any precision.
        config_path: the config.json it was trained with.
        device: name of the device; None chooses.
        make_extractor: builds what makes features of audio, from settings and a device.

    Raises:
        FileNotFoundError: no such model or config; of models, those that are there are listed.
        ConfigError, CheckpointError: the files cannot be used, or do not belong together.
        ValueError: the device is absent.
    """

    def __init__(
        self,
        model_path: str | Path,
        config_path: str | Path,
        *,
        device: str | None = None,
        make_extractor: Callable[[FeatureSettings, torch.device], FeatureExtractor] = FeatureExtractor,
    ) -> None:
        self.device = devices.resolve(device)
        self.config_path, self.config = Path(config_path), read_config(config_path, advice=NO_CONFIG)
        self.model = load_synthesizer(Path(model_path), self.config, self.device)
        self.sample_rate, self.hop_length = self.config.data.sampling_rate, self.config.data.hop_length
        self._make_extractor = make_extractor
        self._extractor: FeatureExtractor | None = None

    def convert(self, song: str | Path | np.ndarray, options: ConversionOptions) -> np.ndarray:
        """A file, or audio (T,) at ``sample_rate`` -> the song in the voice of ``options.speaker``, (T,) float32.

        Raises:
            ValueError: unknown speaker or f0 predictor, audio that cannot be read, or that is no (T,) of finite floats.
            FileNotFoundError: weights of the speech encoder or of the f0 predictor are missing.
        """
        wav = song if isinstance(song, np.ndarray) else audio.load(song, self.sample_rate)
        target = Target(self.config.speaker_id(options.speaker), options.transpose)
        return np.concatenate([block[0] for block in self.stream(wav, options, [target])])

    def stream(self, wav: np.ndarray, options: ConversionOptions, targets: Sequence[Target]) -> Iterator[np.ndarray]:
        """Convert (T,) for all ``targets`` at once: blocks (K, n) that follow one another and last T in all.

        Features are extracted once for all of them, and only some pieces of the song are held at a time.
        ``options.speaker`` and ``options.transpose`` are not used.
        """
        wav = _checked(wav)
        extractor = self.extractor(options)
        planned = self.plan(wav, options)
        fade = round(self.sample_rate * pieces.FADE_SECONDS / 2)
        converted = self._convert_pieces(wav, planned, extractor, options=options, targets=targets)
        yield from pieces.join(converted, len(wav), n_conversions=len(targets), fade=fade)

    def plan(self, wav: np.ndarray, options: ConversionOptions) -> list[Piece]:
        """The pieces in which (T,) will be converted."""
        return pieces.plan(
            wav,
            self.sample_rate,
            self.hop_length,
            slice_db=options.slice_db,
            pad_seconds=options.pad_seconds,
            clip_seconds=options.clip,
            overlap_seconds=options.linear_gradient if options.clip else 0.0,
            overlap_retain=options.linear_gradient_retain,
        )

    def extractor(self, options: ConversionOptions) -> FeatureExtractor:
        """The extractor for ``options``; the last one is kept and used again when the settings are the same."""
        settings = FeatureSettings.of(
            self.config,
            options.f0_predictor,
            f0_threshold=options.f0_filter_threshold,
            f0_min=options.f0_min,
            f0_max=options.f0_max,
        )
        if self._extractor is None or self._extractor.settings != settings:
            self._extractor = self._make_extractor(settings, self.device)
        return self._extractor

    def _convert_pieces(
        self,
        wav: np.ndarray,
        planned: list[Piece],
        extractor: FeatureExtractor,
        *,
        options: ConversionOptions,
        targets: Sequence[Target],
    ) -> Iterator[tuple[Piece, np.ndarray]]:
        """The pieces in order, each with its K conversions (K, end - start)."""
        for window in _windows(planned, LOOKAHEAD_SECONDS * self.sample_rate if self._batches else 0):
            done: dict[Piece, np.ndarray] = {}
            for batch in _batches(window, BATCH_SECONDS * self.sample_rate if self._batches else 0):
                sources = [pieces.heard(wav, piece) for piece in batch]
                features = extractor.extract_batch(sources)
                outputs = [self._synthesise(features, sources, target, options) for target in targets]  # K x B
                for piece, conversions in zip(batch, zip(*outputs, strict=True), strict=True):
                    kept = slice(piece.start - piece.left, piece.end - piece.left)
                    done[piece] = np.stack([conversion[kept] for conversion in conversions])
            yield from ((piece, done[piece]) for piece in window)

    @property
    def _batches(self) -> bool:
        return self.device.type != "cpu"  # a CPU gains nothing from it, and zeros behind the shorter pieces cost time

    @torch.no_grad()
    def _synthesise(
        self, features: Sequence[Features], sources: Sequence[np.ndarray], target: Target, options: ConversionOptions
    ) -> list[np.ndarray]:
        """Features of B pieces -> B waveforms (F * hop_length,)."""
        f0, uv, volume = (
            _padded([getattr(item, name) for item in features], self.device) for name in ("f0", "uv", "volume")
        )
        lengths = [len(item.f0) for item in features]
        mode = self.config.data.unit_interpolate_mode
        units = [resize_units(item.units, n, mode).T for item, n in zip(features, lengths, strict=True)]  # (F, D)
        output, _ = self.model.infer(
            pad_sequence(units, batch_first=True).transpose(1, 2).to(self.device),
            f0 * 2 ** (target.transpose / 12),
            uv,
            g=torch.full((len(features), 1), target.speaker_id, device=self.device),
            noice_scale=options.noise_scale,
            seed=options.seed,
            predict_f0=options.auto_predict_f0,
            vol=volume if self.config.model.vol_embedding else None,
            c_lengths=torch.tensor(lengths, device=self.device) if len(lengths) > 1 else None,
        )
        waves = [wav[0, : n * self.hop_length].cpu() for wav, n in zip(output, lengths, strict=True)]
        return [self._finished(wav, source, options) for wav, source in zip(waves, sources, strict=True)]

    def _finished(self, wav: Tensor, source: np.ndarray, options: ConversionOptions) -> np.ndarray:
        if not torch.isfinite(wav).all():
            raise ValueError("the model's output is not finite: its checkpoint is damaged or diverged in training")
        if options.loudness_envelope_adjustment != 1:
            heard = torch.from_numpy(source[: len(wav)])
            rate = options.loudness_envelope_adjustment
            wav = match_loudness(heard, self.sample_rate, wav, self.sample_rate, rate)
        return wav.numpy()


def load_synthesizer(model_path: Path, config: Config, device: torch.device) -> SynthesizerTrn:
    """Build the synthesizer of ``config`` and fill it from a checkpoint, for inference only.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: it cannot be read, or is of another model.
    """
    if not model_path.is_file():
        there = ", ".join(sorted(path.name for path in model_path.parent.glob("*.pth") if path.name[0] != "D"))
        found = f"in that folder there are: {there}" if there else "that folder holds no model: run python train.py"
        raise FileNotFoundError(f"no model {model_path}; {found}")
    data = config.data
    model = SynthesizerTrn(
        data.filter_length // 2 + 1,
        config.train.segment_size // data.hop_length,
        sampling_rate=data.sampling_rate,
        **config.as_dict()["model"],
    )
    state, _ = checkpoint.read_model(model_path, only=())
    try:
        checkpoint.load_weights(model, state, where=model_path, optional=("enc_q.",))
    except checkpoint.CheckpointError as error:
        raise checkpoint.CheckpointError(f"{error}\n  -c must name the config.json it was trained with") from None
    del model.enc_q  # used in training only
    remove_weight_norms(model)
    return model.eval().to(device)


def _checked(wav: np.ndarray) -> np.ndarray:
    wav = np.ascontiguousarray(wav, dtype=np.float32)
    if wav.ndim != 1 or len(wav) == 0:
        raise ValueError(f"expected mono audio of shape (T,) with at least one sample, got shape {wav.shape}")
    if not np.isfinite(wav).all():
        raise ValueError("the audio holds NaN or infinite samples")
    return wav


def _padded(items: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """B arrays (F_i,) -> (B, F), zeros behind the shorter ones."""
    return pad_sequence([torch.from_numpy(item) for item in items], batch_first=True).to(device)


def _windows(planned: list[Piece], limit: float) -> Iterator[list[Piece]]:
    """Neighbouring pieces, as many as ``limit`` samples hold, at least one."""
    window: list[Piece] = []
    for piece in planned:
        if window and piece.right - window[0].left > limit:
            yield window
            window = []
        window.append(piece)
    if window:
        yield window


def _batches(window: list[Piece], limit: float) -> Iterator[list[Piece]]:
    """Pieces of similar length, as many as make ``limit`` samples with zeros behind the shorter ones, at least one."""
    batch: list[Piece] = []
    for piece in sorted(window, key=lambda piece: piece.right - piece.left):
        if batch and (len(batch) + 1) * (piece.right - piece.left) > limit:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch
