"""Tables of names: what is unknown is said with what is known."""

import pytest

from common.registry import Entry, NotAvailableError, Registry

SHAPES = Registry(
    "shape",
    {
        "dict": Entry("builtins:dict", {"a": 1}, dim=3),
        "extra": Entry("no_such_package_at_all.module:Class", package="no-such-package"),
        "broken": Entry("no_such_package_at_all.module:Class"),
    },
)


def test_build_adds_arguments():
    assert SHAPES.build("dict", b=2) == {"a": 1, "b": 2}
    assert list(SHAPES) == ["dict", "extra", "broken"]


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown shape 'list'; choose one of: dict, extra"):
        SHAPES.build("list")


def test_a_missing_package_says_what_to_install():
    with pytest.raises(NotAvailableError, match="shape 'extra' needs a package: pip install no-such-package"):
        SHAPES.build("extra")
    with pytest.raises(ModuleNotFoundError):
        SHAPES.build("broken")
