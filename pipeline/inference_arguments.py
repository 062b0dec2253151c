"""The command line of inference_main.py: names and defaults are those of 4.1, what is new is additive."""

import argparse
from collections.abc import Callable
from pathlib import Path

from modules.f0 import CONFIDENT, F0_MAX, F0_MIN, F0_PREDICTORS

# Options of 4.1 whose work this version does not do yet, off by default; and those that only set how it is done.
LATER = (
    *("enhance", "shallow_diffusion", "only_diffusion", "second_encoding", "use_spk_mix", "feature_retrieval"),
    *("cluster_infer_ratio", "enhancer_adaptive_key"),
)
ONLY_WITH_LATER = ("cluster_model_path", "diffusion_model_path", "diffusion_config_path", "k_step")

ON, SEVERAL, NOT_YET = {"action": "store_true"}, {"nargs": "+"}, "; not available yet"

Add = Callable[..., None]  # short name, long name, default, help, and what argparse takes besides


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """The parser; its help begins with ``description`` as it stands."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def add(short: str, long: str, default: object, text: str, **kwargs: object) -> None:
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        text = text if default in (None, False, "") else f"{text} (default: {shown})"
        parser.add_argument(*filter(None, (short, long)), default=default, help=text, **kwargs)  # type: ignore[arg-type]

    add("-m", "--model_path", Path("logs/44k/G_37600.pth"), "the model", type=Path)
    add("-c", "--config_path", Path("logs/44k/config.json"), "its config", type=Path)
    add("-n", "--clean_names", ["君の知らない物語-src.wav"], "songs in raw/, paths, folders or patterns", **SEVERAL)
    add("-s", "--spk_list", ["buyizi"], "speakers, by name or id; each song is made with each", **SEVERAL)
    add("-t", "--trans", [0], "semitones to transpose; each song is made with each", type=int, **SEVERAL)
    add("", "--in_dir", Path("raw"), "where songs are looked for first", type=Path)
    add("", "--out_dir", Path("results"), "where results go", type=Path)
    add("-wf", "--wav_format", "flac", "format of the results: flac, wav, ogg, mp3", type=str.lower)
    add("-d", "--device", None, "cpu, cuda, cuda:N or mps; chosen automatically when absent")
    _add_pitch(add)
    add("-ns", "--noice_scale", 0.4, "noise of the prior: more is livelier and rougher", type=float, dest="noise_scale")
    add("", "--seed", 52468, "of the noise", type=int)
    add("-lea", "--loudness_envelope_adjustment", 1.0, "loudness from 0 (the source's) to 1 (the output's)", type=float)
    add("-sd", "--slice_db", -40, "level below which a pause may be cut, dB", type=int)
    add("-p", "--pad_seconds", 0.5, "context on both sides of each piece, seconds", type=float)
    add("-cl", "--clip", 0.0, "seconds between forced cuts; 0 cuts in pauses", type=float)
    add("-lg", "--linear_gradient", 0.0, "seconds by which forced cuts (-cl) overlap", type=float)
    add("-lgr", "--linear_gradient_retain", 0.75, "share of the overlap -lg that is faded over, 0 to 1", type=float)
    _add_later(add)
    return parser


def _add_pitch(add: Add) -> None:
    """The melody: who hears it, and files for it."""
    confident = ", ".join(CONFIDENT)
    add("-f0p", "--f0_predictor", "pm", "pitch tracker", choices=list(F0_PREDICTORS))
    add("-ft", "--f0_filter_threshold", 0.05, f"confidence below which {confident} hear no pitch", type=float)
    own = "; rmvpe, fcpe and auto have a range of their own until this is set"
    add("", "--f0_min", F0_MIN, "lowest pitch that the tracker hears, Hz" + own, type=float)
    add("", "--f0_max", F0_MAX, "highest pitch that the tracker hears, Hz" + own, type=float)
    add("-a", "--auto_predict_f0", False, "let the model sing a melody of its own: for speech, not for songs", **ON)
    exported = "write the melody before -t: song.csv, and a picture song.png; a folder for several songs"
    add("", "--f0_export", None, exported, type=Path)
    add("", "--f0_only", False, "stop after --f0_export; no model is needed, only -c", **ON)
    imported = "sing this melody, moved by -t, instead of the tracked one: .csv, .mid; a folder for several songs"
    add("", "--f0_import", None, imported, type=Path)


def _add_later(add: Add) -> None:
    """What 4.1 does besides."""
    add("-cm", "--cluster_model_path", "", "k-means or feature index, used when -cr is above 0", type=str)
    add("-cr", "--cluster_infer_ratio", 0.0, "share of the target's own units, 0 to 1" + NOT_YET, type=float)
    add("-fr", "--feature_retrieval", False, "-cm is a feature index" + NOT_YET, **ON)
    add("-shd", "--shallow_diffusion", False, "refine by diffusion" + NOT_YET, **ON)
    add("-od", "--only_diffusion", False, "diffusion alone" + NOT_YET, **ON)
    add("-dm", "--diffusion_model_path", Path("logs/44k/diffusion/model_0.pt"), "for -shd and -od" + NOT_YET, type=Path)
    add("-dc", "--diffusion_config_path", Path("logs/44k/diffusion/config.yaml"), "its config" + NOT_YET, type=Path)
    add("-ks", "--k_step", 100, "diffusion steps" + NOT_YET, type=int)
    add("-se", "--second_encoding", False, "encode again before diffusion" + NOT_YET, **ON)
    add("-eh", "--enhance", False, "NSF-HiFiGAN enhancer" + NOT_YET, **ON)
    add("-eak", "--enhancer_adaptive_key", 0, "range of the enhancer, semitones" + NOT_YET, type=int)
    add("-usm", "--use_spk_mix", False, "mix speakers over time by spkmix.py" + NOT_YET, **ON)
