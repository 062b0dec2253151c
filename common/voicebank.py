"""The files behind `dspitch`: the transcriber SOME, and the pitch part of an OpenUtau DiffSinger voicebank.

A voicebank keeps its pitch models in a folder ``dspitch`` with a ``dsconfig.yaml`` of its own, which names the other
files relative to itself (often ``../model/phonemes.json``). so-vits-svc puts the same files flat into
pretrain/ds_enhance under fixed names. Both are read; docs/dspitch.md shows them.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from common.failures import shown
from common.pretrained_files import ROOT

logger = logging.getLogger(__name__)

FOLDER = ROOT / "pretrain" / "ds_enhance"
CONFIG, TRANSCRIBER = "dsconfig.yaml", "SOME.onnx"
# Key of dsconfig.yaml: the names that so-vits-svc gives the file, and what it is.
PARTS = {
    "linguistic": (("ds_linguistic.onnx",), "the voicebank's linguistic encoder"),
    "pitch": (("ds_pitch.onnx",), "the voicebank's pitch predictor"),
    "phonemes": (("phonemes.txt", "phonemes.json"), "the voicebank's list of phonemes"),
}
# Best first; in voicebanks of several languages they carry a prefix, as in zh/a.
VOWELS = ("a", "aa", "ah", "AA", "AH", "A", "ɑ", "e", "i", "o", "u")
RESTS = ("SP", "pau", "sil", "SIL", "rest", "R", "AP")
SHOWN_PHONEMES = 60


@dataclass(frozen=True)
class Phoneme:
    """A name of the list of phonemes with its number."""

    name: str
    token: int

    @property
    def language(self) -> str:
        """``zh`` of ``zh/a``; empty where there is no prefix."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True)
class Voicebank:
    """What a folder holds; every path exists. Frames are ``hop_length`` samples at ``sample_rate`` Hz."""

    config: Path
    transcriber: Path
    linguistic: Path
    pitch: Path
    phonemes: Path
    sample_rate: int
    hop_length: int
    vowel: Phoneme  # stands for every sung note
    rest: Phoneme
    languages: str | None  # file of language numbers, as dsconfig.yaml names it
    speakers: tuple[str, ...]

    def language_ids(self) -> tuple[int, int]:
        """Numbers of the languages of ``vowel`` and ``rest``, for models that ask; 0 is a phoneme without a prefix.

        Raises:
            FileNotFoundError: the file of languages is missing.
            ValueError: none is named, it is no table of numbers, or a language is not in it.
        """
        if not (self.vowel.language or self.rest.language):
            return 0, 0
        if self.languages is None:
            raise ValueError(f"{self.linguistic} asks for languages, but {self.config} has no key languages")
        path = _beside(self.config, self.languages)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {self.config} names it under languages")
        known = _read_ids(path, "languages")
        for phoneme in (self.vowel, self.rest):
            if phoneme.language and phoneme.language not in known:
                names = ", ".join(known)
                raise ValueError(f"{path} does not know the language of the phoneme {phoneme.name!r}, only: {names}")
        return known.get(self.vowel.language, 0), known.get(self.rest.language, 0)

    def speaker_embedding(self, width: int | None) -> NDArray[np.float32]:
        """The first of ``speakers`` as (D,); D must be ``width`` where the model states one.

        Raises:
            FileNotFoundError: its .emb file is missing.
            ValueError: the voicebank names no speakers, or the file holds something else.
        """
        if not self.speakers:
            raise ValueError(f"{self.pitch} asks for a singer (spk_embed), but {self.config} names no speakers")
        path = _beside(self.config, self.speakers[0].removesuffix(".emb") + ".emb")
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {self.config} names it as the first of its speakers")
        content = path.read_bytes()
        if not content or len(content) % 4:
            raise ValueError(f"{path} is damaged or cut off: {len(content)} bytes are no row of float32 numbers")
        embedding = np.frombuffer(content, dtype="<f4").astype(np.float32)
        if width is not None and len(embedding) != width:
            raise ValueError(f"{path} holds {len(embedding)} numbers, but {self.pitch} takes {width}")
        if not np.isfinite(embedding).all():
            raise ValueError(f"{path} is damaged: it holds NaN or infinite numbers")
        if len(self.speakers) > 1:
            others = ", ".join(self.speakers[1:])
            logger.info("%s: pitch of the first of its speakers, %s (others: %s)", self.config, path.stem, others)
        return embedding


def read(folder: Path | None = None) -> Voicebank:
    """Find and check the files in ``folder`` (pretrain/ds_enhance when absent); no model is opened.

    Raises:
        FileNotFoundError: there is no such folder, or files are missing; the message lists all of them.
        ValueError: dsconfig.yaml or the list of phonemes is damaged, or has no phoneme to sing on.
    """
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    folder = FOLDER if folder is None else folder
    config = folder / "dspitch" / CONFIG
    if not config.is_file():
        config = folder / CONFIG
    settings = _read_config(config) if config.is_file() else {}
    found = _find_parts(folder, config, settings)
    phonemes = read_phonemes(found["phonemes"])
    vowel = _choose(phonemes, VOWELS, "vowel", found["phonemes"])
    rest = _choose(phonemes, RESTS, "rest", found["phonemes"])
    if (vowel.name, rest.name) != (VOWELS[0], RESTS[0]):
        logger.info("%s: notes are sung on %s, rests are %s", found["phonemes"], vowel.name, rest.name)
    return Voicebank(
        config=config,
        transcriber=folder / TRANSCRIBER,
        **found,
        sample_rate=settings.get("sample_rate", 44100),
        hop_length=settings.get("hop_size", 512),
        vowel=vowel,
        rest=rest,
        languages=settings.get("languages"),
        speakers=tuple(settings.get("speakers", ())),
    )


def read_phonemes(path: Path) -> dict[str, int]:
    """Name to number: a .json file says it, in a .txt file the number is that of the line, from 0."""
    if path.suffix.lower() == ".json":
        return _read_ids(path, "phonemes")
    phonemes: dict[str, int] = {}
    for token, line in enumerate(_read_text(path).split("\n")):
        phonemes.setdefault(line.strip(), token)
    phonemes.pop("", None)
    return phonemes


def _choose(phonemes: Mapping[str, int], wanted: Sequence[str], kind: str, path: Path) -> Phoneme:
    """The first of ``wanted`` that is there, by itself or behind a prefix (then the one of the lowest number)."""
    by_token = sorted(phonemes, key=phonemes.__getitem__)
    for name in wanted:
        same = [phoneme for phoneme in by_token if phoneme.rpartition("/")[2] == name]
        if same:
            best = name if name in phonemes else same[0]
            return Phoneme(best, phonemes[best])
    shown = ", ".join(by_token[:SHOWN_PHONEMES]) or "none"
    if len(by_token) > SHOWN_PHONEMES:
        shown += f" and {len(by_token) - SHOWN_PHONEMES} more"
    names = ", ".join(wanted)
    raise ValueError(f"{path} has no {kind} among {names}, nor zh/{wanted[0]} or the like; it has: {shown}")


def _find_parts(folder: Path, config: Path, settings: Mapping[str, Any]) -> dict[str, Path]:
    """Key of `PARTS` to file. Raises FileNotFoundError with one line for each file that is missing, if any is."""
    found: dict[str, Path] = {}
    missing = []
    inside = config.parent.relative_to(folder)
    if not (folder / TRANSCRIBER).is_file():
        missing.append(f"{TRANSCRIBER}: the transcriber SOME, from https://github.com/openvpi/SOME/releases")
    if not config.is_file():
        missing.append(f"{CONFIG}: the settings of the voicebank's pitch part")
    for key, (names, what) in PARTS.items():
        named = settings.get(key)
        path = _find(config, named, names)
        if path is not None:
            found[key] = path
            continue
        otherwise = f" (or as {names[0]})" if named not in (None, *names) else ""
        missing.append(f"{inside / (named or names[0])}: {what}{otherwise}")
    if missing:
        lines = "\n  ".join(missing)
        raise FileNotFoundError(
            f"the f0 predictor dspitch lacks files in {folder}:\n  {lines}\nThe voicebank may be any of DiffSinger for"
            " OpenUtau that has a folder dspitch. docs/dspitch.md says what goes where"
        )
    return found


def _find(config: Path, named: str | None, names: Iterable[str]) -> Path | None:
    """The file that dsconfig.yaml names, else the one with so-vits-svc's name, whose settings keep the old name."""
    candidates = [_beside(config, name) for name in (named, *names) if name]
    return next((path for path in candidates if os.path.isfile(path)), None)


def _beside(config: Path, name: str) -> Path:
    return config.parent / name.replace("\\", "/")  # voicebanks are made on Windows


def _read_config(path: Path) -> dict[str, Any]:
    """The keys of dsconfig.yaml that matter here; of the others, which belong to other models, nothing is asked."""
    try:
        content = yaml.safe_load(_read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # impossible dates and numbers are ValueErrors
        raise ValueError(f"{path} is damaged or no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no dsconfig.yaml: it has no keys")
    settings = {key: value for key, value in content.items() if value is not None}
    problems = [
        f"{key}: expected the name of a file, got {shown(settings[key])}"
        for key in (*PARTS, "languages")
        if not isinstance(settings.get(key, ""), str)
    ]
    for key in ("sample_rate", "hop_size"):
        value = settings.get(key, 1)
        if type(value) is not int or value < 1:
            problems.append(f"{key}: expected a whole number above 0, got {shown(value)}")
    speakers = settings.get("speakers", [])
    if not isinstance(speakers, list) or not all(isinstance(name, str) for name in speakers):
        problems.append(f"speakers: expected a list of names, got {shown(speakers)}")
    if problems:
        raise ValueError(f"{path}: " + "; ".join(problems))
    return settings


def _read_ids(path: Path, what: str) -> dict[str, int]:
    try:
        content = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or no JSON: {error}") from None
    if not isinstance(content, dict) or not all(type(value) is int for value in content.values()):
        raise ValueError(f"{path} is no list of {what}: expected a table from names to whole numbers")
    return content


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged or no text in UTF-8 (byte {error.start})") from None
