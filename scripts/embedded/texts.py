"""Texts for the speech engines, made up on the spot: nonsense words in many scripts, numbers, and plain English words.

Every engine reads them by its language's own rules; what counts is which phones come out, not what they mean.
"""

import numpy as np

ENGLISH = """
a the and but or so if then when where why how this that these those my your his her our their one two three some any
no all both each such very too also just only still even here there now again never always often once soon away home
water fire earth air stone wood iron silver gold paper glass river ocean mountain valley forest garden village city
street bridge house church tower window door kitchen table chair bread butter cheese apple orange cherry sugar honey
mother father sister brother daughter child woman man teacher judge doctor farmer sailor soldier stranger neighbour
morning evening night winter summer spring autumn yesterday tomorrow hour minute month year century
walk run jump sing dance laugh cry speak whisper shout listen watch look touch taste smell think know believe remember
forget choose change follow leave return arrive begin finish open close push pull carry throw catch build break measure
red green blue yellow white black purple brown small large huge thin thick round square sharp soft rough smooth quick
slow early late young old happy angry quiet loud strange usual pleasure treasure vision beige azure genre
thing breath clothes month path nothing anything weather feather rhythm thousand north south healthy
boy toy voice noise point choice enjoy cow cloud sound ground power flower show know throw fear near chair share
poor sure pure cure bird word world girl early nurse verb shirt zebra zero lazy dozen music museum visit
jelly giant bridge edge magic village yes yellow onion million beyond few view huge cube queen quick quite question
fox box tax exact exist example scratch spring string splash strength twelfth sixth glimpse prompt
"""
WORDS = ENGLISH.split()
LATIN_ONSETS = "b c d f g h j k l m n p r s t v w y z br cr dr fr gr pr tr bl cl fl gl pl sk sl sm sn sp st sw ch sh th"
LATIN_CODAS = ["", "", "", "", "n", "r", "s", "l", "m", "t", "k", "p", "d", "ng", "st", "nd"]
PINYIN_ONSETS = "b p m f d t n l g k h j q x zh ch sh r z c s"
KANA = (
    "かきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろ"
    "がぎぐげござじずぜぞだでどばびぶべぼぱぴぷぺぽわあいうえお"
)
SCRIPTS = {
    "latin": (LATIN_ONSETS.split(), list("aeiou") + ["ai", "ou", "ei"], LATIN_CODAS),
    "cyrillic": (list("бвгджзклмнпрстфхцчшщ"), list("аеиоуыэюя"), ["", "", "", "й", "н", "р", "л", "с", "т", "м"]),
    "greek": (list("βγδζθκλμνξπρστφχψ"), [*"αεηιου", "ει", "ου"], ["", "", "", "ν", "ς", "ρ"]),
    "kana": ([*KANA, "きょ", "しゃ", "ちゅ", "りゅ", "じょ"], [""], ["", "", "", "", "ん", "っ", "う"]),
    "devanagari": (list("कखगघचछजझटठडढतथदधनपफबभमयरलवशसह"), ["", "ा", "ि", "ी", "ु", "े", "ो", "ै"], ["", "", "न", "र"]),
    "arabic": (list("بتثجحخدذرزسشصضطعغفقكلمنهي"), ["ا", "ي", "و", ""], ["", "", "ن", "ر"]),
    "pinyin": (PINYIN_ONSETS.split(), ["a", "i", "u", "ang", "ai", "ao", "en", "ian"],
               list("1234")),
}  # fmt: skip
KOREAN = 0xAC00  # the first of 11172 composed syllables


def sentence(rng: np.random.Generator, script: str, *, n_words: int) -> str:
    """``n_words`` words of ``script`` ("english", "hangul" or one of SCRIPTS), some of them numbers, with commas."""
    words = []
    for _ in range(n_words):
        if rng.uniform() < 0.12:
            words.append(str(rng.integers(0, 10 ** rng.integers(1, 5))))
        else:
            words.append(_word(rng, script))
        if rng.uniform() < 0.12:
            words[-1] += ","
    return " ".join(words) + rng.choice([".", ".", "?", "!"])


def _word(rng: np.random.Generator, script: str) -> str:
    if script == "english" and rng.uniform() < 0.75:
        return str(rng.choice(WORDS))
    n_syllables = rng.integers(1, 5)
    if script == "hangul":
        return "".join(
            chr(KOREAN + rng.integers(11172) // 28 * 28 + rng.choice([0, 0, 4, 8, 16])) for _ in range(n_syllables)
        )
    onsets, vowels, codas = SCRIPTS["latin" if script == "english" else script]
    return "".join(f"{rng.choice(onsets)}{rng.choice(vowels)}{rng.choice(codas)}" for _ in range(n_syllables))
