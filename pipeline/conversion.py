"""A song in another voice: cut, extract, render, join.

Letters: T samples at the model's rate, K conversions of one song made side by side (speakers, transpositions),
B pieces of a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from common import audio, devices
from pipeline import pieces
from pipeline.conversion_options import ConversionOptions, feature_settings, plan_pieces
from pipeline.conversion_tools import ToolFiles, Tools
from pipeline.features import FeatureExtractor, Track
from pipeline.melody import Melody, track_song
from pipeline.model_loading import NO_CONFIG, load_synthesizer
from pipeline.piece_batch import PieceBatch
from pipeline.pieces import Piece
from pipeline.rendering import Renderer, Target
from pipeline.settings import read_config
from pipeline.voice import Voice

# On a GPU pieces of similar length are converted together: so many seconds at once, chosen among so many.
BATCH_SECONDS, LOOKAHEAD_SECONDS = 90.0, 300.0


class Converter:
    """A trained model, ready to convert.

    Args:
        model_path: G_<step>.pth of this project or of so-vits-svc 4.0 and 4.1, complete or released, any precision; or
            what compress_model.py or onnx_export.py made of one.
            None: no synthesizer, the diffusion model of ``files`` sings alone (``only_diffusion``).
        config_path: the config.json it was trained with; None where there is no synthesizer.
        device: name of the device; None chooses.
        files: what the options of a conversion may ask for besides.
        make_extractor: builds what makes features of audio, called as `FeatureExtractor` is.

    Raises:
        FileNotFoundError: no such model or config; of models, those that are there are listed.
        ConfigError, CheckpointError: the files cannot be used, or do not belong together.
        ValueError: the device is absent, or one of model and config.
    """

    def __init__(
        self,
        model_path: str | Path | None,
        config_path: str | Path | None,
        *,
        device: str | None = None,
        files: ToolFiles = ToolFiles(),  # noqa: B008  immutable
        make_extractor: Callable[..., FeatureExtractor] = FeatureExtractor,
    ) -> None:
        self.device = devices.resolve(device)
        self.tools, self.model = Tools(files, self.device), None
        if model_path is None and config_path is None:
            self.voice = self.tools.refiner.voice
        elif model_path is None or config_path is None:
            raise ValueError("a synthesizer needs both its model and its config; diffusion alone takes neither")
        else:
            config = read_config(config_path, advice=NO_CONFIG)
            self.model = load_synthesizer(Path(model_path), config, self.device)
            self.voice = Voice.of_synthesizer(config, Path(config_path).parent)
        self.sample_rate, self.hop_length = self.voice.sample_rate, self.voice.hop_length
        self.renderer = Renderer(self.voice, self.model, self.tools, self.device)
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
            FileNotFoundError: weights of the speech encoder, of the f0 predictor or of a tool are missing.
        """
        wav = song if isinstance(song, np.ndarray) else audio.load(song, self.sample_rate)
        speaker = None if options.speaker_mix else self.voice.speaker_id(options.speaker)
        target = Target(speaker, options.transpose)
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
        self.prepare(options, targets)
        extractor = self.extractor(options, f0=melody is None)
        planned = self.plan(wav, options)
        fade = round(self.sample_rate * pieces.FADE_SECONDS / 2)
        converted = self._convert_pieces(wav, planned, extractor, options=options, targets=targets, melody=melody)
        yield from pieces.join(converted, len(wav), n_conversions=len(targets), fade=fade)

    def prepare(self, options: ConversionOptions, targets: Sequence[Target]) -> None:
        """Load the tools that ``options`` ask for, so that no song is begun in vain.

        Raises:
            FileNotFoundError, ValueError: as `Tools.load`, and for what this model cannot do.
        """
        if self.model is None and not options.only_diffusion:
            raise ValueError("there is no synthesizer, so only_diffusion (-od) must be set")
        if self.model is not None and not options.only_diffusion:
            if options.auto_predict_f0:
                self.model.check_predicts_f0()
            if options.speaker_mix is not None:
                self.model.EnableCharacterMix(options.speaker_mix.n_speakers, self.device)
        singers = {target.speaker_id for target in targets if target.speaker_id is not None}
        if options.speaker_mix is not None:
            singers |= set(options.speaker_mix.singers)
        self.tools.load(options, self.voice, sorted(singers))

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
        return plan_pieces(wav, self.voice, options)

    def extractor(self, options: ConversionOptions, *, f0: bool = True) -> FeatureExtractor:
        """The extractor for ``options``; the last one is kept and used again when the settings are the same.

        Without ``f0`` it need not be able to track.
        """
        settings = feature_settings(self.voice, options)
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
                heard = PieceBatch.of(
                    *(batch, sources, features),
                    voice=self.voice,
                    song_seconds=len(wav) / self.sample_rate,
                    device=self.device,
                )
                outputs = [self.renderer.render(heard, target, options, extractor) for target in targets]  # K x B
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


def _checked(wav: np.ndarray) -> np.ndarray:
    wav = np.ascontiguousarray(wav, dtype=np.float32)
    if wav.ndim != 1 or len(wav) == 0:
        raise ValueError(f"expected mono audio of shape (T,) with at least one sample, got shape {wav.shape}")
    if not np.isfinite(wav).all():
        raise ValueError("the audio holds NaN or infinite samples")
    return wav


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
