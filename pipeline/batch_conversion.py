"""Several songs in several voices, or their melodies alone: the journeys behind inference_main.py."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from common import audio, devices
from common.failures import reason
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions, feature_settings, plan_pieces
from pipeline.features import FeatureExtractor
from pipeline.melody import Melody, track_song
from pipeline.melody_files import BAR, MelodyFiles, check_names
from pipeline.pieces import Piece
from pipeline.pitch_range import PitchRange, pitch_range, tracker
from pipeline.rendering import Target
from pipeline.songs import Song, find_songs
from pipeline.speaker_mix import SpeakerMix
from pipeline.speaker_mix_picture import draw_timeline
from pipeline.speakers import advise, read_pitch_ranges
from pipeline.voice import Voice

logger = logging.getLogger(__name__)

MIX_NAME = "spk_mix"  # stands for the speaker where several are mixed
RANGE_STRETCHES, RANGE_SECONDS = 12, 5.0  # of a song, from which its range is taken: seconds of work


@dataclass(frozen=True)
class BatchOptions:
    """What is converted, where it goes, and whose melodies come from files or go there.

    Raises:
        ValueError, FileNotFoundError: paths that cannot be meant.
    """

    names: list[str]
    speakers: list[str]
    transpositions: list[int]  # semitones
    in_dir: Path = Path("raw")
    out_dir: Path = Path("results")
    wav_format: str = "flac"
    f0_export: Path | None = None  # a .csv for one song, a folder for any number
    f0_import: Path | None = None  # a .csv or .mid for one song, a folder for any number
    speaker_mix: Path | Mapping[int, Any] | None = None  # a timeline, or spk_mix_map, instead of ``speakers``

    def __post_init__(self) -> None:
        check_names(self.f0_export, self.f0_import)


@dataclass
class Report:
    """Files that were written, and names or songs that could not be converted, with the reason."""

    done: list[Path] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def convert_songs(converter: Converter, batch: BatchOptions, options: ConversionOptions) -> Report:
    """Convert every song at every transposition for every speaker; a bad song never stops the rest.

    Raises:
        ValueError: unknown speaker, f0 predictor or output format, a mix that cannot be, or options that exclude one
            another.
        FileNotFoundError: weights of the speech encoder, of the f0 predictor or of a tool are missing.
        OSError: the folder for the melodies cannot be made.
    """
    speakers: list[int | None] = [None]
    if batch.speaker_mix is not None:
        options = replace(options, speaker_mix=_read_mix(batch.speaker_mix, converter.voice))
    else:
        speakers = [converter.voice.speaker_id(speaker) for speaker in batch.speakers]
    targets = [Target(*pair) for pair in product(speakers, batch.transpositions)]
    suffix = batch.wav_format.lower()
    audio.check_suffix(suffix)
    report, songs, files = _prepare(batch, options)
    converter.prepare(options, targets)
    converter.extractor(options, f0=files.needs_tracker)  # what is missing for it is missing for every song
    for line in options.without_effect(f0_given=not files.needs_tracker):
        logger.warning("%s", line)

    def convert(song: Song, wav: np.ndarray) -> None:
        source, melody = files.source(song), None
        if files.wanted:
            duration = len(wav) / converter.sample_rate
            melody = files.melody(song, duration, partial(converter.melody, wav, options))
            report.done += files.export(song, melody, wav, sample_rate=converter.sample_rate)
        _advise(converter, wav, targets, options, melody=melody if source else None)
        if options.speaker_mix and (line := options.speaker_mix.mismatch(len(wav) / converter.sample_rate)):
            logger.warning("%s", line)
        names = [result_name(converter, song.name, target, options=options, source=source) for target in targets]
        paths = [batch.out_dir / f"{name}.{suffix}" for name in names]
        by_path = dict(zip(paths, targets, strict=True))  # the same thing asked for twice is made once
        write_conversions(converter, wav, by_path, options, melody=melody)
        report.done += by_path
        if options.speaker_mix is not None:
            picture = batch.out_dir / f"{song.name}_{MIX_NAME}.png"
            draw_timeline(picture, options.speaker_mix, wav, sample_rate=converter.sample_rate)
            report.done.append(picture)

    _for_each(songs, convert, converter.sample_rate, report=report)
    return report


def export_melodies(
    voice: Voice, batch: BatchOptions, options: ConversionOptions, *, device: str | None = None
) -> Report:
    """Write the melody of every song on the grid of ``voice``, and convert none: no model or encoder is needed.

    Raises:
        ValueError: no place for them, unknown f0 predictor, absent device, or options that exclude one another.
        FileNotFoundError: weights of the f0 predictor are missing.
        OSError: the folder for the melodies cannot be made.
    """
    if batch.f0_export is None:
        raise ValueError("--f0_only writes melodies and nothing else: say where to with --f0_export")
    sample_rate, chosen = voice.sample_rate, devices.resolve(device)
    report, songs, files = _prepare(batch, options)
    extractor = FeatureExtractor(feature_settings(voice, options), chosen, units=False, f0=files.needs_tracker)
    for line in options.without_effect(f0_given=not files.needs_tracker):
        logger.warning("%s", line)

    def export(song: Song, wav: np.ndarray) -> None:
        track = partial(track_song, wav, plan_pieces(wav, voice, options), extractor)
        melody = files.melody(song, len(wav) / sample_rate, track)
        report.done += files.export(song, melody, wav, sample_rate=sample_rate)

    _for_each(songs, export, sample_rate, report=report)
    return report


def _read_mix(mix: Path | Mapping[int, Any], voice: Voice) -> SpeakerMix:
    if isinstance(mix, Path):
        return SpeakerMix.load(mix, voice.speakers)
    return SpeakerMix.from_map(mix, voice.speakers)


def _prepare(batch: BatchOptions, options: ConversionOptions) -> tuple[Report, list[Song], MelodyFiles]:
    """The songs, their melodies' files, and a report that holds the names that mean no song."""
    for option, path in (("--f0_export", batch.f0_export), ("--f0_import", batch.f0_import)):
        if path and options.auto_predict_f0:
            raise ValueError(f"-a and {option} exclude one another: with -a the model makes a melody of its own")
    songs, failed = find_songs(batch.names, batch.in_dir)
    files = MelodyFiles(songs, f0_export=batch.f0_export, f0_import=batch.f0_import)
    return Report(failed=failed), songs, files


def _for_each(songs: list[Song], do: Callable[[Song, np.ndarray], None], sample_rate: int, *, report: Report) -> None:
    """Load each song, and ``do`` what is to be done with it and its (T,) samples."""
    for song in songs:
        try:
            wav = audio.load(song.path, sample_rate)
            logger.info("%s: %.1f s", song.path, len(wav) / sample_rate)
            do(song, wav)
        except Exception as error:  # the boundary of the batch job: reported per song
            report.failed.append((str(song.path), reason(error, str(song.path))))


def _advise(
    converter: Converter,
    wav: np.ndarray,
    targets: Sequence[Target],
    options: ConversionOptions,
    *,
    melody: Melody | None,
) -> None:
    """`compare_ranges`, whose failure is no reason not to convert."""
    try:
        compare_ranges(converter, wav, targets, options, melody=melody)
    except Exception as error:  # advice only
        logger.warning("the range of the song is not known, so no transposition is suggested: %s", reason(error))


def compare_ranges(
    converter: Converter,
    wav: np.ndarray,
    targets: Sequence[Target],
    options: ConversionOptions,
    *,
    melody: Melody | None = None,
) -> None:
    """Log the range of the song beside those of the speakers, and a transposition where they do not meet.

    The range is that of ``melody`` where one is given.
    """
    if options.auto_predict_f0:
        return  # the model's melody has the model's range
    if melody is not None:
        song = PitchRange.of(melody.voiced_hz) if len(melody.voiced_hz) else None
    elif tracker(converter.sample_rate) is None:
        return  # it has said why
    else:
        song = pitch_range(_stretches(wav, converter.plan(wav, options), converter.sample_rate), converter.sample_rate)
    if song is None:
        logger.warning("nothing in it is heard as sung or spoken: no range")
        return
    logger.info("range of the song (low / median / high): %s", song)
    known = read_pitch_ranges(converter.voice.folder)
    for speaker_id in dict.fromkeys(target.speaker_id for target in targets):
        name = _speaker_name(converter, speaker_id)
        if name not in known:  # nor is a mix of speakers
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
    converter: Converter,
    wav: np.ndarray,
    targets: dict[Path, Target],
    options: ConversionOptions,
    *,
    melody: Melody | None = None,
) -> None:
    """Convert (T,) for each target and write the result to its file, which appears when it is whole."""
    with ExitStack() as files, tqdm(total=len(wav) / converter.sample_rate, bar_format=BAR) as bar:
        writers = [files.enter_context(audio.writer(path, converter.sample_rate)) for path in targets]
        for block in converter.stream(wav, options, list(targets.values()), melody=melody):
            for write, row in zip(writers, block, strict=True):
                write(row)
            bar.update(block.shape[1] / converter.sample_rate)


def result_name(
    converter: Converter, song: str, target: Target, *, options: ConversionOptions, source: Path | None = None
) -> str:
    """As the reference calls its results, without suffix; a speaker given by id is called by name.

    The kind of file (csv, mid) that the melody came from stands in the place of the f0 predictor.
    """
    key = "auto" if options.auto_predict_f0 else f"{target.transpose:g}key"
    speaker = in_file_name(_speaker_name(converter, target.speaker_id))
    ratio = f"_{float(options.cluster_infer_ratio)}" if options.mixes_units else ""
    network = "diff" if options.only_diffusion else "sovdiff" if options.shallow_diffusion else "sovits"
    f0 = source.suffix[1:].lower() if source else options.f0_predictor
    return f"{song}_{key}_{speaker}{ratio}_{network}_{f0}"


def in_file_name(speaker: str) -> str:
    """A speaker's name without what no file name holds."""
    return re.sub(r'[<>:"/\\|?*]', "_", speaker)


def _speaker_name(converter: Converter, speaker_id: int | None) -> str:
    return MIX_NAME if speaker_id is None else converter.voice.speaker_name(speaker_id)
