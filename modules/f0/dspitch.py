"""Pitch re-drawn: SOME (openvpi) hears the notes, the pitch models of a DiffSinger voicebank sing them again.

The curve follows the melody, with the slides and the vibrato of the voicebank's singer instead of those of the
recording. Every note is given to the models as one vowel, every rest as one pause. docs/dspitch.md says which files
are needed.

Letters: T samples, F frames of the caller, K frames of the voicebank, N notes, D width of a singer's embedding.
DiffSinger: Liu et al. 2022, arXiv:2105.02446; the models here are those of openvpi's version.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from common import audio, onnx_sessions, voicebank
from modules.f0.predictor import Array, F0Predictor, fill_unvoiced, resize_linear
from modules.slicing import Chunk, cut_clips, slice_at_silences

SOME_RATE = 44100  # Hz, of every SOME model
STEPS, SPEEDUP = 20, 50  # of the sampler: either way it takes 20 steps of the 1000 it was trained with
START_PITCH = 60.0  # MIDI; a model that draws every frame anew must not depend on it
LOWEST, HIGHEST = 0.0, 127.0  # MIDI
MAX_SECONDS, MIN_SECONDS = 30.0, 7.5  # of a piece; the transcriber's memory grows with the square of its length
MAX_KEPT = 0.5  # seconds of a pause that its neighbours hear
SILENCE_DB = -40.0  # below the loudest sample
SHORTEST = 2048  # samples that the transcriber is given at least: one window of its spectrogram
DURATION_SLACK = 0.1, 0.5  # share and seconds by which the notes of a piece may miss its length

LINGUISTIC_INPUTS = {"tokens", "languages", "ph_dur", "word_div", "word_dur"}
PITCH_INPUTS = {
    *("encoder_out", "ph_dur", "note_midi", "note_rest", "note_dur", "note_glide"),
    *("pitch", "retake", "expr", "spk_embed", "steps", "speedup"),
}
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


class Notes(NamedTuple):
    """N notes that fill a piece: pitch (N,) in MIDI semitones, rests (N,), lengths (N,) in frames, none of them 0."""

    midi: NDArray[np.float64]
    rest: NDArray[np.bool_]
    frames: NDArray[np.int64]


class Melody(NamedTuple):
    """f0 (K,) in Hz, 0 where no model was asked; ``voiced`` (K,) where a note is sung. Rests have an f0 too."""

    f0: NDArray[np.float64]
    voiced: NDArray[np.bool_]


def weight_files() -> list[Path]:
    """The files that ``dspitch`` reads from pretrain/ds_enhance, but for those of languages and singers."""
    bank = voicebank.read()
    return [bank.transcriber, bank.linguistic, bank.pitch, bank.config, bank.phonemes]


class DsPitchPredictor(F0Predictor):
    """``dspitch``; ``threshold``, ``f0_min`` and ``f0_max`` have no effect.

    Args:
        weights: folder with the files; pretrain/ds_enhance when absent.

    Raises:
        FileNotFoundError: files are missing; the message lists all of them.
        ValueError: a file is damaged or holds another model, or the voicebank asks for what is not known here.
        NotAvailableError: onnxruntime is not installed, or not for this device.
    """

    def __init__(self, *args: Any, weights: Path | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bank = bank = voicebank.read(weights)
        self.transcriber = Model(bank.transcriber, self.device, {"waveform"}, ("note_midi", "note_rest", "note_dur"))
        self.linguistic = Model(bank.linguistic, self.device, LINGUISTIC_INPUTS, ("encoder_out",))
        self.pitch = Model(bank.pitch, self.device, PITCH_INPUTS, ("pitch_pred",))
        self.languages = bank.language_ids() if "languages" in self.linguistic.inputs else (0, 0)
        self.speaker = np.zeros(0, np.float32)  # (D,)
        if "spk_embed" in self.pitch.inputs:
            self.speaker = bank.speaker_embedding(self.pitch.width("spk_embed"))

    def compute_f0_uv(self, wav: Array, n_frames: int | None = None) -> tuple[Array, Array]:
        """As the base says, but f0 in a rest is what the model draws there, when the rest is beside a note."""
        super().compute_f0_uv(wav, 0)  # checks the audio
        n_frames = len(wav) // self.hop_length if n_frames is None else n_frames
        if n_frames < 1:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        melody = self.melody(np.ascontiguousarray(wav, dtype=np.float32))
        _, uv = fill_unvoiced(self.resize(np.where(melody.voiced, melody.f0, 0.0), n_frames))
        if not uv.any():
            return np.zeros(n_frames, np.float32), uv
        f0, _ = fill_unvoiced(self.resize(melody.f0, n_frames))
        return f0, uv

    def raw_f0(self, wav: Array) -> NDArray[np.floating]:
        melody = self.melody(wav)
        return np.where(melody.voiced, melody.f0, 0.0)

    def resize(self, track: NDArray[np.floating], n_frames: int) -> NDArray[np.floating]:
        return resize_linear(track, n_frames)

    def melody(self, wav: Array) -> Melody:
        """wav (T,) at ``sample_rate`` -> K frames; a last part shorter than a frame is left out, as in F."""
        hop, rate = self.bank.hop_length, self.bank.sample_rate
        n_frames = max(len(wav) * rate // (self.sample_rate * hop), 1)
        f0, voiced = np.zeros(n_frames), np.zeros(n_frames, dtype=bool)
        wav = audio.resample(wav, self.sample_rate, SOME_RATE)
        samples_per_frame = SOME_RATE * hop / rate
        for piece in pieces(wav):
            last = piece.end == len(wav)
            first = min(round(piece.start / samples_per_frame), n_frames)
            end = n_frames if last else min(round(piece.end / samples_per_frame), n_frames)
            if piece.is_silent or end <= first:
                continue
            heard = wav[round(first * samples_per_frame) : len(wav) if last else round(end * samples_per_frame)]
            notes = self.transcribe(heard, end - first)
            if not notes.rest.all():
                f0[first:end] = self.sing(notes)
                voiced[first:end] = np.repeat(~notes.rest, notes.frames)
        return Melody(f0, voiced)

    def transcribe(self, wav: Array, n_frames: int) -> Notes:
        """The notes of a piece (T,) at SOME_RATE, ``n_frames`` frames together; a note of no frame is left out.

        Raises:
            ValueError: what the transcriber says is no transcription of this audio.
        """
        wav = np.pad(wav, (0, max(SHORTEST - len(wav), 0)))
        midi, rest, seconds = (values.reshape(-1) for values in self.transcriber.run(waveform=wav[None]))
        path = self.bank.transcriber
        if not len(midi) == len(rest) == len(seconds):
            raise ValueError(
                f"{path}: {len(midi)} pitches, {len(rest)} rests and {len(seconds)} lengths for the same notes"
            )
        if not len(midi):
            return Notes(np.zeros(0), np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64))
        midi, rest, seconds = midi.astype(np.float64), rest.astype(bool), seconds.astype(np.float64)
        if not (np.isfinite(seconds).all() and (seconds >= 0).all()):
            raise ValueError(f"{path}: a note of {seconds[~(seconds >= 0) | np.isinf(seconds)][0]} s")
        duration, (share, slack) = len(wav) / SOME_RATE, DURATION_SLACK
        if abs(seconds.sum() - duration) > max(share * duration, slack):
            raise ValueError(f"{path}: notes of {seconds.sum():.2f} s together for {duration:.2f} s of audio")
        frames = note_frames(seconds, n_frames, frames_per_second=self.bank.sample_rate / self.bank.hop_length)
        midi = plausible_pitch(midi, rest, path)
        kept = frames > 0
        return Notes(midi[kept], rest[kept], frames[kept])

    def sing(self, notes: Notes) -> NDArray[np.float64]:
        """f0 in Hz at every frame of ``notes``.

        Raises:
            ValueError: a model cannot be run on what the others give, or its pitch is none.
        """
        n_notes, n_frames = len(notes.midi), int(notes.frames.sum())
        bank = self.bank
        (encoded,) = self.linguistic.run(
            tokens=np.where(notes.rest, bank.rest.token, bank.vowel.token)[None],
            languages=np.where(notes.rest, self.languages[1], self.languages[0])[None],
            ph_dur=notes.frames[None],
            word_div=np.ones((1, n_notes)),  # each note is a word of one phone
            word_dur=notes.frames[None],
        )
        (midi,) = self.pitch.run(
            encoder_out=encoded,
            ph_dur=notes.frames[None],
            note_midi=notes.midi[None],
            note_rest=notes.rest[None],
            note_dur=notes.frames[None],
            note_glide=np.zeros((1, n_notes)),
            pitch=np.full((1, n_frames), START_PITCH),
            expr=np.ones((1, n_frames)),
            retake=np.ones((1, n_frames), dtype=bool),  # False would keep ``pitch``
            spk_embed=np.broadcast_to(self.speaker, (1, n_frames, len(self.speaker))),
            steps=np.array(STEPS),
            speedup=np.array(SPEEDUP),
        )
        midi = midi.reshape(-1).astype(np.float64)
        if len(midi) != n_frames:
            raise ValueError(f"{bank.pitch}: {len(midi)} frames of pitch_pred for {n_frames} frames")
        bad = np.flatnonzero(~((midi >= LOWEST) & (midi <= HIGHEST)))
        if len(bad):
            raise ValueError(
                f"{bank.pitch}: {len(bad)} of {n_frames} frames of pitch_pred are no pitch in MIDI semitones"
                f" ({midi[bad[0]]:g} at frame {bad[0]})"
            )
        return 440.0 * 2 ** ((midi - 69) / 12)


class Model:
    """An .onnx file with named inputs, which is given those that it declares.

    Raises:
        ValueError: it declares an input that is not in ``known``, or lacks one of ``outputs``.
    """

    def __init__(self, path: Path, device: torch.device, known: set[str], outputs: tuple[str, ...]) -> None:
        self.path, self.outputs = path, outputs
        self.session = onnx_sessions.open_session(path, device)
        self.inputs = {declared.name: declared for declared in self.session.get_inputs()}
        unknown = ", ".join(name for name, it in self.inputs.items() if name not in known or it.type not in DTYPES)
        if unknown:
            raise ValueError(f"{path} asks for what is not known here: {unknown}; known: {', '.join(sorted(known))}")
        given = [declared.name for declared in self.session.get_outputs()]
        lacking = [name for name in outputs if name not in given]
        if lacking:
            raise ValueError(f"{path} is another model: it gives {', '.join(given)}, but no {', '.join(lacking)}")

    def width(self, name: str) -> int | None:
        """Last dimension of the input ``name``; None where the file leaves it open."""
        shape = self.inputs[name].shape
        return shape[-1] if shape and isinstance(shape[-1], int) else None

    def run(self, **values: NDArray[Any]) -> list[NDArray[Any]]:
        """The ``outputs``; of ``values`` those that are declared are used, in the type that is declared."""
        feeds = {}
        for name, declared in self.inputs.items():
            value: NDArray[Any] = values[name].astype(DTYPES[declared.type])
            feeds[name] = value.reshape([1] * len(declared.shape)) if value.ndim == 0 else value
        return onnx_sessions.run(self.session, self.outputs, feeds, where=self.path)


def pieces(wav: Array) -> Iterator[Chunk]:
    """Chunks of at most MAX_SECONDS, one after the other, of (T,) at SOME_RATE; cut in pauses where there are any."""
    longest = int(MAX_SECONDS * SOME_RATE)
    if audio.is_silent(wav) or len(wav) <= longest:
        yield Chunk(0, len(wav), audio.is_silent(wav))
        return
    level = 20 * np.log10(audio.peak(wav)) + SILENCE_DB  # a quiet recording is not silence
    for chunk in slice_at_silences(wav, SOME_RATE, threshold_db=level, max_kept=MAX_KEPT):
        if chunk.is_silent or chunk.end - chunk.start <= longest:
            yield chunk
            continue
        start = chunk.start
        for clip in cut_clips(
            wav[chunk.start : chunk.end],
            SOME_RATE,
            min_seconds=MIN_SECONDS,
            max_seconds=MAX_SECONDS,
            threshold_db=level,
            max_pause=MAX_SECONDS,  # none is shortened
        ):
            yield Chunk(start, start + len(clip), False)
            start += len(clip)


def note_frames(seconds: NDArray[np.float64], n_frames: int, *, frames_per_second: float) -> NDArray[np.int64]:
    """Lengths (N,) in frames of notes of ``seconds`` (N,), which fill ``n_frames``: the last ends where these end."""
    # SOME counts in frames of its own: without the margin, rounding would let an edge on a frame fall before it.
    edges = np.floor(np.cumsum(seconds) * frames_per_second + 1e-3).astype(np.int64)
    edges = np.minimum(edges, n_frames)
    edges[-1] = n_frames
    return np.diff(edges, prepend=0)


def plausible_pitch(midi: NDArray[np.float64], rest: NDArray[np.bool_], path: Path) -> NDArray[np.float64]:
    """``midi`` (N,), where a rest without a pitch has that of the nearest note: the models never saw a rest at 0.

    Raises:
        ValueError: a note that is sung has no pitch.
    """
    usable = (midi > LOWEST) & (midi <= HIGHEST)
    if not (usable | rest).all():
        raise ValueError(f"{path}: a note at {midi[~(usable | rest)][0]:g}, which is no pitch in MIDI semitones")
    notes = np.flatnonzero(usable)
    if not len(notes):
        return midi
    nearest = np.rint(np.interp(np.arange(len(midi)), notes, np.arange(len(notes)))).astype(int)
    return midi[notes[nearest]]
