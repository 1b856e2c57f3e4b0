"""Released migrations stay as they were: databases have gone through them, and the next ones must come out alike."""

from __future__ import annotations

import hashlib
from pathlib import Path

from farthing.storage import migrations
from farthing.storage.scope import row_level_security

RELEASED = Path(__file__).with_name("released.sha256")
"""The digest of each released migration, as `sha256sum` writes and checks them; CONTRIBUTING.md says who adds to it."""
VERSIONS = Path(migrations.__file__).with_name("versions")


def _digests(written: str) -> dict[str, str]:
    lines = (line.split("  ") for line in written.splitlines())
    return {name: digest for digest, name in lines}


def _changed(released: dict[str, str], folder: Path) -> list[str]:
    """Released files that are gone or hold something else now."""
    return [
        name
        for name, digest in released.items()
        if not (folder / name).exists() or hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest
    ]


def test_a_released_migration_never_changes() -> None:
    released = _digests(RELEASED.read_text())
    assert len(released) >= 56
    assert _changed(released, VERSIONS) == []
    later = {path.name for path in VERSIONS.glob("[0-9]*.py")} - released.keys()
    assert all(name > max(released) for name in later), "what is new comes after what was released"


def test_a_change_of_a_released_migration_is_noticed(tmp_path: Path) -> None:
    released = _digests(RELEASED.read_text())
    names = sorted(released)
    for name in names[2:]:
        (tmp_path / name).write_bytes((VERSIONS / name).read_bytes())
    (tmp_path / names[0]).write_bytes((VERSIONS / names[0]).read_bytes() + b"\n")
    assert sorted(_changed(released, tmp_path)) == names[:2]


def test_what_migrations_borrow_from_the_code_says_what_it_said() -> None:
    imported = {
        line
        for path in VERSIONS.glob("[0-9]*.py")
        for line in path.read_text().splitlines()
        if line.lstrip().startswith(("from farthing", "import farthing"))
    }
    assert imported == {"from farthing.storage.scope import row_level_security"}
    confined = [row_level_security("invoices", "environment_id"), row_level_security("users", "tenant_id")]
    said = "\n".join(statement for statements in confined for statement in statements)
    assert (
        hashlib.sha256(said.encode()).hexdigest() == "bc9477cd8b562d599e7833b0687328db47b6939d961d70ba35ed10e5a80d78cd"
    )
