"""Files that are on disk when they are said to be, and compressed ones that are never whole in memory."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

_CHUNK_BYTES = 1 << 20
_LEVEL = 4  # twice as fast as the usual 6, for a few percent more
_GZIP = 31  # zlib's word for "with the header and checksum of gzip"


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes) -> None:
    """Write a new file that only its owner may read, and put it on disk. Raises FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class CompressedFile:
    """A new gzip file that only its owner may read; on disk once it is closed, and `sha256` is its checksum then."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._checksum = hashlib.sha256()
        self._waiting = bytearray()

    def __enter__(self) -> CompressedFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._store(self._compressor.compress(self._waiting) + self._compressor.flush())
                self._file.flush()
                os.fsync(self._file.fileno())

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Add to the file. Rows come one by one and are compressed many at a time."""
        self._waiting += content
        if len(self._waiting) >= _CHUNK_BYTES:
            self._store(self._compressor.compress(self._waiting))
            self._waiting.clear()

    @property
    def sha256(self) -> str:
        return self._checksum.hexdigest()

    def _store(self, compressed: bytes) -> None:
        self._checksum.update(compressed)
        self._file.write(compressed)


def decompressed(path: Path) -> Iterator[bytes]:
    """The content of a gzip file, piece by piece. Raises OSError or EOFError for a damaged one."""
    with gzip.open(path, "rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece


def checksum_of(path: Path) -> str:
    """Lower-case hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
