"""An embedded PostgreSQL that outlives the process that started it: the next start ends it first, and loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from farthing.storage.embedded import EmbeddedPostgres
from tests.waiting import PATIENCE_SECONDS

# the server is not told when its parent ends, as on systems that cannot do that
_DIES_WITHOUT_WORD = """
import os, signal, sys
from pathlib import Path
from farthing.storage import embedded

embedded._PR_SET_PDEATHSIG = 3
server = embedded.EmbeddedPostgres(Path(sys.argv[1]), {"fsync": "off"})
server.start()
print(server.process_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.database
def test_a_server_that_has_ended_and_that_nobody_reaps_keeps_no_start_waiting(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    unreaped = EmbeddedPostgres(folder, {"fsync": "off"})
    unreaped.start()
    assert unreaped._lock is not None
    unreaped._lock.close()  # as if its process were gone; it is a child of this one, which does not wait for it
    with EmbeddedPostgres(folder, {"fsync": "off"}):
        assert psutil.Process(unreaped.process_id).status() == psutil.STATUS_ZOMBIE
    unreaped.stop()


@pytest.mark.slow
def test_the_next_start_stops_a_server_that_was_left_behind(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    died = subprocess.run(
        [sys.executable, "-c", _DIES_WITHOUT_WORD, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=2 * PATIENCE_SECONDS,
    )
    assert died.returncode == -signal.SIGKILL
    leftover = psutil.Process(int(died.stdout))
    try:
        assert leftover.is_running()
        url = EmbeddedPostgres(folder).url()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        with EmbeddedPostgres(folder, {"fsync": "off"}) as server, psycopg.connect(url) as connection:
            assert server.process_id != leftover.pid
            assert not leftover.is_running() or leftover.status() == psutil.STATUS_ZOMBIE
            assert connection.execute("SELECT number FROM kept").fetchall() == [(1,)]
    finally:
        if leftover.is_running():
            os.kill(leftover.pid, signal.SIGQUIT)
