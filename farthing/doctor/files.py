"""What the doctor looks at on disk: files that others can read, and the master key."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farthing import secret_file
from farthing.identity.credentials.master_key import MasterKeys, confirm
from farthing.secret_file import SHORTEST_GENERATED, UnusableSecretKey
from farthing.settings import Settings
from farthing.storage.postgres import Database

_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_PASS_ONLY = stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True, slots=True)
class FileFault:
    """A file and what is wrong with it."""

    path: Path
    fault: str


def unsafe_files(settings: Settings) -> list[FileFault]:
    """What in the data folder others could read or write, and key files that cannot be used.

    With a database elsewhere the folder is not ours: such a server keeps nothing in it, its keys come from settings.
    """
    folder = Path(settings.data_dir)
    if not settings.embedded or not folder.is_dir():
        return []
    faults = [fault for path in (folder, *sorted(folder.iterdir())) for fault in _open_to_others(path, top=folder)]
    for name in (secret_file.NAME, secret_file.PREVIOUS, secret_file.NEXT):
        try:
            secret_file.read_if_there(folder / name)
        except UnusableSecretKey as error:
            faults.append(FileFault(folder / name, str(error)))
    return faults


def _open_to_others(path: Path, *, top: Path) -> Iterator[FileFault]:
    """Faults of one entry of the data folder; what lies below a private folder is out of reach with it."""
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    if path.is_symlink():
        return
    allowed = _PASS_ONLY if path == top else 0  # to pass shows nothing, and PostgreSQL's own user may need to
    if mode & _FOR_OTHERS & ~allowed:
        wanted = "0700" if path.is_dir() else "0600"
        yield FileFault(path, f"can be reached by others (mode {mode:04o}); run: chmod {wanted} {path}")


async def describe_master_key(settings: Settings, database: Database) -> str:
    """The master key in one line: where it stands, whether it is long, and until when the one before is accepted."""
    keys = MasterKeys.of(settings)
    await confirm(database, keys)
    where = "FARTHING_SECRET_KEY" if settings.secret_key is not None else str(Path(settings.data_dir) / "secret.key")
    described = f"ok ({where})"
    if len(keys.current) < SHORTEST_GENERATED:
        described += f", shorter than {SHORTEST_GENERATED} characters: change it with `farthing secret rotate`"
    if keys.previous is not None:
        until = keys.previous_until
        if until is not None and until > database.clock.now():
            described += f", the one before is accepted until {until:%Y-%m-%d %H:%M} UTC"
        else:
            described += ", the one before is not accepted any more: remove FARTHING_SECRET_KEY_PREVIOUS"
    return described
