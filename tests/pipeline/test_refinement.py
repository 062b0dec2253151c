"""Diffusion and the enhancer at conversion: every legal combination, lengths, batches, files that do not fit."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from common.checkpoint import CheckpointError
from common.config import ConfigError
from pipeline.conversion import Converter
from pipeline.conversion_options import ConversionOptions
from pipeline.conversion_tools import ToolFiles
from pipeline.rendering import Target
from pipeline.speaker_mix import SpeakerMix
from tests.pipeline.tiny_diffusion import N_MELS, write_diffusion, write_vocoder
from tests.pipeline.tiny_model import HOP, silence, sung, write_model

DEFAULT = ConversionOptions(speaker="bob", f0_predictor="dio", shallow_diffusion=True, k_step=20)
EVEN = {0: [[0, 1, 1, 1]], 1: [[0, 1, 1, 1]]}  # both sing all the time
SONG = np.concatenate([sung(1.0), silence(0.4), sung(1.3, 300.0)])[:-77]


def with_timbres(model: Path, *, speakers: tuple[int, ...] = (0, 1)) -> None:
    """Give a model of `write_diffusion` timbres of some of its two speakers, each another one."""
    content = torch.load(model, weights_only=True)
    draw = torch.Generator().manual_seed(3)
    timbres = {
        "weight": 0.1 * torch.randn(2, 60, N_MELS, generator=draw),
        "bias": torch.randn(2, N_MELS, generator=draw),
        "residual_variance": torch.rand(2, N_MELS, generator=draw),
        "unit_mean": torch.zeros(2, 60),
        "unit_variance": torch.full((2, 60), 100.0),
        "fitted": torch.ones(2, N_MELS),
    }
    for rows in timbres.values():
        rows[[speaker for speaker in (0, 1) if speaker not in speakers]] = 0
    torch.save(content | {"timbres": timbres}, model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    write_vocoder(folder / "vocoder")
    with_timbres(write_diffusion(folder / "diffusion", vocoder=folder / "vocoder/model")[0])
    return folder


def files(folder: Path) -> ToolFiles:
    return ToolFiles(
        folder / "diffusion/model_5.pt", folder / "diffusion/config.yaml", vocoder=folder / "vocoder/model"
    )


@pytest.fixture(scope="module")
def converter(folder: Path) -> Converter:
    return Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=files(folder))


def options(**changes: object) -> ConversionOptions:
    return dataclasses.replace(DEFAULT, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"second_encoding": True},
        {"only_diffusion": True, "speedup": 100},
        {"sampler": "ddim"},
        {"sampler": "pndm"},
        {"sampler": "dpm-solver"},
        {"sampler": "dpm-solver++"},
        {"sampler": "naive", "k_step": 3, "speedup": 1},
        {"clip": 0.8},
        {"clip": 1.0, "linear_gradient": 0.2},
        {"loudness_envelope_adjustment": 0.0},
        {"auto_predict_f0": True, "transpose": 5.0},
        {"shallow_diffusion": False, "enhance": True},
        {"shallow_diffusion": False, "enhance": True, "enhancer_adaptive_key": 5},
    ],
    ids=str,
)
def test_the_length_is_that_of_the_song(converter: Converter, changes: dict) -> None:
    got = converter.convert(SONG, options(**changes))
    assert got.shape == SONG.shape and got.dtype == np.float32
    assert np.isfinite(got).all() and got.std() > 1e-3
    assert np.abs(got - converter.convert(SONG, options(**changes | {"seed": 7}))).max() > 1e-4
    assert not np.array_equal(got, converter.convert(SONG, options(shallow_diffusion=False)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"only_diffusion": True, "speedup": 200},
        {"second_encoding": True},
        {"articulation": 1.0, "transpose": 4.0},
        {"timbre_match": 1.0, "transpose": -4.0},
    ],
    ids=str,
)
def test_a_batch_equals_single_pieces(converter: Converter, monkeypatch: pytest.MonkeyPatch, changes: dict) -> None:
    song, cut = np.concatenate([sung(1.0), silence(0.5), sung(1.7, 180.0)]), options(clip=0.8, **changes)
    single = converter.convert(song, cut)
    monkeypatch.setattr(Converter, "_batches", True)
    sizes, extract = [], converter.extractor(cut).extract_batch
    monkeypatch.setattr(converter.extractor(cut), "extract_batch", lambda s, t: sizes.append(len(s)) or extract(s, t))
    np.testing.assert_allclose(converter.convert(song, cut), single, atol=1e-4)
    assert max(sizes) > 2


def test_diffusion_alone_needs_no_synthesizer(folder: Path, converter: Converter) -> None:
    """And sings as it does beside one; its own config names encoder, grid and speakers."""
    asked = options(only_diffusion=True, speedup=250, speaker="anna")
    alone = Converter(None, None, device="cpu", files=files(folder))
    assert alone.voice.speakers == {"anna": 1, "bob": 0} and alone.voice.speech_encoder == "cepstral"
    np.testing.assert_allclose(alone.convert(SONG, asked), converter.convert(SONG, asked), atol=1e-6)
    with pytest.raises(ValueError, match="no synthesizer, so only_diffusion"):
        alone.convert(SONG, options())
    with pytest.raises(ValueError, match="needs both its model and its config"):
        Converter(folder / "G_5.pth", None, device="cpu", files=files(folder))
    with pytest.raises(ValueError, match="unknown speaker 'carl'.*anna"):
        alone.convert(SONG, options(only_diffusion=True, speaker="carl"))


def test_speakers_are_found_by_name(converter: Converter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, refiner = [], converter.tools.refiner
    condition = refiner.model.condition
    monkeypatch.setattr(refiner.model, "condition", lambda *a, **kw: asked.append(kw["spk_id"]) or condition(*a, **kw))
    for speaker in ("anna", "bob"):
        converter.convert(SONG[:20000], options(speaker=speaker))
    assert [int(ids) for ids in asked] == [1, 0] and converter.voice.speakers == {"anna": 0, "bob": 1}


def test_the_refiner_hears_what_was_sung(converter: Converter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mel is that of the synthesizer's output, its f0 the one that was sung, and no steps leave the mel alone."""
    seen, refiner = {}, converter.tools.refiner
    infer = refiner.model.infer

    def spy(cond, plan, **kwargs):
        seen.update(kwargs, cond=cond, plan=plan)
        return infer(cond, plan, **kwargs)

    monkeypatch.setattr(refiner.model, "infer", spy)
    song = sung(1.0)[:40000]
    converter.convert(song, options(pad_seconds=0.0, k_step=40))
    assert seen["plan"].shallow and seen["plan"].sampler.k_step == 40 and seen["plan"].sampler.name == "unipc"
    assert seen["gt_spec"].shape[2] == refiner.vocoder.n_mels
    converter.convert(song, options(pad_seconds=0.0, k_step=40, only_diffusion=True, speedup=500))
    assert seen["gt_spec"] is None and seen["plan"].sampler.k_step == 1000


def test_a_cold_sampler_knows_no_seed(converter: Converter, monkeypatch: pytest.MonkeyPatch) -> None:
    made, refiner = [], converter.tools.refiner
    infer = refiner.model.infer
    monkeypatch.setattr(refiner.model, "infer", lambda *a, **kw: made.append(infer(*a, **kw)) or made[-1])
    for temperature, seed in ((None, 1), (None, 2), (0.0, 1), (0.0, 2)):
        converter.convert(SONG[:20000], options(only_diffusion=True, speedup=500, temperature=temperature, seed=seed))
    assert not torch.allclose(made[0], made[1]) and torch.equal(made[2], made[3])
    assert not torch.allclose(made[1], made[2])  # the config says 1


def test_articulation_comes_from_the_song(
    folder: Path, tmp_path: Path, converter: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, a share, or none; the config says how much where nobody asks."""
    made, heard, refiner = [], [], converter.tools.refiner
    infer = refiner.model.infer
    sound = refiner.vocoder.infer
    monkeypatch.setattr(refiner.model, "infer", lambda *a, **kw: made.append(infer(*a, **kw)) or made[-1])
    monkeypatch.setattr(refiner.vocoder, "infer", lambda mel, f0, **kw: heard.append(mel[0].T) or sound(mel, f0, **kw))
    for share in (None, 0.0, 0.5, 1.0):
        converter.convert(SONG[:20000], options(only_diffusion=True, speedup=500, articulation=share))
    assert torch.equal(heard[0], made[0][0]) and torch.equal(heard[1], made[0][0])
    half, whole = (heard[i] - made[0][0] for i in (2, 3))
    assert whole.abs().max() > 0.1
    torch.testing.assert_close(half, whole / 2, atol=1e-3, rtol=1e-4)  # mels of hundreds
    paths = write_diffusion(tmp_path, vocoder=folder / "vocoder/model", sections={"infer": {"articulation": 1.0}})
    asked = Converter(None, None, device="cpu", files=ToolFiles(*paths))
    sung_by = [
        asked.convert(SONG[:20000], options(only_diffusion=True, speedup=500, speaker="anna", articulation=share))
        for share in (None, 1.0, 0.0)
    ]
    assert np.array_equal(sung_by[0], sung_by[1]) and not np.allclose(sung_by[0], sung_by[2], atol=1e-3)
    with pytest.raises(ValueError, match=r"articulation \(--articulation\) must lie between 0 and 1, got 2"):
        options(articulation=2.0)


def test_envelopes_are_drawn_to_the_recordings(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the way, a share, or none; to those of who sings, or of all who do."""
    paths = write_diffusion(tmp_path, vocoder=folder / "vocoder/model", sections={"infer": {"timbre_match": 1.0}})
    with_timbres(paths[0])
    converter = Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=ToolFiles(*paths))
    heard, refiner = [], converter.tools.refiner
    sound = refiner.vocoder.infer
    monkeypatch.setattr(refiner.vocoder, "infer", lambda mel, f0, **kw: heard.append(mel[0].T) or sound(mel, f0, **kw))
    # A made mel that sounds, and that speakers do not change: the tiny network's is of hundreds.
    level = torch.linspace(-3, -1, 10000)[:, None] + torch.linspace(0, -2, N_MELS)
    monkeypatch.setattr(refiner.model, "infer", lambda cond, *_, **__: level[None, : cond.shape[1]].clone())
    even = SpeakerMix.from_map(EVEN, converter.voice.speakers)
    asked = {"only_diffusion": True, "speedup": 500}
    for changes in (
        *({"timbre_match": share} for share in (0.0, None, 1.0, 0.5)),
        *({"speaker": "anna"}, {"speaker_mix": even}),
    ):
        converter.convert(SONG[:20000], options(**asked, **changes))
    plain, unasked, whole, half, anna, both = heard
    torch.testing.assert_close(plain, level[: len(plain)])
    assert torch.equal(unasked, whole) and (whole - plain).abs().max() > 0.1
    torch.testing.assert_close(half - plain, (whole - plain) / 2, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(anna, whole, atol=0.05)
    apart = (whole - anna).norm()
    assert (both - anna).norm() < apart and (both - whole).norm() < apart, "a mix lies between its voices"
    with pytest.raises(ValueError, match=r"timbre_match \(--timbre_match\) must lie between 0 and 1, got -1"):
        options(timbre_match=-1.0)


def test_a_timbre_that_is_not_known(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who asks for it is refused; where the configuration asks, one line is due."""
    asked = {"only_diffusion": True, "speedup": 500}
    paths = write_diffusion(tmp_path, vocoder=folder / "vocoder/model", sections={"infer": {"timbre_match": 1.0}})
    unknown = Converter(None, None, device="cpu", files=ToolFiles(*paths))
    for _ in range(2):
        plain = unknown.convert(SONG[:20000], options(**asked))
    assert caplog.text.count("infer.timbre_match has no effect: the diffusion model holds no timbres") == 1
    assert np.array_equal(plain, unknown.convert(SONG[:20000], options(**asked, timbre_match=0.0)))
    with pytest.raises(ValueError, match=r"--timbre_match is not possible.*no timbres.*train_diff\.py"):
        unknown.prepare(options(**asked, timbre_match=0.5), [Target(1, 0.0)])
    with_timbres(paths[0], speakers=(1,))
    one = Converter(None, None, device="cpu", files=ToolFiles(*paths))
    one.prepare(options(**asked, timbre_match=1.0), [Target(1, 0.0)])
    with pytest.raises(ValueError, match="does not hold the timbre of bob; train it on more recordings"):
        one.prepare(options(**asked, timbre_match=1.0), [Target(0, 0.0)])
    even = SpeakerMix.from_map(EVEN, one.voice.speakers)
    for singing in ({"speaker": "bob"}, {"speaker_mix": even}):
        plain = one.convert(SONG[:20000], options(**asked, timbre_match=0.0, **singing))
        assert np.allclose(one.convert(SONG[:20000], options(**asked, **singing)), plain, atol=1e-5)
    assert "no effect: the diffusion model does not hold the timbre of bob" in caplog.text


def test_the_vocoder_shifts_the_pitch_where_it_can(folder: Path, tmp_path: Path, converter: Converter) -> None:
    """It is told a higher f0, and the mel is left as it is."""
    with pytest.raises(ValueError, match="--keyshift needs a vocoder that was trained to shift the pitch"):
        converter.convert(SONG, options(keyshift=2.0))
    vocoder = write_vocoder(tmp_path, pc_aug=True)
    shifting = Converter(
        *(folder / "G_5.pth", folder / "config.json"),
        device="cpu",
        files=dataclasses.replace(files(folder), vocoder=vocoder),
    )
    heard, infer = [], shifting.tools.refiner.vocoder.infer
    shifting.tools.refiner.vocoder.infer = lambda mel, f0, **kw: heard.append((mel, f0)) or infer(mel, f0, **kw)
    for keyshift in (0.0, 12.0):
        shifting.convert(SONG[:20000], options(keyshift=keyshift))
    torch.testing.assert_close(heard[1][0], heard[0][0])
    torch.testing.assert_close(heard[1][1], 2 * heard[0][1])


def test_another_vocoder_takes_natural_logarithms(folder: Path, tmp_path: Path) -> None:
    """Whatever the type that the config gives the vocoder it names."""
    decimal = {"vocoder": {"type": "nsf-hifigan-log10"}}
    paths = write_diffusion(tmp_path, vocoder=folder / "vocoder/model", sections=decimal)
    for vocoder, log10 in ((None, True), (folder / "vocoder/model", False)):
        tools = Converter(None, None, device="cpu", files=ToolFiles(*paths, vocoder=vocoder)).tools
        assert tools.refiner.vocoder.log10 == log10


def test_options_that_do_nothing_are_said() -> None:
    def lines(**changes: object) -> list[str]:
        return list(ConversionOptions(**changes).without_effect())

    assert lines(shallow_diffusion=True, k_step=50, sampler="ddim", speedup=5) == []
    assert "-eh is off" in lines(enhance=True, shallow_diffusion=True)[0]
    assert "-shd has no effect beside -od" in lines(shallow_diffusion=True, only_diffusion=True)[0]
    assert "--k_step has no effect: -od takes all" in lines(only_diffusion=True, k_step=50)[0]
    assert "--second_encoding has no effect: it needs -shd" in lines(second_encoding=True)[0]
    assert "--speedup has no effect: it needs -shd or -od" in lines(speedup=5)[0]
    assert "--temperature has no effect: it needs -shd or -od" in lines(temperature=0.0)[0]
    assert "--articulation has no effect: it needs -shd or -od" in lines(articulation=1.0)[0]
    assert "--timbre_match has no effect: it needs -shd or -od" in lines(timbre_match=1.0)[0]
    assert "--enhancer_adaptive_key has no effect: it needs -eh" in lines(enhancer_adaptive_key=2)[0]
    assert "--feature_retrieval has no effect" in lines(feature_retrieval=True)[0]
    with pytest.raises(ValueError, match=r"auto_predict_f0 \(-a\) needs the synthesizer"):
        ConversionOptions(auto_predict_f0=True, only_diffusion=True)


def test_the_encoder_of_the_diffusion_model(folder: Path, tmp_path: Path) -> None:
    """Another one than the synthesizer's only works when it encodes again."""
    other = {"data": {"encoder": "embedded", "encoder_out_channels": 256}}
    paths = write_diffusion(tmp_path, vocoder=folder / "vocoder/model", sections=other)
    converter = Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=ToolFiles(*paths))
    with pytest.raises(ValueError, match="units of embedded, the model it is to refine with cepstral.*-se"):
        converter.convert(SONG, options())
    assert converter.convert(SONG, options(second_encoding=True)).shape == SONG.shape
    encoder = {"data": {"encoder": "hubertsoft", "encoder_out_channels": 256}}
    paths = write_diffusion(tmp_path / "soft", vocoder=folder / "vocoder/model", sections=encoder)
    converter = Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=ToolFiles(*paths))
    with pytest.raises(FileNotFoundError, match="hubert"):  # said before the first song
        converter.prepare(options(second_encoding=True), [Target(1, 0.0)])


def test_few_steps_are_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    converter = Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=files(folder))
    for changes in ({"k_step": 100}, {"k_step": 4, "speedup": 2}, {"only_diffusion": True, "speedup": 200}):
        converter.prepare(options(**changes), [])
    assert "coarse" not in caplog.text
    for _ in range(2):
        converter.prepare(options(k_step=100, sampler="dpm-solver++", speedup=100), [])
    said = "dpm-solver++ walks back 100 steps of noise in 1, which is coarse: --speedup 10 takes 10"
    assert caplog.text.count(said) == 1


@pytest.mark.parametrize(
    ("sections", "changes", "message"),
    [
        ({"model": {"k_step_max": 100}}, {"only_diffusion": True}, "convert with -shd, not with -od"),
        ({"model": {"k_step_max": 100}}, {"k_step": 101}, "use -ks 100 or less"),
        ({}, {"k_step": 5}, "lower the speedup or raise k_step"),
        ({}, {"sampler": "euler"}, "unknown sampler 'euler'"),
        ({"spk": {"anna": 0, "carl": 1}}, {}, "no speaker 'bob', it knows anna, carl"),
        ({"data": {"block_size": 256}}, {}, "samples per frame; the data are of 44100 Hz, 256 samples"),
    ],
    ids=str,
)
def test_models_that_cannot_do_it(folder: Path, tmp_path: Path, sections: dict, changes: dict, message: str) -> None:
    paths = write_diffusion(tmp_path, vocoder=folder / "vocoder/model", sections=sections)
    with pytest.raises(ValueError, match=message):
        Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=ToolFiles(*paths)).prepare(
            options(**changes), [Target(1, 0.0)]
        )


def test_files_that_are_missing_or_damaged(folder: Path, tmp_path: Path) -> None:
    def prepare(*paths: Path) -> None:
        files = ToolFiles(*paths)
        Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=files).prepare(options(), [])

    model, config = write_diffusion(tmp_path, vocoder=folder / "vocoder/model")
    with pytest.raises(FileNotFoundError, match="model_9.pt: in that folder there are: model_5.pt; name one with -dm"):
        prepare(tmp_path / "model_9.pt", config)
    with pytest.raises(FileNotFoundError, match="none.yaml.*name it with -dc"):
        prepare(model, tmp_path / "none.yaml")
    (tmp_path / "cut.pt").write_bytes(model.read_bytes()[:3000])
    with pytest.raises(CheckpointError, match="cut.pt is damaged.*: copy or fetch it again"):
        prepare(tmp_path / "cut.pt", config)
    with pytest.raises(CheckpointError, match=r"is no diffusion model(.|\n)*-dm and -dc must name a model"):
        prepare(folder / "G_5.pth", config)
    eleven = write_vocoder(tmp_path / "eleven", num_mels=11)
    other = write_diffusion(tmp_path / "other", vocoder=eleven)
    with pytest.raises(CheckpointError, match="mel bands of the vocoder: 11 in the configuration, 10 in the weights"):
        prepare(*other)
    nowhere = write_diffusion(tmp_path / "nowhere", vocoder=tmp_path / "gone/model")
    with pytest.raises(FileNotFoundError, match="gone"):
        prepare(*nowhere)
    (tmp_path / "bad.yaml").write_text("data: {encoder: vec768l12}", encoding="utf-8")
    with pytest.raises(ConfigError, match="encoder_out_channels"):
        prepare(model, tmp_path / "bad.yaml")


def test_a_single_voice_needs_no_name(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """But a line is due, once, where it is another one than the synthesizer's."""
    one = {"model": {"n_spk": 1}, "spk": {"anna": 0}}
    paths = write_diffusion(tmp_path, vocoder=folder / "vocoder/model", sections=one)
    converter = Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=ToolFiles(*paths))
    assert converter.convert(SONG, options(speaker="anna")).shape == SONG.shape
    assert "one voice" not in caplog.text
    for _ in range(2):
        assert converter.convert(SONG[:20000], options(speaker="bob")).shape == (20000,)
    assert caplog.text.count("knows one voice, anna: it makes 'bob' sound like that one") == 1


def test_only_who_sings_must_be_known(folder: Path, tmp_path: Path) -> None:
    paths = write_diffusion(tmp_path, vocoder=folder / "vocoder/model", sections={"spk": {"carl": 0, "bob": 1}})
    converter = Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=ToolFiles(*paths))
    assert converter.convert(SONG[:20000], options(speaker="bob")).shape == (20000,)
    with pytest.raises(ValueError, match="no speaker 'anna', it knows bob, carl"):
        converter.convert(SONG, options(speaker="anna"))
    with pytest.raises(ValueError, match="no speaker 'anna'"):
        converter.convert(SONG, options(speaker_mix=SpeakerMix.from_map(EVEN, converter.voice.speakers)))


def test_models_of_other_tools_count_their_speakers(folder: Path, tmp_path: Path) -> None:
    """DDSP-SVC's files name nobody: their first speaker is the synthesizer's first."""
    paths = write_diffusion(tmp_path, vocoder=folder / "vocoder/model", sections={"spk": None})
    converter = Converter(folder / "G_5.pth", folder / "config.json", device="cpu", files=ToolFiles(*paths))
    converter.prepare(options(), [Target(0, 0.0), Target(1, 0.0)])
    refiner = converter.tools.refiner
    ids = refiner._speaker_ids(converter.voice)
    assert refiner._speakers(torch.tensor([[0], [1]]), ids).tolist() == [[0], [1]]
    more = dataclasses.replace(converter.voice, speakers={"anna": 0, "bob": 1, "dora": 2})
    refiner.check(more, options(), [1])
    with pytest.raises(ValueError, match="no speaker 'dora', it knows 1, 2"):
        refiner.check(more, options(), [2])


def test_refined_frames_stay_in_place(converter: Converter, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a network that keeps its mel, and a vocoder that is as loud as its mel says, the envelope stays."""
    refiner = converter.tools.refiner
    monkeypatch.setattr(refiner.model, "infer", lambda cond, plan, gt_spec, **_: gt_spec)
    monkeypatch.setattr(
        refiner.vocoder, "infer", lambda mel, f0, **_: mel.exp().mean(dim=1).repeat_interleave(HOP, dim=1)
    )
    song = np.concatenate([silence(0.6), sung(0.8), silence(0.6)])
    power = []
    for changes in ({}, {"shallow_diffusion": False}):
        got = converter.convert(song, options(**changes))
        power.append(np.add.reduceat(got.astype(np.float64) ** 2, np.arange(0, len(got), HOP)))
    refined, plain = (np.sqrt(frames / frames.sum()) for frames in power)
    shifted = [np.dot(refined, np.roll(plain, shift)) for shift in (-2, -1, 0, 1, 2)]
    assert np.argmax(shifted) == 2 and shifted[2] > 0.95
