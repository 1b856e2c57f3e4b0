"""Known vulnerabilities of what the lock file pins. Exit status: 0 none known, or nobody to ask; 1 found; 2 broken.

AUDIT_SERVICE_URL names another service that speaks OSV, for example a mirror inside a closed network; an argument
names another lock file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parent.parent / "requirements.lock"
SECONDS_PER_QUESTION = "5"
UNREACHABLE = "could not reach the vulnerability service: nothing was audited"
_SIGNS = (
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "Could not connect",
    "Max retries",
    "timed out",
    "HTTPError",
)


def audited(lock: Path) -> tuple[list[dict[str, Any]] | None, str]:
    """The packages with what is known of each, or None; and what the auditor said."""
    service = os.environ.get("AUDIT_SERVICE_URL")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(lock)),
            *("--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
            *("--timeout", SECONDS_PER_QUESTION, "--vulnerability-service", "osv"),
            *(("--osv-url", service) if service else ()),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return json.loads(ran.stdout)["dependencies"], ran.stderr
    except (ValueError, KeyError):
        return None, ran.stderr


def main() -> int:
    """Audit, and say what came of it."""
    lock = Path(sys.argv[1]) if len(sys.argv) > 1 else LOCK
    packages, said = audited(lock)
    if packages is None:
        if any(sign in said for sign in _SIGNS):
            print(UNREACHABLE)
            return 0
        print(said, file=sys.stderr)
        return 2
    found = [(package, known) for package in packages for known in package.get("vulns", ())]
    for package, known in found:
        better = ", ".join(known.get("fix_versions") or ()) or "no fixed version"
        print(f"{package['name']} {package['version']}: {known['id']} (fixed in: {better})")
    print(f"{len(packages)} packages, {len(found)} known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
