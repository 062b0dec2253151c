"""The journey of onnx_export.py: a trained network to an .onnx file, and to what MoeVoiceStudio wants beside it."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import vencoder
from common import pretrained
from common.config import Config
from common.formats import rewrite_text
from common.registry import NotAvailableError
from diffusion.loading import N_MELS, load_unit2mel
from modules.f0.rmvpe import RmvpePredictor
from pipeline import moe_voice_studio
from pipeline.model_loading import load_network
from pipeline.onnx_diffusion import diffusion_graphs
from pipeline.onnx_files import OPSET, Graph, require_packages, write_graph
from pipeline.onnx_graphs import encoder_graph, rmvpe_graph, synthesizer_graph, vocoder_graph
from pipeline.settings import read_config
from vdecoder import build_vocoder
from vencoder import SPEECH_ENCODERS

logger = logging.getLogger(__name__)

CHECKPOINTS = Path("checkpoints")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and from where; paths that are None are those of the project.

    Raises:
        ValueError: ``project`` is no plain name, or ``output`` none of an .onnx file.
    """

    project: str  # folder under checkpoints/
    what: str = "synthesizer"
    model: Path | None = None
    config: Path | None = None
    output: Path | None = None
    speech_encoder: str | None = None  # for what == "encoder"; None: the one of the config

    def __post_init__(self) -> None:
        if self.project in ("", ".", "..") or Path(self.project).name != self.project:
            raise ValueError(f"-n wants the name of a folder in {CHECKPOINTS}/, not a path: got {self.project!r}")
        if self.output is not None and self.output.suffix != ".onnx":  # so that no model is written over
            raise ValueError(f"-o {self.output}: an exported file must end in .onnx")

    @property
    def folder(self) -> Path:
        return CHECKPOINTS / self.project

    def given(self, path: Path | None, default: str, *, advice: str) -> Path:
        """``path``, or the file called ``default`` of the project. Raises FileNotFoundError with the advice."""
        path = path or self.folder / default
        if not path.is_file():
            raise FileNotFoundError(f"no {path}: {advice}")
        return path


def export(options: ExportOptions) -> None:
    """Write the files that ``options`` ask for, each compared with its network first.

    Raises:
        NotAvailableError: onnx or onnxruntime is not installed.
        FileNotFoundError: a model, a config or a pretrained file is missing.
        ValueError: they cannot be used or exported, or a file gives something else than its network.
    """
    require_packages()
    EXPORTS[options.what](options)


def _synthesizer(options: ExportOptions) -> None:
    advice = "copy logs/44k/{} there under this name, or name {} with {}"
    model_path = options.given(options.model, "model.pth", advice=advice.format("G_<step>.pth", "the model", "-m"))
    config_path = options.given(options.config, "config.json", advice=advice.format("config.json", "it", "-c"))
    config = read_config(config_path)
    model = load_network(model_path, config, CPU)
    characters = moe_voice_studio.voices(config)
    path = options.output or options.folder / "model.onnx"
    data = config.data
    _write(
        synthesizer_graph(model, len(characters)),
        path,
        model=model_path,
        sample_rate=data.sampling_rate,
        hop_length=data.hop_length,
        speech_encoder=config.model.speech_encoder,
        speakers=", ".join(characters),
    )
    _describe(options.project, config)


def _describe(project: str, config: Config) -> None:
    """Write <project>.json, and say what MoeVoiceStudio cannot do with the model."""
    encoder, channels = config.model.speech_encoder, config.model.inter_channels
    if moe_voice_studio.encoder_file(encoder) is None:
        logger.warning("no file for MoeVoiceStudio: it has no speech encoder %r, and none can be exported", encoder)
        return
    path, wanted = CHECKPOINTS / f"{project}.json", moe_voice_studio.NOISE_CHANNELS
    if kept := rewrite_text(
        path, json.dumps(moe_voice_studio.description(project, config), indent=1, ensure_ascii=False)
    ):
        logger.warning("%s was there and differs: kept as %s", path, kept.name)
    logger.info(
        "%s: for MoeVoiceStudio, whose folder Models takes it, and the model as %s/%s_SoVits.onnx",
        *(path, project, project),
    )
    if channels != wanted:
        logger.warning(
            "MoeVoiceStudio gives noise of %d channels, this model takes %d (inter_channels): it cannot run there",
            *(wanted, channels),
        )


def _encoder(options: ExportOptions) -> None:
    name = options.speech_encoder
    if name is None:
        advice = "it says which encoder; name one with --speech_encoder, or a config with -c"
        name = read_config(options.given(options.config, "config.json", advice=advice)).model.speech_encoder
    SPEECH_ENCODERS[name]  # unknown names are told with those that exist
    if name.endswith("-onnx"):
        raise ValueError(f"speech encoder {name!r} is an .onnx file already: {pretrained.FILES[name].path}")
    stem = moe_voice_studio.encoder_file(name)
    if stem is None:
        known = ", ".join(other for other in SPEECH_ENCODERS if moe_voice_studio.is_hubert(other))
        raise NotAvailableError(f"speech encoder {name!r} cannot be exported; those that can: {known}")
    encoder = vencoder.build(name, "cpu", options.model)
    path = options.output or options.folder / f"{stem}.onnx"
    _write(encoder_graph(encoder), path, speech_encoder=name, sample_rate=16000)  # type: ignore[arg-type]


def _vocoder(options: ExportOptions) -> None:
    vocoder = build_vocoder("nsf-hifigan", pretrained.require("nsf-hifigan", options.model), "cpu")
    path = options.output or options.folder / "nsf_hifigan.onnx"
    _write(vocoder_graph(vocoder), path, sample_rate=vocoder.sample_rate, hop_length=vocoder.hop_length)


def _rmvpe(options: ExportOptions) -> None:
    predictor = RmvpePredictor(device="cpu", weights=options.model)
    _write(rmvpe_graph(predictor), options.output or options.folder / "RMVPE.onnx", sample_rate=16000)


def _diffusion(options: ExportOptions) -> None:
    if options.output is not None:
        raise ValueError(f"-o names one file, but --what diffusion writes four into {options.folder}: leave it out")
    advice = "copy logs/44k/diffusion/{} there under this name, or name it with {}"
    path = options.given(options.model, "model.pt", advice=advice.format("model_<step>.pt", "-m"))
    config = options.given(options.config, "config.yaml", advice=advice.format("config.yaml", "-c"))
    model = load_unit2mel(path, config, "cpu")
    for name, graph in diffusion_graphs(model, n_mels=N_MELS).items():
        _write(graph, options.folder / f"{options.project}_{name}.onnx", model=path)


EXPORTS: dict[str, Callable[[ExportOptions], None]] = {
    "synthesizer": _synthesizer,
    "diffusion": _diffusion,
    "vocoder": _vocoder,
    "encoder": _encoder,
    "rmvpe": _rmvpe,
}


def _write(graph: Graph, path: Path, **properties: object) -> None:
    difference = write_graph(graph, path, properties={name: str(value) for name, value in properties.items()})
    logger.info(
        "%s: %.1f MB, opset %d; onnxruntime and torch differ by at most %.1e (lengths %s)",
        *(path, path.stat().st_size / 1e6, OPSET, difference, ", ".join(map(str, graph.lengths[1:]))),
    )
