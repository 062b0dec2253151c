"""The rules of docs/architecture.md that a parser can check: who may import whom, one door for each kind of file."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = {"benchmarks", "demo", "scripts"}  # run with python -m: they import what they like, and print

# Lower layers first; a file may import from the layers below its own, and from its own package.
LAYERS = {
    "common": 0,
    **dict.fromkeys(("modules", "vencoder", "vdecoder", "cluster"), 1),
    **dict.fromkeys(("models", "diffusion"), 2),
    "pipeline": 3,
}
SCRIPTS = 4
SCRIPTS_IN_PACKAGES = {"cluster/train_cluster.py"}  # where 4.1 has it
# Decoders and encoders are made of the blocks of modules/, which knows of neither.
SIDEWAYS = {("vdecoder", "modules"), ("vencoder", "modules"), ("cluster", "modules")}
PRINTING = {"common/pretrained.py"}  # run as a script by `python -m common.pretrained`
MAX_LINES, MAX_SCRIPT_LINES = 400, 100
DATA = {"common/pretrained_files.py"}


def files() -> list[Path]:
    found = [path.relative_to(ROOT) for path in ROOT.rglob("*.py")]
    found = [path for path in found if path.parts[0] != "tests" and not path.parts[0].startswith(".")]
    return sorted(path for path in found if path.parts[:2] != ("demo", "work"))


FILES = files()
LIBRARY = [path for path in FILES if path.parts[0] not in TOOLS]
SCRIPT_NAMES = {path.stem for path in LIBRARY if len(path.parts) == 1 and path.stem not in LAYERS}


def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def package(path: Path) -> str:
    return path.stem if len(path.parts) == 1 else path.parts[0]


def imported_packages(tree: ast.Module) -> set[str]:
    """First parts of everything that is imported anywhere in a file, inside functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add((node.module or "").split(".")[0])
    return found


def called(tree: ast.Module) -> set[str]:
    """Names of everything that is called: "print", "torch.load"."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {ast.unparse(function) for function in calls if isinstance(function, (ast.Name, ast.Attribute))}


@pytest.mark.parametrize("path", LIBRARY, ids=str)
def test_imports_go_downwards(path):
    own = package(path)
    level = SCRIPTS if path.as_posix() in SCRIPTS_IN_PACKAGES else LAYERS.get(own, SCRIPTS)
    for other in imported_packages(parsed(path)):
        assert other not in SCRIPT_NAMES or other == "spkmix", f"{path} imports the script {other}"
        if other in LAYERS and other != own:
            allowed = LAYERS[other] < level or (own, other) in SIDEWAYS
            assert allowed, f"{path} imports {other}, which is no layer below it"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_one_door_for_each_kind_of_file(path):
    tree, name = parsed(path), path.as_posix()
    calls, packages = called(tree), imported_packages(tree)
    assert "torch.load" not in calls, "files are read by common.unpickle"
    assert not {"pickle.load", "pickle.loads", "torch.jit.load"} & calls
    assert not any(call.endswith("np.load") for call in calls), "arrays are read by common.unpickle"
    if name != "common/audio.py":
        doors = {"librosa.load", "librosa.resample", "torchaudio.load"} & calls | {"soundfile", "soxr"} & packages
        assert not doors, "audio is read and resampled by common.audio"
    assert "fairseq" not in packages
    assert "torchaudio" not in packages or name == "modules/f0/torchaudio_standin.py"


@pytest.mark.parametrize("path", LIBRARY, ids=str)
def test_the_library_does_not_print(path):
    if path.stem not in SCRIPT_NAMES and path.as_posix() not in PRINTING:
        assert "print" not in called(parsed(path))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_are_short(path):
    n_lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    is_script = path.as_posix() in SCRIPTS_IN_PACKAGES or (path.stem in SCRIPT_NAMES and len(path.parts) == 1)
    limit = MAX_SCRIPT_LINES if is_script else MAX_LINES
    assert n_lines <= limit or path.as_posix() in DATA, f"{path} has {n_lines} lines"


def test_the_repository_names_no_place_outside_itself():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in content:  # every text file, whatever its name ends with
            content = content.replace(b"demo/work/", b"")
            assert b"/work" + b"/" not in content and b"../" + b"shared" not in content, name
