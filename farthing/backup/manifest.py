"""What a backup says of itself: `manifest.json`, and beside it the manifest's own checksum."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from farthing.backup import BackupFailed
from farthing.backup.files import write_file

FORMAT = 1
MANIFEST = "manifest.json"
CHECKSUM = "manifest.json.sha256"

# names become paths and SQL
Name = Annotated[str, Meta(pattern="^[a-z_][a-z0-9_]{0,62}$")]
Count = Annotated[int, Meta(ge=0)]


class TableCopy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rows of one table: gzip of PostgreSQL's COPY text format, the columns in this order."""

    name: Name
    columns: list[Name]
    rows: Count
    sha256: str
    """Of the compressed file."""

    @property
    def file(self) -> str:
        """Where the rows are, from the backup's folder."""
        return f"tables/{self.name}.copy.gz"


class SequenceValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a sequence stood; `last_value` is None for one that was never used."""

    name: Name
    last_value: int | None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in a backup, and what a restore needs to know."""

    format: int
    farthing_version: str
    taken_at: datetime
    """No later than the snapshot: what was committed before is in the backup."""
    revision: str
    """The schema's revision, which is also that of the rows."""
    postgresql: str
    key_fingerprint: str
    """Names the master key that belongs to the rows without saying anything of it."""
    tables: list[TableCopy]
    sequences: list[SequenceValue]

    @property
    def rows(self) -> int:
        """How many rows all tables hold together."""
        return sum(table.rows for table in self.tables)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and its checksum, in the form `sha256sum --check` reads."""
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    write_file(folder / MANIFEST, content)
    write_file(folder / CHECKSUM, f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a whole backup. Raises BackupFailed."""
    try:
        content = (folder / MANIFEST).read_bytes()
        expected = (folder / CHECKSUM).read_text().split()[:1]
    except (FileNotFoundError, NotADirectoryError):
        raise BackupFailed(f"{folder} is not a backup: it lacks {MANIFEST} or {CHECKSUM}") from None
    if expected != [hashlib.sha256(content).hexdigest()]:
        raise BackupFailed(f"{folder / MANIFEST} is damaged: its checksum is not the one in {CHECKSUM}")
    try:
        written_as = msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("format", msgspec.Raw(b"null"))
        if bytes(written_as) != str(FORMAT).encode():
            raise BackupFailed(
                f"{folder} has the format {bytes(written_as).decode()}, and this release reads {FORMAT}; "
                "restore it with the release that made it"
            )
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise BackupFailed(f"{folder / MANIFEST} is not a manifest: {error}") from None
