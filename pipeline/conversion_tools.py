"""What a conversion may use besides the synthesizer: diffusion, the enhancer, the target's own units."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from pipeline.conversion_options import ConversionOptions
from pipeline.refinement import NATURAL_LOG_VOCODER, Refiner
from pipeline.unit_mixing import UnitMixer, default_path, load_unit_mixer
from pipeline.voice import Voice
from vdecoder import build_vocoder
from vdecoder.enhancer import Enhancer
from vdecoder.mel_format import vocoder_path

ENHANCER_VOCODER = "pretrain/nsf_hifigan/model"


@dataclass(frozen=True)
class ToolFiles:
    """Where their files lie; only what the options of a conversion ask for is read."""

    diffusion_model: Path = Path("logs/44k/diffusion/model_0.pt")
    diffusion_config: Path = Path("logs/44k/diffusion/config.yaml")
    cluster_model: Path | None = None  # k-means or feature index; None: the one of logs/44k
    vocoder: Path | None = None  # of diffusion and enhancer; None: the one that diffusion_config names, and openvpi's


class Tools:
    """Loads each of them when it is first needed."""

    def __init__(self, files: ToolFiles, device: torch.device) -> None:
        self.files, self.device = files, device
        self._mixers: dict[tuple[bool, int | None, int | None], UnitMixer] = {}

    def load(self, options: ConversionOptions, voice: Voice, speaker_ids: Collection[int]) -> None:
        """Load what ``options`` need, and check that it fits ``voice`` and its speakers who will sing.

        Raises:
            FileNotFoundError: a file that is not there; the message says what makes it.
            ValueError: a file that cannot be used, or belongs to another model.
        """
        if options.refines:
            self.refiner.check(voice, options, speaker_ids)
        if options.enhances:
            _ = self.enhancer
        if options.mixes_units:
            for speaker_id in speaker_ids:
                self.unit_mixer(options, voice).check(speaker_id)

    @cached_property
    def refiner(self) -> Refiner:
        files = self.files
        return Refiner(files.diffusion_model, files.diffusion_config, self.device, vocoder=files.vocoder)

    @cached_property
    def enhancer(self) -> Enhancer:
        weights = vocoder_path(self.files.vocoder or ENHANCER_VOCODER)
        return Enhancer(build_vocoder(NATURAL_LOG_VOCODER, weights, self.device))

    def unit_mixer(self, options: ConversionOptions, voice: Voice) -> UnitMixer:
        """The clusters or the index of ``options``."""
        retrieval = options.feature_retrieval
        key = (retrieval, options.retrieval_neighbours, options.retrieval_probes)
        if key not in self._mixers:
            path = self.files.cluster_model or default_path(retrieval)
            self._mixers[key] = load_unit_mixer(
                path,
                feature_retrieval=retrieval,
                voice=voice,
                device=self.device,
                neighbours=options.retrieval_neighbours,
                probes=options.retrieval_probes,
            )
        return self._mixers[key]
