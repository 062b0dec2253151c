"""Recordings with the times of their phones, for the phone columns of benchmarks.units_probe.

    python -m benchmarks.phone_labels -o LABELLED --texts benchmarks/texts_lj.tsv --data dataset_raw --flite awb rms slt

For every line `speaker/clip<TAB>text` of --texts whose recording is in --data: the recording is copied to
LABELLED/speaker and its text laid along it by pocketsphinx, whose American English model is independent of anything
here (pip install pocketsphinx). The voices of --flite (apt-get install flite) say the same texts and know their phones.
Labels are LABELLED/speaker/clip.tsv with lines of `end in seconds<TAB>phone`, phones as in the CMU dictionary.
"""

import argparse
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import audio
from common.logs import run_script, setup_logging
from common.registry import NotAvailableError
from scripts.embedded import engines

logger = logging.getLogger("phone_labels")

SAMPLE_RATE = 16000
FRAME_SECONDS = 0.01  # of pocketsphinx
SILENCE = "SIL"
# flite's phones that the dictionary does not have
FLITE_MERGED = {
    "AX": "AH",
    "AXR": "ER",
    "DX": "T",
    "NX": "N",
    "HV": "HH",
    "EL": "L",
    "EM": "M",
    "EN": "N",
    "PAU": SILENCE,
}
Labels = list[tuple[float, str]]  # end in seconds, phone


def align(wav: np.ndarray, text: str) -> Labels | None:
    """Times of the phones of ``text`` in wav (T,) at 16 kHz; None where it does not fit.

    Raises:
        NotAvailableError: pocketsphinx is not installed.
    """
    try:
        from pocketsphinx import Decoder
    except ImportError:
        raise NotAvailableError("phone labels need pocketsphinx: pip install pocketsphinx") from None
    decoder = Decoder(lm=None, loglevel="FATAL", backtrace=False)
    words = re.sub(r"[^a-z' ]", " ", text.lower()).split()
    missing = [word for word in words if decoder.lookup_word(word) is None]
    if missing:
        logger.warning("not in the dictionary: %s", " ".join(missing))
        return None
    raw = (np.clip(wav, -1.0, 1.0) * 32767.0).astype(np.int16).tobytes()
    decoder.set_align_text(" ".join(words))
    try:
        _decode(decoder, raw)
        decoder.set_alignment()  # the second pass finds the phones in the words
        _decode(decoder, raw)
    except RuntimeError:  # what it says when no path leads to the end of the text
        return None
    phones = [phone for word in decoder.get_alignment() for phone in word]
    return [((phone.start + phone.duration) * FRAME_SECONDS, phone.name) for phone in phones]


def _decode(decoder, raw: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(raw, full_utt=True)
    decoder.end_utt()


def speak(voice: str, text: str) -> tuple[np.ndarray, Labels]:
    """``text`` by flite: wav (T,) at 16 kHz and its phones."""
    wav, pairs = engines.flite_phones(voice, text)
    return wav, [(end, FLITE_MERGED.get(name.upper(), name.upper())) for end, name in pairs]


def write(folder: Path, clip: str, wav: np.ndarray, labels: Labels) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    audio.save(folder / f"{clip}.wav", wav, SAMPLE_RATE)
    lines = [f"{end:.3f}\t{phone}\n" for end, phone in labels]
    (folder / f"{clip}.tsv").write_text("".join(lines), encoding="utf-8")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the labelled recordings")
    parser.add_argument("--texts", type=Path, required=True, help="lines of speaker/clip, tab, text")
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder of recordings per speaker")
    parser.add_argument("--flite", nargs="*", default=[], choices=engines.FLITE_VOICES, help="voices of flite")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    for line in args.texts.read_text(encoding="utf-8").splitlines():
        place, text = line.split("\t")
        speaker, clip = place.split("/")
        for voice in args.flite:
            wav, labels = speak(voice, text)
            write(args.output / f"flite-{voice}", clip, wav, labels)
        recording = next((args.data / speaker).glob(f"{clip}.*"), None)
        if recording is None:
            logger.warning("%s is not in %s", place, args.data)
            continue
        wav = audio.load(recording, SAMPLE_RATE)
        found = align(wav, text)
        if found is None:
            logger.warning("%s: the text does not fit the recording", place)
        else:
            write(args.output / speaker, clip, wav, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
