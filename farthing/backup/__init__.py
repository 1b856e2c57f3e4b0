"""Backups: every row of a Farthing database in a folder of files, and an empty database filled from it.

Owns the format (`manifest`), taking a backup (`export`) and restoring one (`load`). A backup is one snapshot of the
database, whatever is written meanwhile, and holds no tables' definitions: a restore makes them with the migrations of
the backup's revision, so that any PostgreSQL 15 or later takes it, under any role's name.

Invariants: a folder of the name that was asked for is a whole backup; the master key is never in it; a restore
touches nothing before every checksum and the key have been found right, and either all of it happens or none.
"""

from __future__ import annotations


class BackupFailed(RuntimeError):
    """A backup or a restore cannot be done; the message says why and what to do."""
