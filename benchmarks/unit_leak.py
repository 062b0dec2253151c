"""How much of the source's voice is left in units that are mixed with the target's: what a linear classifier hears.

python -m benchmarks.unit_leak -c configs/config.json --source alice --target bob

Needs the features of both speakers, and what cluster/train_cluster.py and train_index.py made of the target's. The
classifier (scikit-learn) learns source against target from half of their clips. The source's other clips are mixed with
the target's units; the share of their frames that it still takes for the source's is the leak. Moved: how far, in
mean lengths of a frame; step: how far neighbouring frames lie apart, in mean steps of the source.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from pipeline.caches import read_clean_units
from pipeline.settings import read_config
from pipeline.unit_mixing import default_path, load_unit_mixer
from pipeline.voice import Voice

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", type=Path, default=Path("configs/config.json"), help="of the model")
    parser.add_argument("--root_dir", type=Path, default=Path("dataset/44k"), help="one folder per speaker")
    parser.add_argument("--source", required=True, help="who sings")
    parser.add_argument("--target", required=True, help="whose voice is wanted")
    return parser.parse_args(argv)


def halves(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Units (N, D) of every other clip of a folder, and of the rest."""
    clips = sorted(folder.glob("*.wav"))
    first, second = (torch.cat([read_clean_units(clip)[0].T for clip in half]) for half in (clips[::2], clips[1::2]))
    return first, second


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    voice = Voice.of_synthesizer(read_config(args.config), args.config.parent)
    learned, held_out = halves(args.root_dir / args.source)
    target, _ = halves(args.root_dir / args.target)
    scale = learned.std(0) + 1e-6
    labels = np.repeat([1, 0], [len(learned), len(target)])
    classifier = LogisticRegression(C=0.01, max_iter=300, class_weight="balanced")
    classifier.fit((torch.cat([learned, target]) / scale).numpy(), labels)
    for retrieval in (False, True):
        path = default_path(retrieval)
        mixer = load_unit_mixer(path, feature_retrieval=retrieval, voice=voice, device=torch.device("cpu"))
        for ratio in RATIOS:
            mixed = mixer.mix(held_out, voice.speaker_id(args.target), ratio=ratio)
            leak = classifier.predict((mixed / scale).numpy()).mean()
            moved = (mixed - held_out).norm(dim=1).mean() / held_out.norm(dim=1).mean()
            step = mixed.diff(dim=0).norm(dim=1).mean() / held_out.diff(dim=0).norm(dim=1).mean()
            print(f"{path.name}  {ratio:.2f}  leak {leak:.3f}  moved {moved:.2f}  step {step:.2f}")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
