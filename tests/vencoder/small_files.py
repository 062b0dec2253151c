"""Files of the HuBERT family as their makers write them, but small; and what every encoder of it must keep to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.golden import weights
from tests.parity import Case, assert_close
from vencoder.encoder import SpeechEncoder

CPU = torch.device("cpu")


def small_state(case: str, size: Callable[[int], int]) -> dict[str, Tensor]:
    """Recipe weights under the keys of a golden case, every dimension replaced by ``size`` of it."""
    keys = json.loads((Case(case).folder / "keys.json").read_text(encoding="utf-8"))
    return weights.make_state_dict({key: [size(n) for n in shape] for key, shape, _ in keys}, seed=1)


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def cut_off(path: Path) -> Path:
    """A copy of the file that lacks its last third, as an interrupted download does."""
    copy = path.with_name("cut_off.pt")
    copy.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return copy


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.half() for key, value in state.items()}


def check_batches(encoder: SpeechEncoder) -> None:
    """Items of a batch equal those encoded one by one, whatever lies after the end of the shorter ones."""
    wavs = [torch.randn(n) * scale for n, scale in ((16000, 0.1), (400, 1.0), (9999, 0.01), (16000, 0.3))]
    alone = [encoder.encode(wav) for wav in wavs]
    for expected, got in zip(alone, encoder.encode_batch(wavs), strict=True):
        assert_close(got, expected, max_abs=1e-5)
    lengths = torch.tensor([len(wav) for wav in wavs])
    padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True, padding_value=5.0)
    with torch.no_grad():
        batch = encoder.encode_padded(padded, lengths)
    for expected, got in zip(alone, batch, strict=True):
        assert_close(got[:, : expected.shape[1]], expected, max_abs=1e-5)
