"""The one audio door: every file is read, resampled and written here.

Audio travels as float32 mono arrays (T,) in [-1, 1]. Files are read in blocks, so that what is held in memory is the
mono result, not the file: an hour of stereo 96 kHz costs an hour of mono.
Resampling is soxr (Rob Sykes) at its HQ setting, for preprocessing and conversion alike.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from common.formats import replacing

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 30
WRITE_SAMPLES = 1 << 18  # written at once
SILENCE_DB = -60  # audio whose peak stays below this (0 is full scale) holds nothing to learn from
# RAW has no header that would say rate and channels.
FORMATS = (*(f".{name.lower()}" for name in soundfile.available_formats() if name != "RAW"), ".oga", ".opus", ".aif")


class AudioError(ValueError):
    """An audio file that cannot be read; the message names the file and the reason."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says."""

    sample_rate: int
    n_samples: int
    channels: int

    @property
    def seconds(self) -> float:
        return self.n_samples / self.sample_rate


def is_audio(path: Path) -> bool:
    """Whether the name ends as a format that libsndfile reads; hidden files (``._song.wav``) are not."""
    return path.suffix.lower() in FORMATS and not path.name.startswith(".")


def info(path: str | Path) -> AudioInfo:
    """Read the header of ``path``. Raises AudioError as `load` does."""
    with _open(path) as file:
        return AudioInfo(sample_rate=file.samplerate, n_samples=file.frames, channels=file.channels)


def load(path: str | Path, sample_rate: int) -> np.ndarray:
    """Read ``path`` as float32 mono (T,) at ``sample_rate`` Hz; channels are averaged.

    Raises:
        AudioError: the file is missing, empty, cut off, or not audio, or holds NaN or infinite samples.
    """
    with _open(path) as file:
        if file.samplerate == sample_rate:
            return _join(list(_mono_blocks(file)), path)
        stream = soxr.ResampleStream(file.samplerate, sample_rate, 1, dtype="float32", quality="HQ")
        parts, n_samples = [], 0
        for block in _mono_blocks(file):
            parts.append(stream.resample_chunk(block))
            n_samples += len(block)  # counted: the header of a compressed file may be wrong
        parts.append(stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True))
        return _fit(_join(parts, path), resampled_length(n_samples, file.samplerate, sample_rate))


def load_native(path: str | Path) -> tuple[np.ndarray, int]:
    """Read ``path`` as float32 mono (T,) at its own rate; returns the audio and that rate in Hz."""
    with _open(path) as file:
        return _join(list(_mono_blocks(file)), path), file.samplerate


def load_part(path: str | Path, start: int, n_samples: int) -> np.ndarray:
    """Samples ``start`` to ``start + n_samples`` of ``path`` as float32 mono, at its own rate; fewer at the file's end.

    Raises:
        AudioError: as `load`, or ``start`` lies beyond the end.
    """
    with _open(path) as file, _naming(path):
        file.seek(start)
        wav = file.read(n_samples, dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32)
        if len(wav) < min(n_samples, file.frames - start):
            raise AudioError(f"{path}: damaged audio (it ends after {start + len(wav)} of {file.frames} samples)")
    return wav


def is_silent(wav: np.ndarray) -> bool:
    """Whether the peak of (T,) stays below ``SILENCE_DB``."""
    return peak(wav) < 10 ** (SILENCE_DB / 20)


def peak(wav: np.ndarray) -> float:
    """Largest absolute sample of (T,), without the copy of an hour of audio that np.abs would make; 0 of none."""
    return max(float(wav.max()), -float(wav.min())) if len(wav) else 0.0


def resample(wav: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample (T,) from ``from_rate`` to ``to_rate`` Hz; the length is that of `resampled_length`."""
    wav = np.ascontiguousarray(wav, dtype=np.float32)
    if from_rate == to_rate:
        return wav
    return _fit(soxr.resample(wav, from_rate, to_rate, quality="HQ"), resampled_length(len(wav), from_rate, to_rate))


def resampled_length(n_samples: int, from_rate: int, to_rate: int) -> int:
    """Samples at ``to_rate`` of ``n_samples`` at ``from_rate``, rounded half up: the same instant to half a sample."""
    return (2 * n_samples * to_rate + from_rate) // (2 * from_rate)


def save(path: str | Path, wav: np.ndarray, sample_rate: int, subtype: str | None = None) -> None:
    """Write (T,) to ``path``, as `writer` does."""
    with writer(path, sample_rate, subtype) as write:
        write(wav)


@contextmanager
def writer(path: str | Path, sample_rate: int, subtype: str | None = None) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a file piece by piece, in the format of its suffix: the context gives a function that takes (n,) samples.

    The file appears whole at the end of the context, or not at all. ``subtype`` is libsndfile's (PCM_16, PCM_24,
    FLOAT); None takes PCM_16 where the format has it, else the format's own. Samples of floats beyond full scale are
    clipped by formats of integers, which is said in one line.

    Raises:
        ValueError: the format does not exist or has no such subtype.
        OSError: the disk is full, or the file that is there cannot be replaced.
    """
    path = Path(path)
    suffix = path.suffix[1:].upper()
    if subtype is None and soundfile.check_format(suffix, "PCM_16"):
        subtype = "PCM_16"
    beyond = 0

    def write(wav: np.ndarray) -> None:
        nonlocal beyond
        for start in range(0, len(wav), WRITE_SAMPLES):
            block = wav[start : start + WRITE_SAMPLES]
            if block.dtype.kind == "f":  # integers are in range by definition
                beyond += int(np.count_nonzero(np.abs(block) > 1.0))
            try:
                file.write(block)
            except soundfile.LibsndfileError as error:
                raise OSError(f"{path}: cannot be written ({error.error_string}): is the disk full?") from None

    with (
        replacing(path) as part,
        soundfile.SoundFile(part, "w", sample_rate, channels=1, subtype=subtype, format=suffix) as file,
    ):
        yield write
    if beyond and subtype and subtype.startswith("PCM"):
        logger.warning("%s: %d samples were beyond full scale and are clipped", path, beyond)


def check_suffix(suffix: str) -> None:
    """Raise AudioError where ``suffix`` (flac, wav, ogg, mp3, ...) is no format that can be written."""
    if suffix.upper() not in soundfile.available_formats() or not soundfile.default_subtype(suffix.upper()):
        raise AudioError(f"cannot write {suffix!r} files: choose flac, wav, ogg, mp3 or another format of libsndfile")


def _open(path: str | Path) -> soundfile.SoundFile:
    path = Path(path)
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:  # bytes of another encoding, from an old zip file or a network drive
        raise AudioError(f"{path}: the name is not valid text: rename the file or its folder") from None
    if not path.is_file():
        raise AudioError(f"{path}: no such audio file")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty (0 bytes)")
    try:
        return soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a .raw file
        reason = getattr(error, "error_string", error)
        raise AudioError(f"{path}: not readable as audio ({reason})") from None


def _mono_blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    with _naming(file.name):
        for block in file.blocks(BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True):
            yield block.mean(axis=1, dtype=np.float32)


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Turn libsndfile's error in the middle of a file into one that names the file."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: damaged audio ({error.error_string})") from None


def _join(parts: list[np.ndarray], path: str | Path) -> np.ndarray:
    """Concatenate ``parts``, and empty the list on the way: whole and parts are never held twice."""
    wav = np.empty(sum(map(len, parts)), dtype=np.float32)
    if not len(wav):
        raise AudioError(f"{path}: the file holds no samples")
    position = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        if not np.isfinite(part).all():
            raise AudioError(f"{path}: the file holds NaN or infinite samples")
        wav[position : position + len(part)] = part
        position += len(part)
    return wav


def _fit(wav: np.ndarray, n_samples: int) -> np.ndarray:
    """Cut or zero-pad the end by the sample or two by which a resampler may miss ``n_samples``."""
    return wav[:n_samples] if len(wav) >= n_samples else np.pad(wav, (0, n_samples - len(wav)))
