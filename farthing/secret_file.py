"""The master key as a file of the data folder: made once, durably, for nobody but its owner to read.

Three files take part. `secret.key` is the key in force. While a rotation is under way `secret.key.next` holds the key
that comes; afterwards `secret.key.previous` holds the one before, for as long as it is accepted.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

NAME = "secret.key"
NEXT = "secret.key.next"
PREVIOUS = "secret.key.previous"
SHORTEST_GENERATED = 32
SHORTEST_CONFIGURED = 16
_RANDOM_BYTES = 48


class UnusableSecretKey(ValueError):
    """There is no usable master key; the message says why and what to do."""


def draw() -> str:
    """A fresh master key from the system's secure source."""
    return secrets.token_urlsafe(_RANDOM_BYTES)


def ensure(folder: Path) -> None:
    """Make the key of a new data folder. Raises UnusableSecretKey where a database lies without its key."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / NAME
    if not path.exists():
        if (folder / "postgres" / "PG_VERSION").exists():
            raise UnusableSecretKey(_lost(folder))
        write_durably(path, draw(), replace=False)
    read(folder)


def read(folder: Path) -> str:
    """The key in force. Raises UnusableSecretKey when it is missing, empty, too short or not readable."""
    return _read(folder / NAME, missing=_lost(folder))


def read_if_there(path: Path) -> str | None:
    """The key in a file that need not exist. Raises UnusableSecretKey when it exists and cannot be used."""
    return _read(path, missing="") if path.exists() else None


def _read(path: Path, *, missing: str) -> str:
    try:
        text = path.read_text().strip()
    except FileNotFoundError as error:
        raise UnusableSecretKey(missing) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableSecretKey(f"the master key {path} cannot be read: {error}") from error
    if len(text) < SHORTEST_GENERATED:
        found = "is empty" if not text else f"has only {len(text)} characters"
        raise UnusableSecretKey(
            f"the master key {path} {found}; {SHORTEST_GENERATED} or more are needed. Restore the file from a backup, "
            "or set FARTHING_SECRET_KEY to the key that this database was set up with"
        )
    return text


def write_durably(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a file that is whole or absent after a crash, and that only its owner can read.

    Without `replace` a file that appears meanwhile stays as it is.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if replace:
        draft.replace(path)
    else:
        with suppress(FileExistsError):  # another process made it first, and that one counts
            path.hardlink_to(draft)
        draft.unlink()
    _sync_folder(path.parent)


def promote_next(folder: Path) -> None:
    """Put the key that comes in the place of the key in force."""
    (folder / NEXT).replace(folder / NAME)
    _sync_folder(folder)


def remove(path: Path) -> None:
    """Delete a key file, durably, if it exists."""
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lost(folder: Path) -> str:
    return (
        f"the master key {folder / NAME} is missing, but the folder holds a database that was set up with one. "
        "Restore the file from a backup, or set FARTHING_SECRET_KEY to that key. If it is lost for good, "
        "`farthing secret replace` makes a new one: every API key, session and stored provider credential is lost then"
    )
