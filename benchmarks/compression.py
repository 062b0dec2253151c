"""How large each file that compress_model.py writes is, and how far its voice is from that of the checkpoint.

    python -m benchmarks.compression -m logs/44k/G_800.pth -c logs/44k/config.json --song raw/song.wav

The last column is the signal-to-noise ratio of the converted song, the difference to the checkpoint's being the noise.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from common.logs import setup_logging
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.releases import compress


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=Path, required=True, help="G_<step>.pth")
    parser.add_argument("-c", "--config", type=Path, required=True, help="the config it was trained with")
    parser.add_argument("--song", type=Path, required=True)
    parser.add_argument("-f0p", "--f0_predictor", default="fcpe")
    return parser.parse_args(argv)


def snr_db(expected: np.ndarray, got: np.ndarray) -> float:
    """Level of (T,) over that of its difference to another, dB; inf where they are the same."""
    noise = float(np.sum((expected - got).astype(np.float64) ** 2))
    return 10 * np.log10(float(np.sum(expected.astype(np.float64) ** 2)) / noise) if noise else np.inf


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    options = ConversionOptions(f0_predictor=args.f0_predictor)

    def sing(model: Path) -> np.ndarray:
        return Converter(model, args.config, device="cpu").convert(args.song, options)

    expected, whole = sing(args.model), args.model.stat().st_size
    rows = ["| form | MB | of the checkpoint | converted song |", "|---|---|---|---|"]
    rows.append(f"| checkpoint | {whole / 1e6:.1f} | | |")
    with tempfile.TemporaryDirectory() as folder:
        for half in (False, True):
            for suffix in (".pth", ".safetensors"):
                path = compress(args.model, Path(folder) / f"model{suffix}", args.config, half=half)
                size, snr = path.stat().st_size, snr_db(expected, sing(path))
                heard = "the same, to the bit" if np.isinf(snr) else f"{snr:.0f} dB"
                form = f"`{suffix}`{', `-hf`' if half else ''}"
                rows.append(f"| {form} | {size / 1e6:.1f} | {size / whole:.0%} | {heard} |")
    print("\n".join(rows))  # noqa: T201  the tool's product
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
