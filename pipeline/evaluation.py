"""Conversions compared by numbers with their songs, with the voice asked for, and with parallel recordings."""

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from common import audio
from common.failures import reason
from modules.metrics.cepstral_distance import mel_cepstral_distortion
from modules.metrics.loudness import loudness_correlation
from modules.metrics.quality import QualityPredictor
from modules.metrics.speaker import SpeakerEncoder, mean_embedding
from modules.metrics.words import Recogniser, word_error_rate, words_of
from pipeline.comparison_picture import draw_comparison
from pipeline.evaluation_pairs import Pair, find_audio, pair_up
from pipeline.measures import Evaluation, Row
from pipeline.pitch_comparison import PitchTrack, compare_pitch, track_pitch

logger = logging.getLogger(__name__)

SAMPLE_RATE = 44100  # at which everything is compared
SAME_LENGTH_SECONDS = 0.02  # a difference below this is rounding
MOST_RECORDINGS = 12  # of a target, whose mean embedding is compared with
MEASURED_LATER = {"real_time_factor": "only a conversion that is made here can be timed: --checkpoints"}
FROM_SOURCE = "source"  # value of --transcripts: what the recogniser hears in the song is right

T = TypeVar("T")


@dataclass(frozen=True)
class EvaluationOptions:
    """What conversions are compared with.

    Attributes:
        targets: folders of recordings, one per speaker, or folders of such folders.
        references: folder of recordings of the target singing the songs, called like the songs or the conversions.
        transcripts: file of "song's name<TAB>text" lines, `FROM_SOURCE`, or None: words are not counted.
        warp: align a parallel recording in time before it is compared.
        f0_predictor: who hears the melodies.
        pictures: draw source and result.
    """

    targets: tuple[Path, ...] = ()
    references: Path | None = None
    transcripts: str | None = None
    warp: bool = True
    f0_predictor: str = "auto"
    pictures: bool = True


class Evaluator:
    """Measures conversions; what it learns of a song or a speaker serves for all of them.

    Raises:
        FileNotFoundError: a folder or the transcripts are not there.
        ValueError: a folder of recordings holds none, transcripts that are no table, an unknown f0 predictor.
    """

    def __init__(self, options: EvaluationOptions) -> None:
        self.options = options
        self.targets = find_targets(options.targets)
        self.references = _recordings_by_name(options.references)
        self.transcripts = _read_transcripts(options.transcripts)
        self._known: dict[tuple[Any, ...], Any] = {}

    def measure(self, pair: Pair, result: np.ndarray | None = None, *, checkpoint: str | None = None) -> Row:
        """Everything that can be measured of one conversion; the rest is in `Row.missing`, with the reason.

        ``result`` (T,) at `SAMPLE_RATE` is the content of ``pair.conversion`` where that is at hand.

        Raises:
            AudioError: the song or the conversion cannot be read.
        """
        source = audio.load(pair.source, SAMPLE_RATE)
        result = audio.load(pair.conversion, SAMPLE_RATE) if result is None else result
        row = Row(pair.source, pair.conversion, pair.speaker, pair.transpose, checkpoint, missing=dict(MEASURED_LATER))
        row.remarks += pair.remarks + _lengths(len(source), len(result))
        heard = _Heard(pair, source, result)
        groups: dict[Callable[[_Heard], dict[str, float]], tuple[str, ...]] = {
            self._pitch: (
                "f0_correlation",
                "f0_rmse_cents",
                "off_pitch",
                "gross_pitch_error",
                "fine_cents",
                "voicing_error",
            ),
            self._loudness: ("loudness_correlation",),
            self._to_target: ("to_target",),
            self._to_source: ("to_source",),
            self._distortion: ("mcd",),
            self._quality: ("quality",),
            self._quality_of_source: ("quality_source",),
            self._words: ("word_error",),
        }
        for take, keys in groups.items():
            why = "undefined for this recording"
            try:
                row.values |= {key: value for key, value in take(heard).items() if np.isfinite(value)}
            except (ValueError, OSError) as error:
                why = reason(error)
            row.missing |= {key: why for key in keys if key not in row.values}
        if self.options.pictures:
            try:
                row.picture = self._picture(heard)
            except ValueError as error:
                row.remarks.append(f"no picture: {reason(error)}")
        return row

    def _pitch(self, heard: "_Heard") -> dict[str, float]:
        if heard.pair.transpose is None:
            raise ValueError("sung with -a: the melody is the model's own")
        found = compare_pitch(self._source_pitch(heard), self._result_pitch(heard), transpose=heard.pair.transpose)
        return {
            "f0_correlation": found.correlation,
            "f0_rmse_cents": found.rmse_cents,
            "off_pitch": found.off_pitch,
            "gross_pitch_error": found.gross_pitch_error,
            "fine_cents": found.fine_cents,
            "voicing_error": found.voicing_error,
        }

    def _source_pitch(self, heard: "_Heard") -> PitchTrack:
        return self._once(("pitch", heard.pair.source), lambda: self._track(heard.source))

    def _result_pitch(self, heard: "_Heard") -> PitchTrack:
        if heard.pitch is None:
            heard.pitch = self._track(heard.result)
        return heard.pitch

    def _track(self, wav: np.ndarray) -> PitchTrack:
        return track_pitch(wav, SAMPLE_RATE, predictor=self.options.f0_predictor)

    def _loudness(self, heard: "_Heard") -> dict[str, float]:
        return {"loudness_correlation": loudness_correlation(heard.source, heard.result, SAMPLE_RATE)}

    def _to_target(self, heard: "_Heard") -> dict[str, float]:
        speaker = heard.pair.speaker
        if not self.targets:
            raise ValueError("no recordings of the target: --targets dataset_raw/NAME")
        if speaker in self.targets:
            folder = self.targets[speaker]
        elif len(self.targets) == 1 and speaker is None:
            folder = next(iter(self.targets.values()))
        else:
            who = f"{speaker!r}" if speaker else "the speaker, whom the conversion's name does not tell"
            raise ValueError(f"--targets holds no folder of {who}; it has {', '.join(self.targets)}")
        voice = self._once(("voice", folder), lambda: self._voice(folder))
        return {"to_target": float(self._result_embedding(heard) @ voice)}

    def _voice(self, folder: Path) -> np.ndarray:
        """Mean embedding of a speaker's first recordings that are long enough."""
        encoder, embeddings, why = self._encoder(), [], ""
        for path in _audio_in(folder):
            try:
                embeddings.append(encoder.embed(*audio.load_native(path)))
            except audio.AudioError as error:
                logger.warning("%s", error)
            except ValueError as error:
                why = f": {error}"
            if len(embeddings) == MOST_RECORDINGS:
                break
        if not embeddings:
            raise ValueError(f"no recording in {folder} serves{why}")
        return mean_embedding(embeddings)

    def _to_source(self, heard: "_Heard") -> dict[str, float]:
        source = self._once(("embedding", heard.pair.source), lambda: self._encoder().embed(heard.source, SAMPLE_RATE))
        return {"to_source": float(self._result_embedding(heard) @ source)}

    def _result_embedding(self, heard: "_Heard") -> np.ndarray:
        if heard.embedding is None:
            heard.embedding = self._encoder().embed(heard.result, SAMPLE_RATE)
        return heard.embedding

    def _encoder(self) -> SpeakerEncoder:
        return self._once(("speaker encoder",), SpeakerEncoder)

    def _distortion(self, heard: "_Heard") -> dict[str, float]:
        if self.options.references is None:
            raise ValueError("no recording of the target singing this song: --references FOLDER")
        names = (heard.pair.conversion.stem, heard.pair.source.stem)
        path = next((self.references[name] for name in names if name in self.references), None)
        if path is None:
            raise ValueError(f"{self.options.references} holds no file called {' or '.join(names)}")
        reference = audio.load(path, SAMPLE_RATE)
        distortion = mel_cepstral_distortion(reference, heard.result, SAMPLE_RATE, warp=self.options.warp)
        return {"mcd": distortion}

    def _quality(self, heard: "_Heard") -> dict[str, float]:
        return {"quality": self._overall(heard.result)}

    def _quality_of_source(self, heard: "_Heard") -> dict[str, float]:
        return {"quality_source": self._once(("quality", heard.pair.source), lambda: self._overall(heard.source))}

    def _overall(self, wav: np.ndarray) -> float:
        return self._once(("quality",), QualityPredictor).predict(wav, SAMPLE_RATE).overall

    def _words(self, heard: "_Heard") -> dict[str, float]:
        if self.options.transcripts is None:
            raise ValueError("nobody said what is sung: --transcripts FILE, or --transcripts source")
        recogniser = self._once(("recogniser",), Recogniser)
        name = heard.pair.source.stem
        if self.options.transcripts == FROM_SOURCE:
            listen = partial(recogniser.words, heard.source, SAMPLE_RATE)
            right = self._once(("words", heard.pair.source), listen)
        elif name in self.transcripts:
            right = words_of(self.transcripts[name])
        else:
            raise ValueError(f"{self.options.transcripts} has no line for {name}")
        return {"word_error": word_error_rate(right, recogniser.words(heard.result, SAMPLE_RATE))}

    def _picture(self, heard: "_Heard") -> bytes:
        file = io.BytesIO()
        sides = {
            "source": (heard.source, self._source_pitch(heard)),
            "result": (heard.result, self._result_pitch(heard)),
        }
        draw_comparison(file, sides, SAMPLE_RATE, dpi=60)
        return file.getvalue()

    def _once(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


@dataclass
class _Heard:
    """One pair while it is measured: both sides (T,) at `SAMPLE_RATE`, and what several measures need of the result."""

    pair: Pair
    source: np.ndarray
    result: np.ndarray
    pitch: PitchTrack | None = field(default=None)
    embedding: np.ndarray | None = field(default=None)


def evaluate_files(
    sources: list[str],
    conversions: list[str],
    options: EvaluationOptions,
    *,
    transpose: float | None = None,
    in_order: bool = False,
) -> Evaluation:
    """Measure the conversions that the names mean; a bad file never stops the rest.

    Raises:
        ValueError, FileNotFoundError: as `Evaluator`, no conversion but the songs, or ``in_order`` does not fit.
    """
    songs, failed = find_audio(sources, Path("raw"))
    results, failed_too = find_audio(conversions, Path("results"))
    own = {path.resolve() for path in songs}
    results = [path for path in results if path.resolve() not in own]
    if not results and not failed_too:
        raise ValueError("--conversions names the songs themselves and nothing else: name what was made of them")
    pairs, unpaired = pair_up(songs, results, transpose=transpose, in_order=in_order)
    evaluation = Evaluation(failed=failed + failed_too + unpaired)
    evaluator = Evaluator(options)
    for pair in tqdm(pairs, unit="conversion", disable=None):
        try:
            evaluation.rows.append(evaluator.measure(pair))
        except Exception as error:  # the boundary of the batch job: reported per conversion
            evaluation.failed.append((str(pair.conversion), reason(error, str(pair.conversion))))
    return evaluation


def find_targets(folders: tuple[Path, ...]) -> dict[str, Path]:
    """Speakers' names and their folders: of ``folders``, those that hold recordings, and else those in them that do.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: neither it nor a folder in it holds audio, or two are called alike.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"--targets {folder}: no such folder")
        inner = [folder] if _audio_in(folder) else [each for each in sorted(folder.iterdir()) if each.is_dir()]
        here = {each.resolve().name: each for each in inner if _audio_in(each)}
        if not here:
            raise ValueError(f"--targets {folder}: neither it nor a folder in it holds audio")
        if alike := [name for name in here if found.get(name, here[name]).resolve() != here[name].resolve()]:
            raise ValueError(f"--targets: {found[alike[0]]} and {here[alike[0]]} are called alike: rename one")
        found |= here
    return found


def _audio_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if audio.is_audio(path) and path.is_file())


def _recordings_by_name(folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    if not folder.is_dir():
        raise FileNotFoundError(f"--references {folder}: no such folder")
    return {path.stem: path for path in _audio_in(folder)}


def _read_transcripts(name: str | None) -> Mapping[str, str]:
    if name is None or name == FROM_SOURCE:
        return {}
    if not Path(name).is_file():
        raise FileNotFoundError(f"--transcripts {name}: no such file; each line is a song's name, a tab, its text")
    try:
        lines = [line for line in Path(name).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise ValueError(f"--transcripts {name}: not a UTF-8 text file") from None
    for number, line in enumerate(lines, start=1):
        if "\t" not in line:
            raise ValueError(f"--transcripts {name}: line {number} has no tab between a song's name and its text")
    return {Path(song.strip()).stem: text for song, _, text in (line.partition("\t") for line in lines)}


def _lengths(n_source: int, n_result: int) -> list[str]:
    seconds = [n / SAMPLE_RATE for n in (n_result, n_source)]
    if abs(seconds[0] - seconds[1]) <= SAME_LENGTH_SECONDS:
        return []
    return [
        "lasts {:.2f} s, its source {:.2f} s: melody and loudness are compared over the common part".format(*seconds)
    ]
