"""One set of phone classes for all engines and languages: the symbols of the IPA, near ones merged.

An engine's phone becomes a sequence of classes that share its duration equally: "tʃ" is [t, ʃ], "aɪ" is [a, ɪ].
"""

import unicodedata
from collections.abc import Mapping

SILENCE = "_"
CLASSES = (
    *(SILENCE, "i", "ɪ", "e", "ɛ", "æ", "a", "ɑ", "ɔ", "o", "ʊ", "u", "ɯ", "y", "ø", "ə", "ʌ", "ɜ"),
    *("p", "b", "t", "d", "k", "g", "ʔ", "m", "n", "ɲ", "ŋ", "f", "v", "θ", "ð", "s", "z", "ʃ", "ʒ"),
    *("x", "h", "l", "ɹ", "r", "ʁ", "j", "w"),
)
INDEX = {symbol: i for i, symbol in enumerate(CLASSES)}
UNKNOWN = -1  # not taught

MERGED = {
    **{"ɐ": "a", "ɒ": "ɔ", "ɤ": "ɯ", "ɨ": "ɯ", "ʉ": "u", "ʏ": "y", "œ": "ø", "ɵ": "ø", "ɘ": "ə", "ɚ": "ɜ", "ɝ": "ɜ"},
    **{"ɞ": "ɜ", "ᵻ": "ɪ", "ʈ": "t", "ɖ": "d", "ɡ": "g", "c": "k", "ɟ": "g", "q": "k", "ɢ": "g", "ɓ": "b", "ɗ": "d"},
    **{"ɠ": "g", "ɱ": "m", "ɳ": "n", "ɴ": "ŋ", "β": "v", "ʋ": "v", "ɸ": "f", "ɕ": "ʃ", "ʂ": "ʃ", "ʑ": "ʒ", "ʐ": "ʒ"},
    **{"χ": "x", "ħ": "h", "ɦ": "h", "ɣ": "ʁ", "ʀ": "ʁ", "ɫ": "l", "ɭ": "l", "ʎ": "l", "ɬ": "ʃ", "ɮ": "ʒ", "ɻ": "ɹ"},
    **{"ɾ": "r", "ɽ": "r", "ɰ": "j", "ʝ": "j", "ɥ": "j", "ʍ": "w"},
}

# ARPAbet, as flite and festival's American voices write it
ARPABET = {
    **{"aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɜ", "ay": "aɪ", "b": "b", "ch": "tʃ"},
    **{"d": "d", "dh": "ð", "dx": "r", "eh": "ɛ", "el": "l", "em": "m", "en": "n", "er": "ɜ", "ey": "eɪ", "f": "f"},
    **{"g": "g", "hh": "h", "hv": "h", "ih": "ɪ", "iy": "i", "jh": "dʒ", "k": "k", "l": "l", "m": "m", "n": "n"},
    **{"nx": "n", "ng": "ŋ", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t", "th": "θ"},
    **{"uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ"},
}
# SAMPA with accents and lengths taken off, as the Italian, Finnish and Catalan voices write it
SAMPA = {
    **{symbol: symbol for symbol in "ieaouyjwptkbdgfsvzmnlrh"},
    **{"E": "ɛ", "O": "ɔ", "S": "ʃ", "Z": "ʒ", "J": "ɲ", "N": "ŋ", "ng": "ŋ", "nf": "m", "L": "l", "@": "ə", "ax": "ə"},
    **{"7": "ø", "&": "æ", "T": "θ", "D": "ð", "ts": "ts", "tS": "tʃ", "dz": "dz", "dZ": "dʒ", "rr": "r"},
}
CZECH = {
    **{symbol: symbol for symbol in "aeiouptkbdgfsvzmnlrj"},
    **{"h": "h", "ch": "x", "c": "ts", "c~": "tʃ", "d~": "d", "dz": "dz", "dz~": "dʒ", "n~": "ɲ", "n*": "ŋ"},
    **{"r~": "rʒ", "r~*": "rʃ", "s~": "ʃ", "z~": "ʒ", "t~": "t"},
}
RUSSIAN = {
    **{"ii": "i", "yy": "ɯ", "uu": "u", "ee": "ɛ", "oo": "o", "aa": "a", "ae": "a", "ay": "ɪ", "ur": "ʊ", "y": "ɯ"},
    **{symbol: symbol for symbol in "aeiuptkbdgfvszmnlrjh"},
    **{two: two[0] for two in ("pp", "bb", "tt", "dd", "kk", "gg", "ff", "vv", "ss", "zz", "mm", "nn", "ll", "rr")},
    **{"c": "ts", "ch": "tʃ", "sh": "ʃ", "sch": "ʃ", "zh": "ʒ", "hh": "x", "h": "x"},
}
PAUSES = ("", "pau", "#", "##", "h#", "brth", "_")


def from_ipa(text: str) -> list[int]:
    """Classes of an IPA string such as "tʃ" or "ɯᵝ"; a string without any known letter is silence."""
    found = []
    # decomposed, so that a letter with a diacritic is the letter; but ç is no kind of c
    for symbol in unicodedata.normalize("NFD", text.replace("ç", "ʃ")):
        symbol = MERGED.get(symbol, symbol)
        if symbol in INDEX:
            found.append(INDEX[symbol])
    return found or [INDEX[SILENCE]]


def from_table(phone: str, table: Mapping[str, str]) -> list[int]:
    """Classes of an engine's own phone name; stress digits and length marks do not count."""
    if phone in PAUSES:
        return [INDEX[SILENCE]]
    name = phone if phone in table else phone.rstrip("1:")
    return from_ipa(table[name]) if name in table else [UNKNOWN]
