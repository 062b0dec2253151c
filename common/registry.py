"""A table from a name in config.json or on the command line to a class, imported only when built."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One member of a family: where its class is, and what can be known of it without importing it."""

    target: str  # "package.module:ClassName"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    dim: int | None = None  # feature channels
    weights: str | None = None  # name in common.pretrained.FILES
    package: str | None = None  # package of the index that the class imports, when it is optional
    note: str = ""  # one line for the README's tables


class Registry(dict[str, Entry]):
    """Names of one family (speech encoders, f0 predictors, decoders, ...), in the order they are shown."""

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        super().__init__(entries)
        self.kind = kind

    def __missing__(self, name: str) -> Entry:
        raise ValueError(f"unknown {self.kind} {name!r}; choose one of: {', '.join(self)}")

    def build(self, name: str, **kwargs: Any) -> Any:
        """Import the class of ``name`` and construct it; explicit ``kwargs`` are added to the entry's own.

        Raises:
            ValueError: unknown name.
            NotAvailableError: a package is missing.
        """
        entry = self[name]
        module, _, cls = entry.target.partition(":")
        try:
            found = getattr(import_module(module), cls)
        except ModuleNotFoundError as error:
            if entry.package is None:
                raise
            raise NotAvailableError(f"{self.kind} {name!r} needs a package: pip install {entry.package}") from error
        return found(**entry.kwargs, **kwargs)


class NotAvailableError(ValueError):
    """What is known and cannot be done here: a package is missing, or a file holds another tool's network."""
