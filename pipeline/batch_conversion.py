"""Several songs in several voices: the journey behind inference_main.py."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common import audio
from common.failures import reason
from pipeline.conversion import ConversionOptions, Converter, Target
from pipeline.pieces import Piece
from pipeline.pitch_range import pitch_range, tracker
from pipeline.songs import find_songs
from pipeline.speakers import advise, read_pitch_ranges

logger = logging.getLogger(__name__)

RANGE_STRETCHES, RANGE_SECONDS = 12, 5.0  # of a song, from which its range is taken: seconds of work
BAR = "{l_bar}{bar}| {n:.0f} of {total:.0f} s [{elapsed}<{remaining}]"


@dataclass(frozen=True)
class BatchOptions:
    """What is converted, and where it goes."""

    names: list[str]
    speakers: list[str]
    transpositions: list[int]  # semitones
    in_dir: Path = Path("raw")
    out_dir: Path = Path("results")
    wav_format: str = "flac"


@dataclass
class Report:
    """Files that were written, and names or songs that could not be converted, with the reason."""

    done: list[Path] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def convert_songs(converter: Converter, batch: BatchOptions, options: ConversionOptions) -> Report:
    """Convert every song at every transposition for every speaker; a bad song never stops the rest.

    Raises:
        ValueError: unknown speaker, f0 predictor or output format.
        FileNotFoundError: weights of the speech encoder or of the f0 predictor are missing.
    """
    speakers = [converter.config.speaker_id(speaker) for speaker in batch.speakers]
    targets = [Target(*pair) for pair in product(speakers, batch.transpositions)]
    suffix = batch.wav_format.lower()
    audio.check_suffix(suffix)
    converter.extractor(options)  # what is missing for it is missing for every song
    for line in options.without_effect():
        logger.warning("%s", line)
    report = Report()
    songs, report.failed = find_songs(batch.names, batch.in_dir)
    for song in songs:
        names = [result_name(converter, song.name, target, options=options) for target in targets]
        paths = [batch.out_dir / f"{name}.{suffix}" for name in names]
        try:
            wav = audio.load(song.path, converter.sample_rate)
            logger.info("%s: %.1f s", song.path, len(wav) / converter.sample_rate)
            _advise(converter, wav, targets, options)
            by_path = dict(zip(paths, targets, strict=True))  # the same thing asked for twice is made once
            write_conversions(converter, wav, by_path, options)
            report.done += by_path
        except Exception as error:  # the boundary of the batch job: reported per song
            report.failed.append((str(song.path), reason(error, str(song.path))))
    return report


def _advise(converter: Converter, wav: np.ndarray, targets: Sequence[Target], options: ConversionOptions) -> None:
    """`compare_ranges`, whose failure is no reason not to convert."""
    try:
        compare_ranges(converter, wav, targets, options)
    except Exception as error:  # advice only
        logger.warning("the range of the song is not known, so no transposition is suggested: %s", reason(error))


def compare_ranges(
    converter: Converter, wav: np.ndarray, targets: Sequence[Target], options: ConversionOptions
) -> None:
    """Log the range of the song beside those of the speakers, and a transposition where they do not meet."""
    if options.auto_predict_f0:
        return  # the model's melody has the model's range
    if tracker(converter.sample_rate) is None:
        return  # it has said why
    song = pitch_range(_stretches(wav, converter.plan(wav, options), converter.sample_rate), converter.sample_rate)
    if song is None:
        logger.warning("nothing in it is heard as sung or spoken: no range")
        return
    logger.info("range of the song (low / median / high): %s", song)
    known = read_pitch_ranges(converter.config_path.parent)
    for speaker_id in dict.fromkeys(target.speaker_id for target in targets):
        name = _speaker_name(converter, speaker_id)
        if name not in known:
            continue
        logger.info("range of %s in the recordings: %s", name, known[name])
        for target in targets:
            advice = advise(song, known[name], target.transpose) if target.speaker_id == speaker_id else None
            if advice:
                logger.warning("-t %g for %s: %s", target.transpose, name, advice)


def _stretches(wav: np.ndarray, planned: Sequence[Piece], sample_rate: int) -> Iterator[np.ndarray]:
    """Some stretches of (T,), spread evenly over what is not silent."""
    length = round(RANGE_SECONDS * sample_rate)
    starts = [start for piece in planned for start in range(max(piece.start, 0), piece.end, length)]
    for i in range(min(RANGE_STRETCHES, len(starts))):
        start = starts[i * len(starts) // min(RANGE_STRETCHES, len(starts))]
        yield wav[start : start + length]


def write_conversions(
    converter: Converter, wav: np.ndarray, targets: dict[Path, Target], options: ConversionOptions
) -> None:
    """Convert (T,) for each target and write the result to its file, which appears when it is whole."""
    with ExitStack() as files, tqdm(total=len(wav) / converter.sample_rate, bar_format=BAR) as bar:
        writers = [files.enter_context(audio.writer(path, converter.sample_rate)) for path in targets]
        for block in converter.stream(wav, options, list(targets.values())):
            for write, row in zip(writers, block, strict=True):
                write(row)
            bar.update(block.shape[1] / converter.sample_rate)


def result_name(converter: Converter, song: str, target: Target, *, options: ConversionOptions) -> str:
    """As the reference calls its results, without suffix; a speaker given by id is called by name."""
    key = "auto" if options.auto_predict_f0 else f"{target.transpose:g}key"
    speaker = re.sub(r'[<>:"/\\|?*]', "_", _speaker_name(converter, target.speaker_id))  # no file name holds these
    return f"{song}_{key}_{speaker}_sovits_{options.f0_predictor}"


def _speaker_name(converter: Converter, speaker_id: int) -> str:
    return next(name for name, known in converter.config.spk.items() if known == speaker_id)
