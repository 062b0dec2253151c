"""How many words of a recording are understood, in English.

The recogniser is pocketsphinx (Huggins-Daines et al. 2006), whose package holds its models. It is small and was made
for speech: read text it hears with about one error in five words, singing far worse, so that only differences between
conversions of one song mean something.
"""

import re
from collections.abc import Sequence

import numpy as np

from common import audio
from common.registry import NotAvailableError

SAMPLE_RATE = 16000
INSTALL = "pip install pocketsphinx"


class Recogniser:
    """pocketsphinx with the English models of its package.

    Raises:
        NotAvailableError: the package is not installed.
    """

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise NotAvailableError(f"the package pocketsphinx is not installed: {INSTALL}") from error
        self._make = Decoder

    def words(self, wav: np.ndarray, sample_rate: int) -> list[str]:
        """What is heard in (T,)."""
        wav = audio.resample(wav, sample_rate, SAMPLE_RATE)
        wav = wav * (0.9 / max(audio.peak(wav), 1e-6))
        decoder = self._make(samprate=SAMPLE_RATE, loglevel="FATAL")  # anew: it adapts to what it heard before
        decoder.start_utt()
        decoder.process_raw((wav * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        return words_of(decoder.hyp().hypstr) if decoder.hyp() else []


def words_of(text: str) -> list[str]:
    """Words in small letters, without punctuation, nor the recogniser's marks of noise and of other readings."""
    return re.findall(r"\w+(?:'\w+)*", re.sub(r"<[^>]*>|\[[^\]]*\]|\(\d+\)", " ", text.lower().replace("’", "'")))


def word_error_rate(reference: Sequence[str], heard: Sequence[str]) -> float:
    """Fewest substitutions, deletions and insertions from ``reference`` to ``heard``, per word of ``reference``.

    Levenshtein 1966; above 1 where much is inserted.

    Raises:
        ValueError: ``reference`` is empty.
    """
    if not reference:
        raise ValueError("no word in the reference")
    costs = list(range(len(heard) + 1))
    for i, word in enumerate(reference, start=1):
        previous, costs[0] = costs[0], i
        for j, other in enumerate(heard, start=1):
            previous, costs[j] = costs[j], min(previous + (word != other), costs[j] + 1, costs[j - 1] + 1)
    return costs[-1] / len(reference)
