"""Signals whose f0 is known, for `python -m benchmarks.pitch`.

Frame i of a signal's f0 is the pitch at sample i * HOP_LENGTH: the grid on which modules/f0 answers; for a predictor
that answers for the middles of frames, the truth lies half-way between two of them, and is voiced where one of the two
is (`Signal.truth`). A frame is voiced when that sample lies in a voiced stretch. What f0 means where a voice is
irregular says `pitch_voices.Manner`; with reverberation and noise it is that of the dry voice, so that a tail which
sounds on counts as unvoiced.

Each signal has a random generator of its own, seeded by its name: choosing groups changes none of them.
"""

import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import fftconvolve

from benchmarks.pitch_voices import SAMPLE_RATE, Manner, Note, NothingVoicedError, Track, resing, sing
from common import audio
from modules.f0.predictor import middles

logger = logging.getLogger(__name__)

HOP_LENGTH = 512  # samples
DEMO = Path(__file__).resolve().parent.parent / "demo"
MARGIN_SECONDS, FADE_SECONDS = 0.2, 0.01
FLOOR = 1e-4  # RMS of the noise under tones: digital silence is a case of its own
TONES_HZ = (40.0, 55.0, 82.4, 110.0, 220.0, 440.0, 880.0, 1174.7, 1480.0, 2000.0)
LARGEST_LEAP = 1.5  # between notes: a fifth, which takes the voice as long as a person's
ONE_OVER_K = [1 / k for k in range(1, 13)]  # amplitudes of harmonics
EXCERPT_SECONDS = 3.0
MOST_RECORDINGS = 24
BREATHY = Manner(aperiodicity=(0.35, 0.95), tilt_db=-10.0, vibrato_cents=15.0)
HIGH_SONG = Manner(vibrato_cents=70.0, vibrato_hz=6.0)
SPOKEN = Manner(vibrato_cents=0.0, drift_cents=25.0)

Random = Callable[[str], np.random.Generator]  # a signal's name -> its generator


@dataclass(frozen=True)
class Signal:
    """wav (T,) float32 at 44.1 kHz and its f0 (F,) in Hz, F = T // HOP_LENGTH, 0 where unvoiced."""

    name: str
    group: str
    wav: np.ndarray
    f0: np.ndarray

    @property
    def seconds(self) -> float:
        return len(self.wav) / SAMPLE_RATE

    def truth(self, instant: float) -> np.ndarray:
        """(F,) Hz for a predictor that answers for the beginnings of the frames (0.0) or for their middles (0.5)."""
        return middles(np.append(self.f0, self.f0[-1:])) if instant else self.f0


def signals(seed: int = 0, groups: Sequence[str] | None = None, *, recordings: Path | None = None) -> Iterator[Signal]:
    """The signals of ``groups`` (all when None), in the order of GROUPS.

    Args:
        recordings: a folder of further recordings; excerpts of up to MOST_RECORDINGS of them, evenly spaced in the
            order of their names, follow as the group "recordings", sung again at their own pitch.

    Raises:
        ValueError: an unknown group, or a folder without recordings.
        audio.AudioError: a recording that cannot be read.
    """
    for name in groups or ():
        if name not in GROUPS:
            raise ValueError(f"unknown group {name!r}; choose from: {', '.join(GROUPS)}")
    for group, make in GROUPS.items():
        if groups is None or group in groups:
            for name, wav, f0 in make(_generators(seed, group)):
                yield Signal(name, group, wav, f0)
    if recordings is not None:
        paths = sorted(path for path in recordings.rglob("*") if audio.is_audio(path))
        if not paths:
            raise ValueError(f"no recordings in {recordings}")
        chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, MOST_RECORDINGS).astype(int))]
        for name, wav, f0 in _resung(chosen, 1):
            yield Signal(name, "recordings", wav, f0)


def _generators(seed: int, group: str) -> Random:
    return lambda name: np.random.default_rng([seed, zlib.crc32(f"{group}/{name}".encode())])


Made = Iterator[tuple[str, np.ndarray, np.ndarray]]  # name, wav (T,), f0 (F,)


def harmonics(f0: np.ndarray, amplitudes: Sequence[float], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """f0 (T,) per sample, amplitude of each harmonic -> wav and frames' f0, with silence at both ends."""
    phase = 2 * np.pi * (np.cumsum(f0) - f0[0]) / SAMPLE_RATE
    wav = np.zeros(len(f0))
    for k, amplitude in enumerate(amplitudes, start=1):
        wav += np.where(k * f0 < 0.45 * SAMPLE_RATE, amplitude, 0.0) * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    fade = np.minimum(np.arange(len(f0)) / (FADE_SECONDS * SAMPLE_RATE), 1.0)
    margin = int(MARGIN_SECONDS * SAMPLE_RATE)
    wav = np.pad(wav * fade * fade[::-1], margin)
    wav = 0.3 * wav / np.abs(wav).max() + FLOOR * rng.standard_normal(len(wav))
    return wav.astype(np.float32), np.pad(f0, margin)[::HOP_LENGTH][: len(wav) // HOP_LENGTH]


def framed(wav: np.ndarray, track: Track) -> tuple[np.ndarray, np.ndarray]:
    n_frames = len(wav) // HOP_LENGTH
    return wav, track.at(np.arange(n_frames) * HOP_LENGTH / SAMPLE_RATE)


def _tones(frequencies: Sequence[float], amplitudes: Sequence[float]) -> Callable[[Random], Made]:
    def make(random: Random) -> Made:
        for hz in frequencies:
            name = f"{hz:g} Hz"
            yield name, *harmonics(np.full(SAMPLE_RATE, hz), amplitudes, random(name))

    return make


def _glides(random: Random) -> Made:
    for start, end in ((80.0, 640.0), (640.0, 80.0), (200.0, 1050.0), (1400.0, 300.0)):
        name = f"{start:g} to {end:g} Hz"
        f0 = np.geomspace(start, end, 2 * SAMPLE_RATE)
        yield name, *harmonics(f0, ONE_OVER_K, random(name))


def _vibrato(random: Random) -> Made:
    cases = ((98.0, 4.0, 50.0), (196.0, 5.0, 100.0), (330.0, 5.5, 30.0), (440.0, 6.0, 100.0), (784.0, 7.0, 100.0))
    for hz, rate, cents in cases:
        name = f"{hz:g} Hz, {cents:g} cents at {rate:g} Hz"
        seconds = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
        f0 = hz * 2 ** (cents / 1200 * np.sin(2 * np.pi * rate * seconds))
        yield name, *harmonics(f0, ONE_OVER_K, random(name))


def _octave_jumps(random: Random) -> Made:
    for low in (82.4, 130.8, 261.6, 440.0):
        name = f"{low:g} and {2 * low:g} Hz"
        f0 = low * np.repeat([1.0, 2.0, 1.0, 2.0, 1.0, 2.0], SAMPLE_RATE * 2 // 5)
        yield name, *harmonics(f0, ONE_OVER_K, random(name))


def phrase(low: float, high: float, rng: np.random.Generator, *, consonants: bool = False) -> list[Note]:
    """A melody of six notes within the range, about 2.5 s, with rests or, between syllables, fricatives."""
    notes = [Note(0.0, 0.2, "")]
    hz = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    for i in range(6):
        if consonants:
            notes.append(Note(0.0, float(rng.uniform(0.06, 0.15)), str(rng.choice(["s", "sh", "h"]))))
        elif i == 3:
            notes.append(Note(0.0, 0.25, ""))
        notes.append(Note(hz, float(rng.uniform(0.25, 0.45)), str(rng.choice(list("aeiou")))))
        hz = float(np.exp(rng.uniform(np.log(max(low, hz / LARGEST_LEAP)), np.log(min(high, hz * LARGEST_LEAP)))))
    return [*notes, Note(0.0, 0.2, "")]


def _sung(
    ranges: dict[str, tuple[float, float]], manner: Manner, *, consonants: bool = False
) -> Callable[[Random], Made]:
    def make(random: Random) -> Made:
        for name, (low, high) in ranges.items():
            rng = random(name)
            yield name, *framed(*sing(phrase(low, high, rng, consonants=consonants), manner, rng))

    return make


def _creaky(random: Random) -> Made:
    jittery = Manner(vibrato_cents=0.0, jitter=0.015, shimmer=0.1, aperiodicity=(0.1, 0.7))
    paired = Manner(vibrato_cents=0.0, subharmonic=0.02, alternation=0.08)
    more_paired = Manner(vibrato_cents=0.0, subharmonic=0.04, alternation=0.15)
    fry = Manner(vibrato_cents=0.0, jitter=0.025, shimmer=0.15, aperiodicity=(0.1, 0.6))
    voices = {"low": (90.0, 150.0), "high": (150.0, 260.0)}
    cases = {f"jitter, {voice}": (jittery, hz) for voice, hz in voices.items()}
    cases |= {f"pairs, {voice}": (paired, hz) for voice, hz in voices.items()}
    cases |= {f"uneven pairs, {voice}": (more_paired, hz) for voice, hz in voices.items()}
    cases |= {"fry, low": (fry, (45.0, 60.0)), "fry, high": (fry, (60.0, 80.0))}
    for name, (manner, (low, high)) in cases.items():
        rng = random(name)
        yield name, *framed(*sing(phrase(low, high, rng), manner, rng))


def _noisy(snr_db: float) -> Callable[[Random], Made]:
    def make(random: Random) -> Made:
        ranges = {"white": (110.0, 220.0), "pink": (220.0, 440.0), "babble": (150.0, 300.0)}
        for (name, (low, high)), noise in zip(ranges.items(), (_white, _pink, _babble), strict=True):
            rng = random(name)
            wav, f0 = framed(*sing(phrase(low, high, rng), Manner(), rng))
            yield name, with_noise(wav, f0, noise(len(wav), rng), snr_db), f0

    return make


def with_noise(wav: np.ndarray, f0: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """wav (T,) + noise (T,), whose mean power lies ``snr_db`` below that of the frames where f0 (F,) is voiced."""
    sounding = wav[: len(f0) * HOP_LENGTH].reshape(-1, HOP_LENGTH)[f0 > 0]
    gain = np.sqrt(np.mean(sounding**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    return (wav + gain * noise).astype(np.float32)


def _white(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(n_samples)


def _pink(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(n_samples))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 20)), n_samples)


def _babble(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Six people talking at once: made-up voices, so that the benchmark needs no recordings for it."""
    total = np.zeros(n_samples)
    for low in (85.0, 95.0, 110.0, 160.0, 180.0, 200.0):
        talk = np.zeros(0)
        while len(talk) < n_samples:
            talk = np.concatenate([talk, sing(phrase(low, 1.6 * low, rng, consonants=True), SPOKEN, rng)[0]])
        total += np.roll(talk, int(rng.integers(len(talk))))[:n_samples]
    return total


def _accompanied(random: Random) -> Made:
    for snr_db, (low, high) in ((20.0, (110.0, 220.0)), (10.0, (220.0, 440.0)), (5.0, (150.0, 300.0))):
        name = f"chords at {snr_db:g} dB"
        rng = random(name)
        wav, f0 = framed(*sing(phrase(low, high, rng), Manner(), rng))
        yield name, with_noise(wav, f0, _chords(len(wav), rng), snr_db), f0


def _chords(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """A bass note and a triad every half second, struck and dying away, in no relation to the melody."""
    total = np.zeros(n_samples)
    for start in range(0, n_samples, SAMPLE_RATE // 2):
        seconds = np.arange(n_samples - start) / SAMPLE_RATE
        root = 110.0 * 2 ** (rng.integers(12) / 12)
        for hz in (root / 2, root, root * 2 ** (4 / 12), root * 2 ** (7 / 12)):
            for k, amplitude in enumerate(ONE_OVER_K, start=1):
                total[start:] += (
                    amplitude * np.exp(-3 * seconds) * np.sin(2 * np.pi * (k * hz * seconds + rng.random()))
                )
    return total


def _quiet(random: Random) -> Made:
    for name, low, peak in (("-40 dB", 110.0, 0.01), ("-50 dB", 220.0, 0.00316)):
        rng = random(name)
        wav, f0 = framed(*sing(phrase(low, 2 * low, rng), Manner(), rng))
        yield name, wav * np.float32(peak / np.abs(wav).max()), f0


def _reverberant(random: Random) -> Made:
    for rt60, (low, high) in ((0.5, (110.0, 220.0)), (1.0, (220.0, 440.0)), (1.5, (150.0, 300.0))):
        name = f"RT60 {rt60:g} s"
        rng = random(name)
        wav, f0 = framed(*sing(phrase(low, high, rng), Manner(), rng))
        yield name, in_room(wav, rt60, rng), f0


def in_room(wav: np.ndarray, rt60: float, rng: np.random.Generator) -> np.ndarray:
    """wav (T,) in a room whose sound dies away by 60 dB in ``rt60`` seconds and is 3 dB weaker than the direct one."""
    seconds = np.arange(int(rt60 * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(seconds)) * 10 ** (-3 * seconds / rt60)
    response = tail * 10 ** (-3 / 20) / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    wet = fftconvolve(wav, response)[: len(wav)]
    return (0.5 * wet / np.abs(wet).max()).astype(np.float32)


def _resung(paths: Sequence[Path], per_file: int, ratio: float = 1.0) -> Made:
    """``per_file`` excerpts of each recording, evenly spaced, with f0 times ``ratio``; silent ones are left out."""
    length = int(EXCERPT_SECONDS * SAMPLE_RATE)
    for path in paths:
        wav = audio.load(path, SAMPLE_RATE)
        for i in range(per_file):
            start = max(len(wav) - length, 0) * (i + 1) // (per_file + 1)
            try:
                made, track = resing(wav[start : start + length], ratio)
            except NothingVoicedError as error:
                logger.warning("%s from %.1f s left out: %s", path.name, start / SAMPLE_RATE, error)
                continue
            yield f"{path.stem} from {start / SAMPLE_RATE:.1f} s", *framed(made, track)


def _speech(random: Random) -> Made:
    return _resung(sorted((DEMO / "dataset_raw" / "lj").iterdir())[:15:5], 1)


def _song(ratio: float) -> Callable[[Random], Made]:
    return lambda random: _resung(sorted(path for path in (DEMO / "raw").iterdir() if audio.is_audio(path)), 3, ratio)


GROUPS: dict[str, Callable[[Random], Made]] = {
    "pure tones": _tones(TONES_HZ, [1.0]),
    "harmonic tones": _tones(TONES_HZ, ONE_OVER_K),
    "no fundamental": _tones([hz for hz in TONES_HZ if hz < 500], [0.0, *ONE_OVER_K[1:]]),
    "glides": _glides,
    "vibrato": _vibrato,
    "octave jumps": _octave_jumps,
    "noise 20 dB": _noisy(20.0),
    "noise 10 dB": _noisy(10.0),
    "noise 0 dB": _noisy(0.0),
    "accompaniment": _accompanied,
    "reverberation": _reverberant,
    "breathy": _sung({"low": (100.0, 200.0), "middle": (200.0, 400.0), "high": (350.0, 600.0)}, BREATHY),
    "creaky": _creaky,
    "quiet": _quiet,
    "consonants": _sung(
        {"low": (100.0, 200.0), "middle": (180.0, 360.0), "high": (300.0, 600.0)}, Manner(), consonants=True
    ),
    "bass": _sung({"60-90 Hz": (60.0, 90.0), "70-120 Hz": (70.0, 120.0)}, Manner()),
    "voices": _sung({"baritone": (100.0, 330.0), "tenor": (130.0, 490.0), "alto": (175.0, 660.0)}, Manner()),
    "soprano": _sung({"500-750 Hz": (500.0, 750.0), "700-1000 Hz": (700.0, 1000.0)}, HIGH_SONG),
    "above 1 kHz": _sung({"1000-1300 Hz": (1000.0, 1300.0), "1200-1560 Hz": (1200.0, 1560.0)}, HIGH_SONG),
    "speech": _speech,
    "song": _song(1.0),
    "song x0.5": _song(0.5),
    "song x1.5": _song(1.5),
    "song x2": _song(2.0),
    "song x3": _song(3.0),
}
