"""Run the benchmarks: all of them, or those named. `--write` puts the results into docs/benchmarks.md."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path

from benchmarks.harness import Report, machine

ALL = {
    "service": "service",
    "summary": "reads.summary",
    "plans": "reads.plans",
    "lists": "reads.lists",
    "processes": "processes",
    "ingest": "events.ingest",
    "writes": "writes",
    "tail": "events.tail",
    "usage": "events.usage",
    "by_month": "events.by_month",
    "billing_run": "billing.run",
    "billing_terms": "billing.terms",
    "billing_processes": "billing.processes",
    "webhooks": "events.webhooks",
    "credits": "billing.credits",
    "reports": "reads.reports",
    "pages": "reads.pages",
    "neighbours": "neighbours",
    "transfer": "events.transfer",
    "story": "billing.story",
}
"""The benchmarks in the order in which they run, each with its module."""
DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
MARK = "<!-- results below are written by `make bench ARGS=--write` -->"


def main() -> None:
    names = [name for name in sys.argv[1:] if not name.startswith("--")] or list(ALL)
    report = Report()
    print(machine())
    for name in names:
        print(f"\n{name}")
        asyncio.run(importlib.import_module(f"benchmarks.{ALL[name]}").measure(report))
    if "--write" in sys.argv:
        kept = DOCUMENT.read_text().partition(MARK)[0]
        DOCUMENT.write_text(f"{kept}{MARK}\n\nOn {machine()}.\n\n{report.markdown()}")


if __name__ == "__main__":
    main()
