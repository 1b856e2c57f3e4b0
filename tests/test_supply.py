"""What is installed, and what is known against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from farthing.commands.sbom import software_bill

AUDIT = Path(__file__).parent.parent / ".ci" / "audit.py"
LOCK = f"jinja2==3.1.6 --hash=sha256:{'0' * 64}\nidna==3.18 --hash=sha256:{'1' * 64}\n"


def test_the_bill_names_what_is_installed() -> None:
    bill = json.loads(software_bill())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "farthing")
    urls = {component["purl"].split("@")[0] for component in bill["components"]}
    assert {"pkg:pypi/litestar", "pkg:pypi/sqlalchemy", "pkg:pypi/psycopg"} <= urls
    assert all(component["version"] for component in bill["components"])


@contextmanager
def vulnerability_service(knows: dict[str, Any]) -> Iterator[str]:
    """A service that speaks OSV and knows one vulnerability of some packages."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            known = knows.get(asked["package"]["name"])
            body = json.dumps({"vulns": [known]} if known else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def audit(lock: Path, url: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AUDIT_SERVICE_URL": url}
    command = [sys.executable, str(AUDIT), str(lock)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text(LOCK)
    return path


VULNERABLE = {
    "id": "GHSA-0000-0000-0000",
    "modified": "2026-01-01T00:00:00Z",
    "published": "2026-01-01T00:00:00Z",
    "summary": "bad",
    "details": "bad",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "jinja2"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.1.7"}]}],
        }
    ],
}


def test_a_known_vulnerability_fails(lock: Path) -> None:
    with vulnerability_service({"jinja2": VULNERABLE}) as url:
        ran = audit(lock, url)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert "jinja2 3.1.6: GHSA-0000-0000-0000 (fixed in: 3.1.7)" in ran.stdout


def test_nothing_known_passes(lock: Path) -> None:
    with vulnerability_service({}) as url:
        ran = audit(lock, url)
    assert (ran.returncode, ran.stdout) == (0, "2 packages, 0 known vulnerabilities\n")


def test_nobody_to_ask_fails_nothing_and_says_so(lock: Path) -> None:
    ran = audit(lock, "http://127.0.0.1:9/")
    assert ran.returncode == 0, ran.stderr
    assert "could not reach the vulnerability service" in ran.stdout


def test_a_lock_file_that_cannot_be_read_is_no_pass(tmp_path: Path) -> None:
    assert audit(tmp_path / "missing", "http://127.0.0.1:9/").returncode == 2
