"""The documents say what is there: tables, options, defaults, commands, links and paths."""

import argparse
import re
import shlex
import unicodedata
from functools import cache
from importlib import import_module
from pathlib import Path
from unittest import mock

import pytest

from scripts import tables

ROOT = Path(__file__).resolve().parent.parent
READMES = ["README.md", "README_zh_CN.md"]
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SOURCE_FOLDERS = "common|pipeline|modules|vencoder|vdecoder|configs_template|scripts|benchmarks|tests|docs|demo|cluster"
SCRIPTS = {path.name for path in ROOT.glob("*.py") if "def parse_args" in path.read_text(encoding="utf-8")}
FOREIGN = {"omegaconf", "pkg_resources"}  # packages that documents name and the code does not
OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w]*")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser that a script or a module builds, caught where it would parse."""
    caught: list[argparse.ArgumentParser] = []

    def catch(self: argparse.ArgumentParser, *_: object) -> None:
        caught.append(self)
        raise StopIteration

    module = import_module(script.removesuffix(".py").replace("/", "."))
    with mock.patch.object(argparse.ArgumentParser, "parse_args", catch), pytest.raises(StopIteration):
        module.parse_args([])
    return caught[0]


def options_of(script: str) -> dict[str, argparse.Action]:
    return {option: action for action in parser_of(script)._actions for option in action.option_strings}


def option_tables(text: str) -> list[tuple[str, list[list[str]]]]:
    """Script and rows (cells) of every table of options."""
    found = re.findall(r"<!-- options:(\S+) -->\n((?:\|.*\n)+)", text)
    return [
        (script, [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]])
        for script, table in found
    ]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Script (or module) and arguments of every ``python ...`` line in a code block or a code span."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", text)
    found = []
    for line in lines:
        match = re.match(r"(?:python|torchrun --nproc_per_node 2) (?:-m )?([\w./]+)(.*)", line.split("  #")[0])
        if match and (ROOT / f"{match[1].removesuffix('.py').replace('.', '/')}.py").is_file():
            found.append((match[1], shlex.split(match[2])))
    return found


@pytest.mark.parametrize("path", tables.readmes(), ids=lambda path: path.name)
def test_tables_are_up_to_date(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- table:([\w-]+) -->", text)) == set(tables.TABLES)
    assert tables.updated(text, tables.readmes()[path]) == text, "run python -m scripts.tables"


def test_every_description_has_a_translation_and_no_translation_is_stale() -> None:
    cells = {cell for rows in tables.TABLES.values() for row in rows() for cell in row}
    notes = {entry.note for registry in tables.registries() for entry in registry.values()}
    assert notes | {entry.needed_by for entry in tables.FILES.values()} <= tables.CHINESE.keys() <= cells


@pytest.mark.parametrize("readme", READMES)
def test_option_tables_list_exactly_the_options_of_the_parsers(readme: str) -> None:
    found = option_tables(read(readme))
    assert {script for script, _ in found} == {*SCRIPTS, "cluster/train_cluster.py"}
    for script, rows in found:
        documented = {option for row in rows for option in OPTION.findall(row[0])}
        assert documented == options_of(script).keys() - {"-h", "--help"}, script


@pytest.mark.parametrize("readme", READMES)
def test_option_tables_state_the_defaults(readme: str) -> None:
    for script, rows in option_tables(read(readme)):
        for options, default, _ in rows:
            shown = re.findall(r"`([^`]+)`", default)
            long_names = [option for option in OPTION.findall(options) if option.startswith("--")]
            for option, value in zip(long_names, shown, strict=False):
                expected = options_of(script)[option].default
                expected = expected[0] if isinstance(expected, list) else expected
                if expected is not None:  # None: decided later, told in words
                    assert value in (str(expected), f"./{expected}"), f"{script} {option}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_use_options_that_exist(document: str) -> None:
    for script, arguments in commands(read(document)):
        if script in ("demo.run", "common.pretrained") or script.startswith("benchmarks"):
            continue
        used = {argument for argument in arguments if OPTION.fullmatch(argument)}
        assert used <= options_of(script).keys(), f"{script} {arguments}"


def test_readmes_show_the_same_commands() -> None:
    english, chinese = ([command for command in commands(read(name)) if command[1]] for name in READMES)
    assert english == chinese
    assert len(english) >= 6


@pytest.mark.parametrize("readme", READMES)
def test_the_two_commands_are_named_and_exist(readme: str) -> None:
    for target in ("demo", "test"):
        assert f"make {target}" in read(readme)
        assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_anchors_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(document)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / document).parent / path if path else ROOT / document
        assert linked.exists(), f"{document}: {target}"
        if anchor:
            assert anchor in anchors(linked.read_text(encoding="utf-8")), f"{document}: {target}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_of_the_repository_exist(document: str) -> None:
    for path in re.findall(rf"`((?:{SOURCE_FOLDERS})/[\w./-]*)`", read(document)):
        if not path.startswith("demo/work"):
            assert (ROOT / path).exists(), f"{document}: {path}"


@cache
def words_of_the_code() -> frozenset[str]:
    """Every word in the code, its configurations and settings, the tests left out."""
    suffixes = (".py", ".json", ".yaml", ".toml", ".txt")
    folders = {*SOURCE_FOLDERS.split("|"), ".", "modules/f0", "modules/metrics", "vencoder/nets"} - {"tests", "docs"}
    paths = [path for folder in folders for path in (ROOT / folder).iterdir() if path.suffix in suffixes]
    return frozenset(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in paths)))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_identifiers_are_in_the_code(document: str) -> None:
    """`name()`, `module.name` and `snake_case`: each part is a word of the code."""
    spans = re.findall(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(\))?)`", read(document))
    names = {span.removesuffix("()") for span in spans if "_" in span or "." in span or span.endswith("()")}
    names = {name for name in names if not name.startswith("test_") and not (ROOT / name).exists()}
    unknown = {name for name in names if not set(name.split(".")) <= words_of_the_code() | FOREIGN}
    assert not unknown, f"{document}: {sorted(unknown)}"


def test_tests_that_the_list_of_differences_cites_exist() -> None:
    tests: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):  # two folders may have a file of the same name
        tests[path.name] = tests.get(path.name, "") + path.read_text(encoding="utf-8")
    rows = [line for line in read("docs/differences.md").splitlines() if line.startswith("| ") and "`test_" in line]
    assert len(rows) > 30
    for row in rows:
        file = ""
        for name, test in re.findall(r"`(test_\w+\.py)?(?:::(test_\w+))?`", row):
            file = name or file
            assert file in tests, row
            assert not test or f"def {test}(" in tests[file], f"{file}::{test}"


def test_every_row_of_the_list_of_differences_has_a_test() -> None:
    rows = re.findall(r"^\| (?!-|the reference).*\|$", read("docs/differences.md"), re.MULTILINE)
    assert [row for row in rows if "`test_" not in row and "|---" not in row] == []


def anchors(text: str) -> set[str]:
    """Names that GitHub gives to the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    kept = ("".join(c for c in heading.lower() if c in " -_" or is_word(c)) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


def is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN"


def test_every_message_of_the_troubleshooting_table_is_in_the_code() -> None:
    folders = ("common", "pipeline", "modules", "vencoder", "vdecoder", "diffusion")
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py")]
    code = re.sub(r'"\s*f?"', "", "\n".join(sources))  # literals that go on over several lines
    for readme in READMES:
        section = re.search(r"## (?:When something goes wrong|出错时)\n(.*?)\n## ", read(readme), re.DOTALL)
        assert section
        for cell in re.findall(r"^\| (`[^|]+) \|", section[1], re.MULTILINE):
            for message in re.findall(r"`([^`]+)`", cell):
                for part in message.split("..."):
                    assert appears(part.strip(), code), f"{readme}: {message}"


def appears(message: str, code: str) -> bool:
    """Whether a message stands in the code, its numbers and names being filled in at run time."""
    if message == "CUDA out of memory":  # torch's own
        return True
    words = re.escape(message).replace(r"\ ", " ")
    for example in ("\\-60", r"\.m4a", "cuda", r"configs/config\.json", r"train\.batch_size", "int"):
        words = words.replace(example, f"(?:{example}|{{[^}}]*}}+)")
    return re.search(words, code) is not None
