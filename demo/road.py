"""The road of the README, offline: from recordings of singers to songs that they sing, by the scripts of users."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.diffusion_config import read_yaml
from pipeline.batch_conversion import in_file_name
from pipeline.diffusion_checkpoints import model_path, newest_step

logger = logging.getLogger("road")

ROOT = Path(__file__).resolve().parent.parent
PREDICTOR = "auto"


@dataclass(frozen=True)
class Road:
    """Where a walk begins and what it leaves.

    Attributes:
        recordings: one folder per singer.
        work: folder for clips, filelists and configs.
        model: name; checkpoints go to logs/<model>/diffusion.
        results: folder for the songs.
        preset: of preprocess_flist_config.py, one with a small refiner.
        base: folder of the refiner to begin from; None begins from nothing.
    """

    recordings: Path
    work: Path
    model: str
    results: Path = Path("results")
    preset: str = "embedded"
    base: Path | None = Path("pretrain/embedded/refiner")

    def prepare(self) -> None:
        """Steps 1 to 3: clips, filelists and config, features.

        Raises:
            SystemExit: a script failed.
        """
        clips, config, diffusion = self.work / "44k", self.work / "config.json", self.work / "diffusion.yaml"
        lists = ["--train_list", self.work / "train.txt", "--val_list", self.work / "val.txt"]
        run("1 resample", "resample.py", "--in_dir", self.recordings, "--out_dir2", clips)
        target = ["--source_dir", clips, "--config_dir", self.work, *lists]
        run("2 filelists and configs", "preprocess_flist_config.py", "--preset", self.preset, *target)
        what = ["--in_dir", clips, "-c", config, "-dc", diffusion, "--use_diff", "--f0_predictor", PREDICTOR]
        run("3 features", "preprocess_hubert_f0.py", *what, "--num_processes", min(4, os.cpu_count() or 1))

    @property
    def singers(self) -> list[str]:
        """Who was prepared, in the order of the ids."""
        return list(read_yaml(ROOT / self.work / "diffusion.yaml")["spk"])

    def train(self, minutes: float) -> None:
        """Step 4. Raises SystemExit where it fails."""
        base = ["--base", self.base] if self.base else []
        what = ["-c", self.work / "diffusion.yaml", "-m", self.model, *base, "--max_minutes", minutes]
        run("4 training", "train_diff.py", *what)

    def convert(
        self, songs: Sequence[Path], singers: Sequence[str], *, transpose: int = 0, options: Sequence[object] = ()
    ) -> list[Path]:
        """Step 5: each song by each singer, songs first; ``songs`` are absolute paths of different names.

        ``options`` are more of inference_main.py's.

        Raises:
            SystemExit: it fails, or nothing was trained.
        """
        folder = Path("logs") / self.model / "diffusion"
        step = newest_step(ROOT / folder)
        if step is None:
            raise SystemExit(f"{folder}: no model was trained")
        newest = model_path(folder, step)
        tools = ["-od", "-dm", newest, "-dc", folder / "config.yaml", "-f0p", PREDICTOR]
        what = ["-n", *songs, "-s", *singers, "-t", transpose, "--out_dir", self.results, *options]
        run("5 conversion", "inference_main.py", *what, *tools)
        name = f"{{}}_{transpose}key_{{}}_diff_{PREDICTOR}.flac"
        return [self.results / name.format(song.stem, in_file_name(singer)) for song in songs for singer in singers]


def run(title: str, script: str, *arguments: object) -> None:
    """Run one script as a user would; raises SystemExit where it fails."""
    command = [script, *map(str, arguments)]
    logger.info("--- %s: python %s", title, " ".join(command))
    started = time.monotonic()
    # What a script prints is not what a program that walks the road prints.
    code = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=sys.stderr).returncode
    if code:
        raise SystemExit(f"{script} failed with exit code {code}; its message stands above")
    logger.info("    %.0f s", time.monotonic() - started)
