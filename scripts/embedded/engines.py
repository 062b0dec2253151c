"""Free speech engines as teachers: text in, 16 kHz audio and the times of its phones out.

espeak-ng (many languages, formant synthesis) through its library, festival (recorded diphones and units, HMM voices)
and flite (CMU Arctic voices) through their programs. All of them come with Debian and its kin:

    apt-get install espeak-ng festival flite festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts festvox-italp16k
        festvox-itapc16k festvox-ca-ona-hts festvox-ru festvox-suopuhe-lj festvox-suopuhe-mv
        festvox-czech-{dita,krb,machac,ph}
"""

import ctypes
import ctypes.util
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import audio
from scripts.embedded import phones
from vencoder.encoder import SAMPLE_RATE


@dataclass(frozen=True)
class Speech:
    """wav (T,) float32 at 16 kHz; the classes ``phone`` (n,) of scripts.embedded.phones, each until ``end`` (n,) s."""

    voice: str
    wav: np.ndarray
    end: np.ndarray
    phone: np.ndarray


def _spread(starts: Sequence[float], end: float, classes: Sequence[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Phones of several classes cut into equal parts."""
    ends, flat = [], []
    for start, stop, group in zip(starts, [*starts[1:], end], classes, strict=True):
        ends += [start + (stop - start) * (i + 1) / len(group) for i in range(len(group))]
        flat += group
    return np.array(ends), np.array(flat, dtype=np.int64)


# (language, script of its texts)
ESPEAK_LANGUAGES = (
    *((name, "english") for name in ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us", "en")),
    *((name, "latin") for name in ("es", "it", "de", "fr", "pt", "pt-br", "nl", "pl", "cs", "fi", "sv", "da", "nb")),
    *((name, "latin") for name in ("hu", "ro", "tr", "id", "sw", "eo", "la", "hr", "et", "lv", "is", "cy", "ca", "vi")),
    *((name, "latin") for name in ("es-419", "fr-be", "ms", "eu", "sq", "haw", "tn")),
    *((name, "cyrillic") for name in ("ru", "bg", "uk", "sr")),
    *(("el", "greek"), ("ja", "kana"), ("ja", "kana"), ("ja", "kana"), ("hi", "devanagari"), ("mr", "devanagari")),
    *(("ar", "arabic"), ("fa", "arabic"), ("ko", "hangul"), ("ko", "hangul"), ("cmn-latn-pinyin", "pinyin")),
    *(("cmn-latn-pinyin", "pinyin"),),
)
ESPEAK_VARIANTS = (
    *("", "", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "croak", "whisper", "whisperf"),
    *("Alex", "Andy", "Alicia", "Andrea", "Annie", "Denis", "Diogo", "Gene", "Jacky", "Lee", "Marco", "Mario"),
    *("Michael", "Mike", "Nguyen", "adam", "anika", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed"),
    *("grandma", "grandpa", "iven", "john", "linda", "max", "miguel", "norbert", "pablo", "paul", "quincy", "rob"),
    *("sandro", "shelby", "steph", "travis", "victor", "zac"),
)
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER
PHONEME_EVENT, UTF8, SYNCHRONOUS = 7, 1, 2
PHONEMES_IN_IPA = 3 | 0x8000  # and no exit() on errors


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("phone", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The library in this process.

    Raises:
        FileNotFoundError: it is not installed.
    """

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise FileNotFoundError("libespeak-ng is missing: apt-get install espeak-ng")
        self.library = ctypes.CDLL(name)
        self.sample_rate = self.library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEMES_IN_IPA)
        self.pieces: list[np.ndarray] = []
        self.phones: list[tuple[float, str]] = []
        self.callback = _Callback(self._collect)  # kept: the library only has its address
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, wav, n_samples, events) -> int:
        if n_samples > 0:
            self.pieces.append(np.ctypeslib.as_array(wav, (n_samples,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == PHONEME_EVENT:
                text = events[i].phone.decode("utf-8", "ignore")
                if not text.startswith("("):  # a change of language
                    self.phones.append((events[i].milliseconds / 1000.0, text))
            i += 1
        return 0

    def speak(self, text: str, language: str, variant: str, *, rng: np.random.Generator) -> Speech | None:
        """``text`` in a random pitch and rate; None where the library has nothing to say."""
        self.pieces, self.phones = [], []
        voice = f"{language}+{variant}" if variant else language
        if self.library.espeak_SetVoiceByName(voice.encode()):
            return None
        for parameter, low, high in ((RATE, 100, 230), (PITCH, 0, 99), (RANGE, 0, 99)):
            self.library.espeak_SetParameter(parameter, int(rng.integers(low, high)), 0)
        encoded = text.encode()
        self.library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, UTF8, None, None)
        self.library.espeak_Synchronize()
        if not self.phones or not self.pieces:
            return None
        wav = np.concatenate(self.pieces).astype(np.float32) / 32768.0
        starts = [0.0, *(start for start, _ in self.phones)]
        classes = [[phones.INDEX[phones.SILENCE]], *(phones.from_ipa(text) for _, text in self.phones)]
        end, phone = _spread(starts, len(wav) / self.sample_rate, classes)
        return Speech(voice, audio.resample(wav, self.sample_rate, SAMPLE_RATE), end, phone)


# voice, table of its phones, script of its texts, encoding of its input
FESTIVAL_VOICES = (
    ("kal_diphone", phones.ARPABET, "english", "latin-1"),
    ("ked_diphone", phones.ARPABET, "english", "latin-1"),
    ("cmu_us_slt_arctic_hts", phones.ARPABET, "english", "latin-1"),
    ("lp_diphone", phones.SAMPA, "latin", "latin-1"),
    ("pc_diphone", phones.SAMPA, "latin", "latin-1"),
    ("czech_dita", phones.CZECH, "latin", "latin-1"),
    ("czech_krb", phones.CZECH, "latin", "latin-1"),
    ("czech_machac", phones.CZECH, "latin", "latin-1"),
    ("czech_ph", phones.CZECH, "latin", "latin-1"),
    ("suo_fi_lj_diphone", phones.SAMPA, "latin", "latin-1"),
    ("hy_fi_mv_diphone", phones.SAMPA, "latin", "latin-1"),
    ("upc_ca_ona_hts", phones.SAMPA, "latin", "latin-1"),
    ("msu_ru_nsh_clunits", phones.RUSSIAN, "cyrillic", "utf-8"),
)


def festival(voice: str, table: dict[str, str], texts: Sequence[str], encoding: str) -> list[Speech]:
    """``texts`` in one of FESTIVAL_VOICES, all in one run of the program. A text that it cannot say is left out.

    Raises:
        FileNotFoundError: festival or the voice is not installed.
    """
    if shutil.which("festival") is None:
        raise FileNotFoundError("festival is missing: apt-get install festival")
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"(voice_{voice})"]
        for i, text in enumerate(texts):
            lines.append(
                f'(unwind-protect (begin (set! u (utt.synth (Utterance Text "{text}")))'
                f' (utt.save.wave u "{i}.wav") (utt.save.segs u "{i}.lab")))'
            )
        script = Path(folder) / "speak.scm"
        script.write_bytes("\n".join(lines).encode(encoding, "ignore"))
        subprocess.run(["festival", "-b", script.name], cwd=folder, capture_output=True, timeout=600, check=False)
        found = []
        for i in range(len(texts)):
            wav_path, labels = Path(folder) / f"{i}.wav", Path(folder) / f"{i}.lab"
            if wav_path.exists() and labels.exists():
                found.append(_labelled(f"festival {voice}", wav_path, labels.read_text("latin-1"), table))
    if not found:
        raise FileNotFoundError(f"festival says nothing as {voice}: install the packages that {__name__} names")
    return found


def _labelled(voice: str, wav_path: Path, labels: str, table: dict[str, str]) -> Speech:
    """A wav with an ESPS label file: after "#", lines of end time, colour, phone."""
    rows = [line.split() for line in labels.splitlines() if line and line != "#"]
    rows = [row for row in rows if len(row) >= 3]
    ends = [float(row[0]) for row in rows]
    end, phone = _spread([0.0, *ends[:-1]], ends[-1], [phones.from_table(row[2], table) for row in rows])
    return Speech(voice, audio.load(wav_path, SAMPLE_RATE), end, phone)


FLITE_VOICES = ("kal", "awb", "rms", "slt")


def flite_phones(voice: str, text: str) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """``text`` in one of FLITE_VOICES: wav (T,) at 16 kHz, and (end in seconds, name) of its phones.

    Raises:
        FileNotFoundError: flite is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice, "-t", text, "-o", str(path), "-psdur"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        except FileNotFoundError:
            raise FileNotFoundError("flite is missing: apt-get install flite") from None
        pairs = [item.rsplit(":", 1) for item in done.stdout.split()]
        return audio.load(path, SAMPLE_RATE), [(float(end), name) for name, end in pairs]
