"""Forgetting old files in the export folder. What lies in buckets is their owners'; buckets have rules of their own.

Rule: docs/rules/imports-and-exports.md#how-long-files-are-kept
"""

from __future__ import annotations

from datetime import datetime, timedelta

from farthing.settings import Settings


def forget_exported_files(settings: Settings, now: datetime) -> int:
    """Delete the files that were exported before the time they are kept for; how many. `now` is real time."""
    folder = settings.export_folder
    if folder is None or not settings.export_retention_days or not folder.is_dir():
        return 0
    before = (now - timedelta(days=settings.export_retention_days)).timestamp()
    forgotten = 0
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_mtime < before:
            path.unlink(missing_ok=True)
            forgotten += 1
    return forgotten
