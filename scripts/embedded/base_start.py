"""Begin a base model from one of another encoder: what fits is copied, the rest starts as training from nothing would.

The filelists of the config are rewritten: whatever was made of a validation recording leaves the training.

    python -m scripts.embedded.base_start --base pretrain/embedded/small --voices lj martin pjs \\
        -c embedded-work/base/config.json -o embedded-work/base/start

Decoder, posterior, flow and discriminators do not know the content units; only the layer that reads them does. Every
tensor that is not copied is listed.
"""

import argparse
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from common import checkpoint
from common.formats import write_text
from common.logs import run_script, setup_logging
from models import MultiPeriodDiscriminator, SynthesizerTrn
from pipeline.settings import read_config

logger = logging.getLogger("base_start")

SPEAKERS = "emb_g.weight"


def transplant(module: nn.Module, donor: Mapping[str, Tensor]) -> list[str]:
    """Copy the tensors of ``donor`` whose key and shape ``module`` has; returns the keys of the others, sorted."""
    own = module.state_dict()
    fitting = {key: tensor for key, tensor in donor.items() if key in own and own[key].shape == tensor.shape}
    module.load_state_dict(fitting, strict=False)
    return sorted(own.keys() - fitting.keys())


def seat_voices(donor: Tensor, rows: Tensor, ids: Mapping[str, int], voices: Sequence[str]) -> Tensor:
    """``rows`` (S, gin) with those of ``voices``, which name the rows of ``donor``, at their ids in this model.

    Raises:
        ValueError: not one name for each row, or rows of another width.
    """
    if donor.shape != (len(voices), rows.size(1)):
        raise ValueError(
            f"the base model has {len(donor)} voices of {donor.size(1)} numbers, --voices names {len(voices)}, and the"
            f" config asks for {rows.size(1)} numbers: name each of its voices, in the order of its ids"
        )
    seated = rows.clone()
    for voice, row in zip(voices, donor, strict=True):
        if voice in ids:
            seated[ids[voice]] = row
    return seated


def hold_out(train_list: Path, val_list: Path) -> None:
    """Keep one recording of each real voice for validation, and whatever was made of it out of training.

    Rewrites both lists; doing it again changes nothing.
    """
    val = [Path(line) for line in val_list.read_text(encoding="utf-8").splitlines()]
    clips = {*val, *(Path(line) for line in train_list.read_text(encoding="utf-8").splitlines())}
    voices = {clip.parent.name for clip in clips}
    real = sorted(voice for voice in voices if any(other.startswith(f"{voice}_x") for other in voices))
    kept = []
    for voice in real:
        recorded = sorted(clip for clip in clips if clip.parent.name == voice and _source(clip)[1] == clip.stem)
        kept.append(next((clip for clip in recorded if clip in val), recorded[0]))
    sources = {_source(clip) for clip in kept}
    trained = sorted(clip for clip in clips if _source(clip) not in sources)
    for path, chosen in ((train_list, trained), (val_list, kept)):
        write_text(path, "".join(f"{clip.as_posix()}\n" for clip in chosen))


def _source(clip: Path) -> tuple[str, str]:
    """Voice and name of the recording that a clip of base_corpus was made of."""
    return clip.parent.name.split("_x")[0], re.sub(r"_(moved[+-]\d\.\d\d|sung)$", "", clip.stem)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder of the G_0.pth and D_0.pth to begin from")
    parser.add_argument("--voices", nargs="+", required=True, help="its voices, in the order of their ids")
    parser.add_argument("-c", "--config", type=Path, required=True, help="config of the model to be")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the new pair")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    try:
        start(args.base, args.voices, args.config, args.output)
        data = read_config(args.config).data
        hold_out(Path(data.training_files), Path(data.validation_files))
    except (OSError, ValueError) as error:
        logger.error("%s", error)
        return 1
    return 0


def start(base: Path, voices: Sequence[str], config_path: Path, output: Path) -> None:
    """Write the pair ``output``/G_0.pth, D_0.pth for the config, from that in ``base``.

    Raises:
        CheckpointError, ValueError: files that cannot be used, or voices that are not those of ``base``.
    """
    config = read_config(config_path)
    torch.manual_seed(config.train.seed)
    data, frames = config.data, config.train.segment_size // config.data.hop_length
    model = config.as_dict()["model"]
    generator = SynthesizerTrn(data.filter_length // 2 + 1, frames, sampling_rate=data.sampling_rate, **model)
    discriminator = MultiPeriodDiscriminator(base_channels=config.train.discriminator_channels)
    old, new = checkpoint.pair_at(base, 0), checkpoint.pair_at(output, 0)
    state, _ = checkpoint.read_model(old.generator, only=())
    rows = generator.state_dict()[SPEAKERS]
    state[SPEAKERS] = seat_voices(state[SPEAKERS], rows, config.spk, voices)
    jobs: list[tuple[nn.Module, Mapping[str, Tensor], Path]] = [(generator, state, new.generator)]
    jobs.append((discriminator, checkpoint.read_model(old.discriminator, only=())[0], new.discriminator))
    output.mkdir(parents=True, exist_ok=True)
    for net, donor, path in jobs:
        fresh = transplant(net, donor)
        n_copied = len(net.state_dict()) - len(fresh)
        content = {"model": net.state_dict(), "iteration": 0, "optimizer": None}
        checkpoint.save(path, {**content, "learning_rate": config.train.learning_rate})
        logger.info("%s: %d tensors copied, anew: %s", path, n_copied, ", ".join(fresh) or "none")
    unnamed = sorted(config.spk.keys() - set(voices))
    logger.info("%s: rows of %s copied, anew: %s", SPEAKERS, ", ".join(voices), ", ".join(unnamed) or "none")


if __name__ == "__main__":
    raise SystemExit(run_script(main))
