"""Convert songs into the voice of a trained model (step 5 of the README).

python inference_main.py -m logs/44k/G_10000.pth -c logs/44k/config.json -n song -s alice -t 0
Results go to results/<song>_<transposition>key_<speaker>_sovits_<f0 predictor>.flac
"""

import argparse
import logging
from dataclasses import fields
from pathlib import Path

from common.logs import run_script, setup_logging
from common.unavailable import refuse, set_by_user
from modules.f0 import F0_PREDICTORS

logger = logging.getLogger("inference_main")

# Options of 4.1 whose work this version does not do yet, off by default; and those that only set how it is done.
LATER = ("enhance", "shallow_diffusion", "only_diffusion", "second_encoding", "use_spk_mix", "feature_retrieval")
LATER += ("cluster_infer_ratio", "enhancer_adaptive_key")
ONLY_WITH_LATER = ("cluster_model_path", "diffusion_model_path", "diffusion_config_path", "k_step")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def add(short: str, long: str, default: object, text: str, **kwargs: object) -> None:
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        text = text if default in (None, False, "") else f"{text} (default: {shown})"
        parser.add_argument(*filter(None, (short, long)), default=default, help=text, **kwargs)  # type: ignore[arg-type]

    on, several, later = {"action": "store_true"}, {"nargs": "+"}, "; not available yet"
    add("-m", "--model_path", Path("logs/44k/G_37600.pth"), "the model", type=Path)
    add("-c", "--config_path", Path("logs/44k/config.json"), "its config", type=Path)
    add("-cl", "--clip", 0.0, "seconds between forced cuts; 0 cuts in pauses", type=float)
    add("-n", "--clean_names", ["君の知らない物語-src.wav"], "songs in raw/, paths, folders or patterns", **several)
    add("-t", "--trans", [0], "semitones to transpose; each song is made with each", type=int, **several)
    add("-s", "--spk_list", ["buyizi"], "speakers, by name or id; each song is made with each", **several)
    add("-a", "--auto_predict_f0", False, "let the model sing a melody of its own: for speech, not for songs", **on)
    add("-cm", "--cluster_model_path", "", "k-means or feature index, used when -cr is above 0", type=str)
    add("-cr", "--cluster_infer_ratio", 0.0, "share of the target's own units, 0 to 1" + later, type=float)
    add("-lg", "--linear_gradient", 0.0, "seconds by which forced cuts (-cl) overlap", type=float)
    add("-f0p", "--f0_predictor", "pm", "pitch tracker", choices=list(F0_PREDICTORS))
    add("-eh", "--enhance", False, "NSF-HiFiGAN enhancer" + later, **on)
    add("-shd", "--shallow_diffusion", False, "refine by diffusion" + later, **on)
    add("-usm", "--use_spk_mix", False, "mix speakers over time by spkmix.py" + later, **on)
    add("-lea", "--loudness_envelope_adjustment", 1.0, "loudness from 0 (the source's) to 1 (the output's)", type=float)
    add("-fr", "--feature_retrieval", False, "-cm is a feature index" + later, **on)
    add("-dm", "--diffusion_model_path", Path("logs/44k/diffusion/model_0.pt"), "for -shd and -od" + later, type=Path)
    add("-dc", "--diffusion_config_path", Path("logs/44k/diffusion/config.yaml"), "its config" + later, type=Path)
    add("-ks", "--k_step", 100, "diffusion steps" + later, type=int)
    add("-se", "--second_encoding", False, "encode again before diffusion" + later, **on)
    add("-od", "--only_diffusion", False, "diffusion alone" + later, **on)
    add("-sd", "--slice_db", -40, "level below which a pause may be cut, dB", type=int)
    add("-d", "--device", None, "cpu, cuda, cuda:N or mps; chosen automatically when absent")
    add("-ns", "--noice_scale", 0.4, "noise of the prior: more is livelier and rougher", type=float, dest="noise_scale")
    add("-p", "--pad_seconds", 0.5, "context on both sides of each piece, seconds", type=float)
    add("-wf", "--wav_format", "flac", "format of the results: flac, wav, ogg, mp3", type=str.lower)
    add("-lgr", "--linear_gradient_retain", 0.75, "share of the overlap -lg that is faded over, 0 to 1", type=float)
    add("-eak", "--enhancer_adaptive_key", 0, "range of the enhancer, semitones" + later, type=int)
    add("-ft", "--f0_filter_threshold", 0.05, "confidence below which crepe, rmvpe, fcpe hear no pitch", type=float)
    add("", "--f0_min", 50.0, "lowest pitch of pm, dio, harvest, crepe, Hz", type=float)
    add("", "--f0_max", 1100.0, "highest pitch of pm, dio, harvest, crepe, Hz", type=float)
    add("", "--seed", 52468, "of the noise", type=int)
    add("", "--in_dir", Path("raw"), "where songs are looked for first", type=Path)
    add("", "--out_dir", Path("results"), "where results go", type=Path)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    later = set_by_user(args, parse_args([]), LATER)
    if args.f0_predictor not in F0_PREDICTORS.available:
        later.append(f"-f0p {args.f0_predictor}")
    if later:
        return refuse(*later, instead=f"Convert without; pitch trackers are {', '.join(F0_PREDICTORS.available)}")
    setup_logging()
    if idle := set_by_user(args, parse_args([]), ONLY_WITH_LATER):
        logger.warning("without effect, as what reads it is not available yet: %s", ", ".join(idle))
    from pipeline.batch_conversion import BatchOptions, convert_songs  # after --help: torch takes seconds to import
    from pipeline.conversion import ConversionOptions, Converter

    try:
        known = {field.name for field in fields(ConversionOptions)}
        options = ConversionOptions(**{name: value for name, value in vars(args).items() if name in known})
        songs = (args.clean_names, args.spk_list, args.trans)
        batch = BatchOptions(*songs, args.in_dir, args.out_dir, wav_format=args.wav_format)
        report = convert_songs(Converter(args.model_path, args.config_path, device=args.device), batch, options)
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    for path in report.done:
        logger.info("written: %s", path)
    for name, problem in report.failed:
        logger.error("%s: %s", name, problem)
    return 1 if report.failed else 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
