"""Run the few tests that failed in the last run again, three times, by themselves.

Among thousands of tests that share two cores with a database and browsers, one may fail for want of time. If each
passes three times by itself, the run stands, and the tests are named as unstable, to be mended; more than three
failures, or one that comes back, fail the run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FAILED = Path(".pytest_cache/v/cache/lastfailed")
MOST, TIMES = 3, 3


def main() -> int:
    """Run what failed again; 0 if none of it came back."""
    tests = list(json.loads(FAILED.read_text())) if FAILED.exists() else []
    if not 0 < len(tests) <= MOST:
        print(f"{len(tests)} tests to run again; from 1 to {MOST} would be", file=sys.stderr)
        return 1
    for _ in range(TIMES):
        if subprocess.run([".venv/bin/pytest", *tests], check=False).returncode:
            return 1
    for test in tests:
        print(f"UNSTABLE: {test} failed once beside others and passed {TIMES} times by itself")
    return 0


if __name__ == "__main__":
    sys.exit(main())
