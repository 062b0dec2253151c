"""A song in another voice: cut, extract, synthesise, join.

Letters: T samples at the model's rate, K conversions of one song made side by side (speakers, transpositions),
B pieces of a batch, F frames, D unit channels.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common import audio, checkpoint, devices
from common.config import Config
from models import SynthesizerTrn
from modules.layers import remove_weight_norms
from modules.units import resize_units
from modules.volume import match_loudness
from pipeline import pieces
from pipeline.conversion_options import ConversionOptions, feature_settings, plan_pieces
from pipeline.features import FeatureExtractor, Features, Track
from pipeline.melody import Melody, track_song
from pipeline.pieces import Piece
from pipeline.settings import read_config

logger = logging.getLogger(__name__)

NO_CONFIG = "train.py writes it into the folder of the model; name that one with -c, or run python train.py first"

# On a GPU pieces of similar length are converted together: so many seconds at once, chosen among so many.
BATCH_SECONDS, LOOKAHEAD_SECONDS = 90.0, 300.0


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
        make_extractor: builds what makes features of audio, called as `FeatureExtractor` is.

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
        make_extractor: Callable[..., FeatureExtractor] = FeatureExtractor,
    ) -> None:
        self.device = devices.resolve(device)
        self.config_path, self.config = Path(config_path), read_config(config_path, advice=NO_CONFIG)
        self.model = load_synthesizer(Path(model_path), self.config, self.device)
        self.sample_rate, self.hop_length = self.config.data.sampling_rate, self.config.data.hop_length
        self._make_extractor = make_extractor
        self._extractor: FeatureExtractor | None = None
        self._extractor_tracks = False

    def convert(
        self, song: str | Path | np.ndarray, options: ConversionOptions, *, melody: Melody | None = None
    ) -> np.ndarray:
        """A file, or audio (T,) at ``sample_rate`` -> the song in the voice of ``options.speaker``, (T,) float32.

        ``melody`` is sung instead of what ``options.f0_predictor`` hears, moved by ``options.transpose`` like that.

        Raises:
            ValueError: unknown speaker or f0 predictor, audio that cannot be read, or that is no (T,) of finite floats,
                a melody that does not cover the song, or one beside ``options.auto_predict_f0``.
            FileNotFoundError: weights of the speech encoder or of the f0 predictor are missing.
        """
        wav = song if isinstance(song, np.ndarray) else audio.load(song, self.sample_rate)
        target = Target(self.config.speaker_id(options.speaker), options.transpose)
        return np.concatenate([block[0] for block in self.stream(wav, options, [target], melody=melody)])

    def stream(
        self, wav: np.ndarray, options: ConversionOptions, targets: Sequence[Target], *, melody: Melody | None = None
    ) -> Iterator[np.ndarray]:
        """Convert (T,) for all ``targets`` at once: blocks (K, n) that follow one another and last T in all.

        Features are extracted once for all of them, and only some pieces of the song are held at a time.
        ``options.speaker`` and ``options.transpose`` are not used.
        """
        wav = _checked(wav)
        if melody is not None:
            if options.auto_predict_f0:
                raise ValueError("auto_predict_f0 (-a) makes a melody of its own: none can be given")
            melody.check_covers(len(wav) / self.sample_rate)
        extractor = self.extractor(options, f0=melody is None)
        planned = self.plan(wav, options)
        fade = round(self.sample_rate * pieces.FADE_SECONDS / 2)
        converted = self._convert_pieces(wav, planned, extractor, options=options, targets=targets, melody=melody)
        yield from pieces.join(converted, len(wav), n_conversions=len(targets), fade=fade)

    def melody(
        self, wav: np.ndarray, options: ConversionOptions, *, tell: Callable[[float], object] = lambda _: None
    ) -> Melody:
        """What ``options.f0_predictor`` hears in (T,), to be looked at, changed, and given to `convert`.

        Given as it is, it is sung as it would be without: to the bit where each piece begins and ends in silence, as
        it does when the song is cut in pauses. Where a phrase goes on across a border (forced cuts, 30 s without a
        pause), both pieces hear some of the other, and a melody keeps one of the two tracks.
        """
        wav = _checked(wav)
        return track_song(wav, self.plan(wav, options), self.extractor(options), tell=tell)

    def plan(self, wav: np.ndarray, options: ConversionOptions) -> list[Piece]:
        """The pieces in which (T,) will be converted."""
        return plan_pieces(wav, self.config, options)

    def extractor(self, options: ConversionOptions, *, f0: bool = True) -> FeatureExtractor:
        """The extractor for ``options``; the last one is kept and used again when the settings are the same.

        Without ``f0`` it need not be able to track.
        """
        settings = feature_settings(self.config, options)
        fits = self._extractor is not None and self._extractor.settings == settings
        if self._extractor is None or not fits or f0 > self._extractor_tracks:
            self._extractor, self._extractor_tracks = self._make_extractor(settings, self.device, f0=f0), f0
        return self._extractor

    def _convert_pieces(  # noqa: PLR0913  what stream() was given, and what it made of it
        self,
        wav: np.ndarray,
        planned: list[Piece],
        extractor: FeatureExtractor,
        *,
        options: ConversionOptions,
        targets: Sequence[Target],
        melody: Melody | None,
    ) -> Iterator[tuple[Piece, np.ndarray]]:
        """The pieces in order, each with its K conversions (K, end - start)."""
        for window in _windows(planned, LOOKAHEAD_SECONDS * self.sample_rate if self._batches else 0):
            done: dict[Piece, np.ndarray] = {}
            for batch in _batches(window, BATCH_SECONDS * self.sample_rate if self._batches else 0):
                sources = [pieces.heard(wav, piece) for piece in batch]
                features = extractor.extract_batch(sources, self._tracks(melody, batch))
                outputs = [self._synthesise(features, sources, target, options) for target in targets]  # K x B
                for piece, conversions in zip(batch, zip(*outputs, strict=True), strict=True):
                    kept = slice(piece.start - piece.left, piece.end - piece.left)
                    done[piece] = np.stack([conversion[kept] for conversion in conversions])
            yield from ((piece, done[piece]) for piece in window)

    def _tracks(self, melody: Melody | None, batch: list[Piece]) -> list[Track] | None:
        """f0 and uv of each piece, where a melody is given."""
        if melody is None:
            return None
        return [melody.of_piece(piece, self.hop_length, self.sample_rate) for piece in batch]

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
