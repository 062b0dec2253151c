"""Downloads against a local server: resumed, verified, atomic; and the messages about missing files."""

import hashlib
import io
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from common import download, pretrained, voicebank
from common.pretrained_files import FILES, READY, PretrainedFile
from modules.f0 import F0_PREDICTORS
from tests.modules.f0.voicebanks import golden_folder
from tests.parity import Case
from vencoder import SPEECH_ENCODERS

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``files``; ``cut`` holds how many bytes of the body each of the next answers may send."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/weights.pt": CONTENT}
        self.cut: list[int] = []
        self.ranges: list[str | None] = []
        self.honours_range = True

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if self.path not in self.server.files:
            self.send_error(404)
            return
        body = self.server.files[self.path]
        total, start = len(body), 0
        if wanted and self.server.honours_range:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        self.wfile.write(body[start:][: self.server.cut.pop(0) if self.server.cut else None])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetch(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "weights.pt"
    download.fetch(server.url("/weights.pt"), target, sha256=SHA256, size=len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["weights.pt"]


@pytest.mark.parametrize("honours_range", [True, False])
def test_interrupted_transfer_goes_on(server: Server, tmp_path: Path, honours_range: bool) -> None:
    server.cut, server.honours_range = [1_000_000, 500_000], honours_range
    download.fetch(server.url("/weights.pt"), tmp_path / "w", sha256=SHA256)
    assert (tmp_path / "w").read_bytes() == CONTENT
    resumed = "bytes=1500000-" if honours_range else "bytes=500000-"
    assert server.ranges == [None, "bytes=1000000-", resumed]


def test_gives_up_and_goes_on_in_the_next_call(server: Server, tmp_path: Path) -> None:
    server.cut = [100_000] * download.TRIES
    with pytest.raises(download.DownloadError, match="500000 bytes are kept: run the same command again"):
        download.fetch(server.url("/weights.pt"), tmp_path / "w", sha256=SHA256)
    assert not (tmp_path / "w").exists()
    download.fetch(server.url("/weights.pt"), tmp_path / "w", sha256=SHA256)
    assert server.ranges[-1] == "bytes=500000-"
    assert (tmp_path / "w").read_bytes() == CONTENT


@pytest.mark.parametrize(("left_over", "fetches"), [(CONTENT, 1), (CONTENT + b"more", 2)])
def test_complete_or_overlong_part(server: Server, tmp_path: Path, left_over: bytes, fetches: int) -> None:
    (tmp_path / "w.part").write_bytes(left_over)
    download.fetch(server.url("/weights.pt"), tmp_path / "w", sha256=SHA256)
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert len(server.ranges) == fetches


def test_wrong_content_never_lands(server: Server, tmp_path: Path) -> None:
    for known in ({"sha256": "0" * 64}, {"size": 17}):
        with pytest.raises(download.DownloadError, match="not the expected file"):
            download.fetch(server.url("/weights.pt"), tmp_path / "w", **known)
        assert list(tmp_path.iterdir()) == []


def test_refused_at_once(server: Server, tmp_path: Path) -> None:
    with pytest.raises(download.DownloadError, match="404"):
        download.fetch(server.url("/nothing.pt"), tmp_path / "w")
    assert len(server.ranges) == 1


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name in names:
            bundle.writestr(name, f"content of {name}")
    return buffer.getvalue()


@pytest.fixture
def table(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, PretrainedFile]:
    """The entries used below, pointed at the local server and at a temporary folder."""
    server.files["/v.zip"] = zipped("any folder/model", "any folder/config.json", "any folder/NOTICE.txt")
    local = {
        "fcpe": replace(FILES["fcpe"], url=server.url("/weights.pt"), root=tmp_path),
        "rmvpe-rvc": replace(
            FILES["rmvpe-rvc"], url=server.url("/weights.pt"), sha256=SHA256, size=None, root=tmp_path
        ),
        "nsf-hifigan": replace(FILES["nsf-hifigan"], url=server.url("/v.zip"), root=tmp_path),
        "wavlmbase+": replace(FILES["wavlmbase+"], root=tmp_path),
    }
    for name, entry in local.items():
        monkeypatch.setitem(FILES, name, entry)
    return local


def test_get_and_require(table: dict[str, PretrainedFile], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="python -m common.pretrained get fcpe"):
        pretrained.require("fcpe")
    assert pretrained.main(["get", "fcpe", "nsf-hifigan"]) == 0
    assert pretrained.require("fcpe").read_bytes() == CONTENT
    folder = tmp_path / "pretrain" / "nsf_hifigan"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model"]
    assert pretrained.require("nsf-hifigan") == folder / "model"
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="config.json"):
        pretrained.require("nsf-hifigan")


def test_override() -> None:
    assert pretrained.require("rmvpe", __file__) == Path(__file__)
    with pytest.raises(FileNotFoundError, match=r"absent\.pt"):
        pretrained.require("rmvpe", "absent.pt")


def test_archive_without_the_file(
    table: dict, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.files["/v.zip"] = zipped("config.json")
    assert pretrained.main(["get", "nsf-hifigan"]) == 1
    server.files["/v.zip"] = b"<html>not a zip"
    assert pretrained.main(["get", "nsf-hifigan"]) == 1
    assert not (tmp_path / "pretrain" / "nsf_hifigan" / "model").exists()


def test_get_leaves_another_file_alone(table: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "pretrain" / "rmvpe.pt"
    own.parent.mkdir()
    own.write_bytes(b"the user's")
    assert pretrained.main(["get", "rmvpe-rvc"]) == 1
    assert own.read_bytes() == b"the user's"
    assert "move it away" in capsys.readouterr().err


def test_file_without_address(table: dict, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrained.main(["get", "wavlmbase+"]) == 1
    assert "by hand from https://github.com/microsoft/unilm" in capsys.readouterr().err


def test_check(table: dict[str, PretrainedFile], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrained.main(["check", "rmvpe-rvc"]) == 1
    assert pretrained.main(["get", "rmvpe-rvc"]) == 0
    assert pretrained.main(["check", "rmvpe-rvc"]) == 0
    table["rmvpe-rvc"].path.write_bytes(b"damaged")
    capsys.readouterr()
    assert pretrained.main(["check", "rmvpe-rvc"]) == 1
    assert "WRONG" in capsys.readouterr().out
    assert pretrained.main(["check", "no-such-name"]) == 1


def test_every_encoder_and_predictor_is_checked() -> None:
    serving = {name for entry in FILES.values() for name in entry.serves}
    assert serving | set(READY) == set(SPEECH_ENCODERS) | set(F0_PREDICTORS)
    for name, member in (SPEECH_ENCODERS | F0_PREDICTORS).items():
        if member.weights:
            assert name in FILES[member.weights].serves


def printed_states(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """Name: state and advice, as `check` printed them."""
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    return {name: rest for name, *rest in lines}


def test_check_says_what_each_encoder_and_predictor_lacks(
    table: dict[str, PretrainedFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, entry in FILES.items():
        monkeypatch.setitem(FILES, name, replace(entry, root=tmp_path))
    assert pretrained.main(["check"]) == 0  # nothing there, so nothing wrong
    states = printed_states(capsys)
    assert states["vec256l9"] == ["missing", "python -m common.pretrained get contentvec"]
    assert states["wavlmbase+"][1].endswith("-> pretrain/WavLM-Base+.pt")
    assert states["cepstral"] == ["ready", "needs no file"] and states["fcpe"][0] == "ready"
    assert states["nsf-hifigan"] == ["missing"]

    soft, rmvpe, onnx = (FILES[name].path for name in ("hubert-soft", "rmvpe-rvc", "hubertsoft-onnx"))
    soft.parent.mkdir(parents=True)
    torch.save({"a": torch.randn(3000)}, soft)
    rmvpe.write_bytes(CONTENT)
    monkeypatch.setitem(FILES, "rmvpe-rvc", replace(FILES["rmvpe-rvc"], sha256=SHA256, size=None))
    shutil.copy(Case("onnx_encoders").folder / "hubert-soft.onnx", onnx)
    assert pretrained.main(["check"]) == 0
    states = printed_states(capsys)
    assert states["hubertsoft"] == ["ready", "pretrain/hubert-soft-0d54a1f4.pt: ok to read, checksum unknown"]
    assert states["hubertsoft-onnx"][0] == "ready" and states["rmvpe"] == ["ready", "pretrain/rmvpe.pt: ok"]


@pytest.mark.parametrize("how", ["cut", "changed", "empty"])
@pytest.mark.parametrize("name", ["hubert-soft", "hubertsoft-onnx", "fcpe"])
def test_files_without_a_checksum_are_read(
    name: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = replace(FILES[name], root=tmp_path)
    monkeypatch.setitem(FILES, name, entry)
    entry.path.parent.mkdir(parents=True)
    if entry.path.suffix == ".onnx":
        shutil.copy(Case("onnx_encoders").folder / "hubert-soft.onnx", entry.path)
    else:
        torch.save({"a": torch.randn(3000)}, entry.path, _use_new_zipfile_serialization=name == "hubert-soft")
    whole = entry.path.read_bytes()
    if how == "cut" or name == "fcpe":  # a file in the old format has no checksums inside
        entry.path.write_bytes(whole[: len(whole) // 2])
    elif how == "changed" and entry.path.suffix == ".pt":
        middle = len(whole) // 2
        entry.path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    else:
        entry.path.write_bytes(b"")
    assert pretrained.main(["check", name]) == 1
    assert "WRONG: " in capsys.readouterr().out


def test_an_archive_is_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = replace(FILES["hubert-soft"], root=tmp_path)
    monkeypatch.setitem(FILES, "hubert-soft", entry)
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(zipped("config.json"))
    assert pretrained.main(["check", "hubert-soft"]) == 1
    assert "is an archive, not a model: unpack it" in capsys.readouterr().out


def test_what_cannot_be_read_without_a_package_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = replace(FILES["hubertsoft-onnx"], root=tmp_path)
    monkeypatch.setitem(FILES, "hubertsoft-onnx", entry)
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(b"no model")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert pretrained.main(["check"]) == 0
    state, advice = printed_states(capsys)["hubertsoft-onnx"]
    assert state == "missing" and advice.endswith("needs a package: pip install onnxruntime")


def test_a_voicebank_is_checked_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(voicebank, "FOLDER", tmp_path)

    def checked() -> list[str]:
        assert pretrained.main(["check"]) == (1 if damaged else 0)
        return printed_states(capsys)["dspitch"]

    damaged = False
    assert checked()[0] == "missing"
    golden_folder(tmp_path, "dsconfig.yaml", "linguistic.onnx", "pitch.onnx")
    assert checked()[0] == "ready"
    (tmp_path / "dspitch").mkdir()  # as a voicebank has it
    for path in [path for path in tmp_path.iterdir() if path.is_file() and path.name != voicebank.TRANSCRIBER]:
        path.rename(tmp_path / "dspitch" / path.name)
    assert checked()[0] == "ready"
    next((tmp_path / "dspitch").glob("*pitch.onnx")).unlink()
    state, advice = checked()
    assert state == "missing" and "the voicebank's pitch predictor" in advice
    damaged = True
    (tmp_path / "dspitch" / "dsconfig.yaml").write_text("[" * 5000)
    assert checked()[0] == "WRONG"


def test_list_and_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrained.main(["list"]) == 0
    printed = capsys.readouterr().out
    for name, entry in FILES.items():
        assert name in printed and entry.name == name
        assert entry.url or entry.page, name
        assert all(len(known) == 64 for known in (entry.sha256, entry.archive_sha256) if known), name
