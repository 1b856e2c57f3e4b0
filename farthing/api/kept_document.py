"""The OpenAPI document, kept beside the code as Python keeps its bytecode: to make it takes seconds and much memory.

It is made anew where any file that it is made of has changed. Where the folder cannot be written, each process makes it
for itself.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

import farthing

_PACKAGE = Path(farthing.__file__).parent
_FOLDER = _PACKAGE / "__pycache__"
_SOURCES = ("*.py", "reference.toml")
_LIBRARIES = ("litestar", "msgspec")
_NAME = "openapi.{mark}.json"


def kept_document(make: Callable[[], dict[str, Any]], folder: Path = _FOLDER) -> bytes:
    """The document as JSON: the one kept for this very code, or what `make` makes, which is kept from now on."""
    path = folder / _NAME.format(mark=_mark())
    with suppress(OSError):
        return path.read_bytes()
    content = msgspec.json.encode(make())
    with suppress(OSError):
        _keep(path, content)
    return content


def is_to_be_made(folder: Path = _FOLDER) -> bool:
    """Whether none is kept for this very code, and one could be."""
    place = folder if folder.exists() else folder.parent
    may_be_kept = place.is_dir() and os.access(place, os.W_OK)
    return may_be_kept and not (folder / _NAME.format(mark=_mark())).exists()


def _mark() -> str:
    """What tells this code from any other: its files' names, sizes and times, and what it is run by."""
    told = [platform.python_version(), *(version(name) for name in _LIBRARIES), *sorted(_files())]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _files() -> Iterator[str]:
    for pattern in _SOURCES:
        for path in _PACKAGE.rglob(pattern):
            found = path.stat()
            yield f"{path.relative_to(_PACKAGE)} {found.st_size} {found.st_mtime_ns}"


def _keep(path: Path, content: bytes) -> None:
    """Write a file that appears whole, in the place of those of earlier code."""
    path.parent.mkdir(exist_ok=True)
    descriptor, written = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(written).chmod(0o644)
    Path(written).replace(path)
    for earlier in path.parent.glob(_NAME.format(mark="*")):
        if earlier != path:
            earlier.unlink(missing_ok=True)
