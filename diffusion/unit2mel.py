"""Unit2Mel: from units, melody, volume and speaker to a mel, out of noise or out of a mel that is to be refined.

Symbols: B batch, F frames, D unit channels, H hidden channels, M mels, S speakers. f0 in Hz. Attribute and argument
names are a file format and an interface: keep them.
Papers: Liu et al. 2021, "DiffSVC", arXiv:2105.13871; Liu et al. 2022, "DiffSinger" (shallow), arXiv:2105.02446.
Checked against: golden case diffusion.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.diffusion_config import DIFFUSION, RECTIFIED_FLOW, DiffusionConfig
from diffusion.decoder import MelDecoder, Plan
from diffusion.gaussian import GaussianDiffusion
from diffusion.rectified_flow import RectifiedFlow
from diffusion.samplers.sampler import Draw, draw_noise
from diffusion.wavenet import WaveNet
from modules.masking import sequence_mask
from modules.timbre import Timbres

DECODERS: dict[str, type[GaussianDiffusion] | type[RectifiedFlow]] = {  # by model.type of diffusion.yaml
    DIFFUSION: GaussianDiffusion,
    RECTIFIED_FLOW: RectifiedFlow,
}
MAX_SHIFT = 5  # semitones; training draws aug_shift between minus this and this


class Unit2Mel(nn.Module):
    """The model of diffusion.yaml.

    Args:
        input_channel: width of the units.
        n_spk: speakers; with a single one the model has no speaker embedding and needs no ids.
        use_pitch_aug: whether it knows of the pitch shift that its training mels were made with.
        out_dims: mel bands.
        n_layers: residual layers of the denoiser.
        n_chans: their channels.
        n_hidden: channels of the conditioning.
        timesteps: steps from a mel to noise.
        k_step_max: steps that are trained; 0, None and more than `timesteps` mean all of them.
        model_type: Diffusion, or RectifiedFlow, for which `k_step_max` is (1 - t_start) * timesteps.

    Raises:
        ValueError: an unknown `model_type`, or sizes that no network can have.
    """

    def __init__(  # noqa: PLR0913  the arguments of the reference
        self,
        input_channel: int,
        n_spk: int,
        use_pitch_aug: bool = False,
        out_dims: int = 128,
        n_layers: int = 20,
        n_chans: int = 384,
        n_hidden: int = 256,
        timesteps: int = 1000,
        k_step_max: int | None = 1000,
        *,
        model_type: str = DIFFUSION,
    ) -> None:
        super().__init__()
        if model_type not in DECODERS:
            raise ValueError(f"unknown model_type {model_type!r}; choose one of: {', '.join(DECODERS)}")
        self.n_spk = n_spk
        self.config: DiffusionConfig | None = None  # what it was built from, where that was a file
        # Of its speakers, where their recordings are known. No buffers: other tools read the state dict strictly.
        self.timbres: Timbres | None = None
        # The order of these is that of the parameters in published checkpoints, and so of their optimizer states.
        self.unit_embed = nn.Linear(input_channel, n_hidden)
        self.f0_embed = nn.Linear(1, n_hidden)
        self.volume_embed = nn.Linear(1, n_hidden)
        self.aug_shift_embed = nn.Linear(1, n_hidden, bias=False) if use_pitch_aug else None
        self.spk_embed = nn.Embedding(n_spk, n_hidden) if n_spk > 1 else None
        self.decoder: MelDecoder = DECODERS[model_type](
            WaveNet(out_dims, n_layers=n_layers, n_chans=n_chans, n_hidden=n_hidden),
            timesteps=timesteps,
            k_step_max=min(k_step_max or timesteps, timesteps),
        )

    def forward(  # noqa: PLR0913  the arguments of the reference
        self,
        units: Tensor,
        f0: Tensor,
        volume: Tensor,
        spk_id: Tensor | None = None,
        spk_mix_dict: Mapping[int, float] | None = None,
        aug_shift: Tensor | float | None = None,
        gt_spec: Tensor | None = None,
        infer: bool = True,
        infer_speedup: int = 10,
        method: str | None = "dpm-solver",
        k_step: int | None = 300,
        use_tqdm: bool = True,
        *,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """A mel (B, F, M) as `infer` makes it, or with ``infer`` false the loss against ``gt_spec``, a scalar."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not infer):
            cond = self.condition(units, f0, volume, spk_id=spk_id, spk_mix_dict=spk_mix_dict, aug_shift=aug_shift)
        if not infer:
            if gt_spec is None:
                raise ValueError("the loss needs gt_spec")
            return self.loss(cond, gt_spec, lengths=lengths)
        plan = self.plan(method=method, speedup=infer_speedup, k_step=k_step, shallow=gt_spec is not None)
        with tqdm(total=plan.sampler.evaluations, desc="diffusion", disable=not use_tqdm) as bar:
            return self.infer(cond, plan, gt_spec=gt_spec, lengths=lengths, progress=bar.update)

    def condition(
        self,
        units: Tensor,
        f0: Tensor,
        volume: Tensor,
        *,
        spk_id: Tensor | None = None,
        spk_mix_dict: Mapping[int, float] | None = None,
        aug_shift: Tensor | float | None = None,
    ) -> Tensor:
        """What shall be sung, as the denoiser takes it: (B, F, H).

        Args:
            units: (B, F, D), stretched to the frames of the mel.
            f0: (B, F, 1) in Hz.
            volume: (B, F, 1), root mean square.
            spk_id: ids (B,) or (B, 1) from 0; or weights of the first S speakers in each frame, (F, S) or (B, F, S).
            spk_mix_dict: weights of speakers by id, the same in all frames; goes before `spk_id`.
            aug_shift: semitones (B,) or one number by which the pitch differs from that of the voice's own timbre.

        Raises:
            ValueError: no speaker, an unknown one, or a shift for a model that was trained without.
        """
        cond = self.unit_embed(units) + self.f0_embed(torch.log1p(f0 / 700)) + self.volume_embed(volume)
        if self.spk_embed is not None:
            cond = cond + self._speaker(self.spk_embed.weight, spk_id, spk_mix_dict)
        if aug_shift is not None:
            if self.aug_shift_embed is None:
                raise ValueError("aug_shift was given, but this model was trained with use_pitch_aug false")
            shift = torch.as_tensor(aug_shift, dtype=cond.dtype, device=cond.device).reshape(-1, 1, 1)
            cond = cond + self.aug_shift_embed(shift / MAX_SHIFT)
        return cond

    def plan(self, *, method: str | None, speedup: int, k_step: int | None, shallow: bool) -> Plan:
        """How `infer` shall sample; see `MelDecoder.plan`, also for what it raises."""
        return self.decoder.plan(method=method, speedup=speedup, k_step=k_step, shallow=shallow)

    @torch.no_grad()
    def infer(
        self,
        cond: Tensor,
        plan: Plan,
        *,
        gt_spec: Tensor | None = None,
        lengths: Tensor | None = None,
        draw: Draw = draw_noise,
        progress: Callable[[], object] | None = None,
    ) -> Tensor:
        """Natural-log mel (B, F, M), each item of a batch as if it were alone, zero behind its end.

        Args:
            cond: (B, F, H), see `condition`.
            gt_spec: mel (B, F, M) to refine; for a shallow plan, and only then.
            lengths: (B,) frames of each item, where they differ.
            draw: makes noise; `seeded_noise` makes that of an item independent of the batch it is in.
            progress: called after each evaluation of the network.

        Raises:
            ValueError: the plan does not fit ``gt_spec``.
        """
        mask = _mask(lengths, cond)
        spec = self.decoder.infer(cond.transpose(1, 2), plan, spec=gt_spec, mask=mask, draw=draw, progress=progress)
        return spec if mask is None else spec * mask.transpose(1, 2)

    def loss(
        self,
        cond: Tensor,
        gt_spec: Tensor,
        *,
        lengths: Tensor | None = None,
        step: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Training loss, a scalar: cond and ``lengths`` as of `infer`, the rest as of `MelDecoder.loss`."""
        return self.decoder.loss(cond.transpose(1, 2), gt_spec, mask=_mask(lengths, cond), step=step, noise=noise)

    def _speaker(self, voices: Tensor, spk_id: Tensor | None, spk_mix_dict: Mapping[int, float] | None) -> Tensor:
        """(1 or B, 1 or F, H)."""
        if spk_mix_dict is not None:
            self._check_ids(spk_mix_dict)
            return sum(weight * voices[i] for i, weight in spk_mix_dict.items())
        if spk_id is None:
            raise ValueError(f"this model has {self.n_spk} speakers: choose by spk_id or spk_mix_dict")
        if spk_id.is_floating_point():
            self._check_ids([spk_id.size(-1) - 1])
            return spk_id.to(voices) @ voices[: spk_id.size(-1)]
        self._check_ids([int(spk_id.min()), int(spk_id.max())])
        return voices[spk_id.reshape(-1, 1)]

    def _check_ids(self, ids: Iterable[int]) -> None:
        unknown = [i for i in ids if not 0 <= i < self.n_spk]
        if unknown:
            raise ValueError(f"unknown speaker id {unknown[0]}: this model has ids 0 to {self.n_spk - 1}")


def seeded_noise(seed: int, lengths: Sequence[int], *, temperature: float = 1.0) -> Draw:
    """Noise for items of ``lengths`` frames that depends on the seed and the item's length only, on every device.

    ``temperature`` is its standard deviation. Below 1 mels come nearer to the mean of those that are likely: smoother,
    and with less of what a small network leaves of the noise (Kingma and Dhariwal 2018, "Glow", arXiv:1807.03039).
    """
    generators = [torch.Generator().manual_seed(seed) for _ in lengths]

    def draw(like: Tensor) -> Tensor:  # (B, 1, M, F)
        noise = torch.zeros(like.shape)
        for item, length, generator in zip(noise, lengths, generators, strict=True):
            item[..., :length] = temperature * torch.randn(*item.shape[:-1], length, generator=generator)
        return noise.to(like)

    return draw


def _mask(lengths: Tensor | None, cond: Tensor) -> Tensor | None:
    """(B, 1, F), 1 where a frame of cond (B, F, H) is real."""
    return None if lengths is None else sequence_mask(lengths, cond.size(1)).to(cond.dtype)
