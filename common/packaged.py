"""Weights that lie inside optional packages: the file is found without importing the package, none of it runs."""

from importlib.util import find_spec
from pathlib import Path

from common.registry import NotAvailableError


def packaged_file(package: str, name: str, *, install: str) -> Path:
    """The file called ``name`` (slashes for folders) inside the installed ``package``.

    Args:
        install: what is typed to get the package, for the message.

    Raises:
        NotAvailableError: the package is not installed, or its version does not hold the file.
    """
    found = find_spec(package)
    if found is None or found.origin is None:
        raise NotAvailableError(f"the package {package} is not installed: {install}")
    path = Path(found.origin).parent / name
    if not path.is_file():
        raise NotAvailableError(f"the package {package} is there, but holds no {name}: {install} --force-reinstall")
    return path
