"""The master key beside a backup: which one it is, where it comes from, and keeping it apart."""

from __future__ import annotations

from pathlib import Path

from farthing.backup import BackupFailed
from farthing.backup.files import sync_folder, write_file
from farthing.backup.schema import Connection, TableShape
from farthing.identity.credentials.master_key import fingerprint
from farthing.payments.integrations.credentials import Safe
from farthing.settings import Settings
from farthing.storage.scope import ANY_TENANT


def key_path(settings: Settings) -> Path:
    """Where the embedded mode keeps the master key."""
    return Path(settings.data_dir) / "secret.key"


def configured_key(settings: Settings) -> str:
    """The master key in use; unlike a start, this makes none. Raises BackupFailed."""
    if settings.secret_key is None and not key_path(settings).exists():
        raise BackupFailed(
            f"there is no master key: neither FARTHING_SECRET_KEY nor {key_path(settings)}. "
            "Give the one that this database was used with"
        )
    return settings.master_key()


def require_key_of_rows(
    connection: Connection, shapes: dict[str, TableShape], environment_ids: list[str], master: str
) -> None:
    """Look in the database for signs of its master key. Raises BackupFailed when they are another's.

    A backup under a wrong key's fingerprint could be restored with that wrong key only.
    """
    wrong = BackupFailed(
        "the master key given is not the one this database is used with; "
        "set FARTHING_SECRET_KEY, or secret.key in the data folder, to that one"
    )
    if "master_keys" in shapes:
        in_force = connection.execute("SELECT id FROM master_keys WHERE accepted_until IS NULL").fetchall()
        if in_force and (fingerprint(master),) not in in_force:
            raise wrong
    if "connections" in shapes and "credentials_key_id" in shapes["connections"].columns:
        sealed_by: set[str] = set()
        for environment_id in environment_ids:
            enter_scope(connection, environment_id)
            query = "SELECT DISTINCT credentials_key_id FROM connections WHERE credentials_key_id <> ''"
            sealed_by.update(key_id for (key_id,) in connection.execute(query))
        if sealed_by and Safe(master).key_id not in sealed_by:
            raise wrong


def enter_scope(connection: Connection, environment_id: str) -> None:
    """See, until the transaction ends or enters another, the rows of all tenants and those of one environment."""
    connection.execute(
        "SELECT set_config('farthing.tenant_id', %s, true), set_config('farthing.environment_id', %s, true)",
        (ANY_TENANT, environment_id),
    )


def require_room_for_key(path: Path, backup: Path) -> None:
    """Refuse a place for the key that is taken, or in the backup itself. Raises BackupFailed."""
    if path.exists():
        raise BackupFailed(f"{path} exists already; the key is never written over another file")
    if path.resolve().is_relative_to(backup.resolve()):
        raise BackupFailed(f"{path} is inside the backup; the key must be kept apart from it")


def write_key(path: Path, master: str) -> None:
    """Keep the master key in a file of its own that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, master.encode() + b"\n")
    sync_folder(path.parent)


def read_key(path: Path) -> str:
    """The key in a file. Raises BackupFailed."""
    try:
        master = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BackupFailed(f"the key file {path} cannot be read: {error}") from None
    if not master:
        raise BackupFailed(f"the key file {path} is empty")
    return master
