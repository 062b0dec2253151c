"""The command line of inference_main.py: names and defaults are those of 4.1, what is new is additive."""

import argparse
from collections.abc import Callable
from pathlib import Path

from diffusion.samplers import FLOW_SAMPLERS, SAMPLERS
from modules.f0 import CONFIDENT, F0_MAX, F0_MIN, F0_PREDICTORS

ON, SEVERAL = {"action": "store_true"}, {"nargs": "+"}

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
    _add_timbre(add)
    _add_diffusion(add)
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


def _add_timbre(add: Add) -> None:
    """The singers: their own units, and several of them at once."""
    units = "k-means of cluster/train_cluster.py, or with -fr the index of train_index.py; used when -cr is above 0"
    add("-cm", "--cluster_model_path", "", units, type=str)
    add(
        "-cr",
        "--cluster_infer_ratio",
        0.0,
        "share of the target's own units, 0 to 1",
        type=float,
    )
    add("-fr", "--feature_retrieval", False, "-cm is a feature index", **ON)
    add("", "--retrieval_neighbours", 8, "with -fr: units of the index that each frame is drawn to", type=int)
    add(
        "",
        "--retrieval_probes",
        None,
        "with -fr: lists of the index that are searched",
        type=int,
    )
    add("-usm", "--use_spk_mix", False, "mix speakers over time by spk_mix_map of spkmix.py, instead of -s", **ON)
    add("", "--spk_mix", None, "mix speakers over time by this timeline, .json or .csv, instead of -s", type=Path)


def _add_diffusion(add: Add) -> None:
    """What works on the sound of the synthesizer, or in its place."""
    add("-shd", "--shallow_diffusion", False, "refine by diffusion what the synthesizer sings", **ON)
    add("-od", "--only_diffusion", False, "sing by diffusion alone; -m and -c are not read", **ON)
    add("-dm", "--diffusion_model_path", Path("logs/44k/diffusion/model_0.pt"), "for -shd and -od", type=Path)
    add("-dc", "--diffusion_config_path", Path("logs/44k/diffusion/config.yaml"), "its config", type=Path)
    add("-ks", "--k_step", 100, "with -shd: steps of noise; more is more of the diffusion model", type=int)
    add("-se", "--second_encoding", False, "with -shd: take units anew from what the synthesizer sings", **ON)
    named = "; the one that the diffusion config names when absent"
    add("", "--sampler", None, "way back from noise" + named, choices=[*SAMPLERS, *FLOW_SAMPLERS])
    add("", "--speedup", None, "steps of noise per step of the sampler" + named, type=int)
    add("", "--temperature", None, "noise of the sampler, 0 (none, smooth) to 1 (as trained)" + named, type=float)
    articulation = "share of the source's articulation that refined mels take over, 0 to 1"
    add("", "--articulation", None, articulation + named, type=float)
    timbre = "how far the envelope of refined mels is moved to that of the target's recordings, 0 to 1"
    add("", "--timbre_match", None, timbre + named, type=float)
    add("", "--vocoder", None, "vocoder of diffusion and enhancer" + named, type=Path)
    shifts = "semitones by which the vocoder sings higher at the same formants; for vocoders that can"
    add("", "--keyshift", 0.0, shifts, type=float)
    add("-eh", "--enhance", False, "run a vocoder over what the synthesizer sings; off with -shd and -od", **ON)
    add("-eak", "--enhancer_adaptive_key", 0, "semitones by which -eh reaches higher", type=int)
