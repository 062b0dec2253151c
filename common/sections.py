"""Sections of a configuration file as dataclasses: their fields are the file's keys, and every fault is told at once.

The field's type is that of the value; a method ``problems`` of the dataclass checks the values once all of them can
be read.
"""

import json
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

logger = logging.getLogger(__name__)


class ConfigError(ValueError):
    """Every problem found in one configuration file, one per line."""

    def __init__(self, path: Path | str, problems: list[str]) -> None:
        super().__init__("\n  ".join([f"{path} cannot be used:", *problems]))
        self.problems = problems


def read_section(
    cls: type, raw: Mapping[str, Any], where: str, problems: list[str], *, legacy: Collection[str] = ()
) -> Any:
    """Build ``cls`` from ``raw``, or append lines such as "train.batch_size: expected int, got true" to ``problems``.

    ``legacy`` are keys that other tools write and that change nothing here.
    """
    found, known = len(problems), {f.name: f for f in fields(cls)}
    problems += unknown_keys(raw.keys() - set(legacy), known, f"{where}.")
    values = {}
    for name, f in known.items():
        if name in raw:
            values[name] = raw[name]
            if not _fits(raw[name], f.type):
                got = json.dumps(raw[name], default=str)
                problems.append(f"{where}.{name}: expected {_describe(f.type)}, got {got}")
        elif f.default is MISSING and f.default_factory is MISSING:
            problems.append(f"{where}.{name}: missing")
    if len(problems) > found:
        return None
    section = cls(**values)
    problems += [f"{where}.{text}" for text in section.problems()]
    return section


def unknown_keys(keys: Iterable[str], known: Collection[str], prefix: str = "") -> list[str]:
    """Problems of keys that look like misspelt ``known`` ones; others are logged and ignored."""
    problems = []
    for key in sorted(set(keys) - set(known), key=str):
        hint = get_close_matches(str(key), known, n=1, cutoff=0.8)
        if hint:
            problems.append(f"{prefix}{key}: unknown field, did you mean {hint[0]!r}?")
        else:
            logger.warning("%s%s: unknown field, ignored", prefix, key)
    return problems


def below(section: Any, least: int, *names: str) -> Iterator[str]:
    """Problems of the fields ``names`` that are less than ``least``."""
    rule = "must not be negative" if least == 0 else f"must be at least {least}"
    for name in names:
        if getattr(section, name) < least:
            yield f"{name}: {rule}, got {getattr(section, name)}"


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value has the type of a field; true is no int here, and an int will do for a float."""
    if isinstance(kind, UnionType):
        return any(_fits(value, member) for member in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(item, get_args(kind)[0]) for item in value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind


def _describe(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)
