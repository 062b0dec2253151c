"""Export checkpoints/<project>/{model.pth,config.json} to ONNX, for MoeVoiceStudio or for inference_main.py -m.

python onnx_export.py -n alice
python onnx_export.py -n alice --what encoder
"""

import argparse
import logging
from pathlib import Path

from common.logs import run_script, setup_logging
from vencoder import SPEECH_ENCODERS

logger = logging.getLogger("onnx_export")

NETWORKS = ("synthesizer", "diffusion", "vocoder", "encoder", "rmvpe")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", required=True, dest="project", metavar="PROJECT", help="folder under checkpoints/")
    parser.add_argument("--what", choices=NETWORKS, default="synthesizer", help="which network; default: synthesizer")
    parser.add_argument("-m", "--model", type=Path, help="its weights; default: those of the project, or in pretrain/")
    parser.add_argument("-c", "--config", type=Path, help="its configuration; default: that of the project")
    parser.add_argument("-o", "--output", type=Path, help="file to write; default: in the folder of the project")
    parser.add_argument(
        *("--speech_encoder",),
        choices=list(SPEECH_ENCODERS),
        metavar="NAME",
        help="for --what encoder; default: the one that the project's config.json names",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    setup_logging()
    from common.registry import NotAvailableError  # after --help: torch takes seconds to import
    from pipeline.onnx_export import ExportOptions, export

    try:
        export(ExportOptions(**vars(args)))
    except (OSError, ValueError, NotAvailableError) as error:  # each says what is wrong and what to do
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
