"""Where the embedded PostgreSQL has its socket."""

from __future__ import annotations

import tempfile
from pathlib import Path

from farthing.storage.embedded import LONGEST_SOCKET_FOLDER, EmbeddedPostgres


def test_a_socket_is_in_the_data_folder_unless_its_path_is_too_long() -> None:
    short, long = Path("/srv/farthing-data"), Path("/srv") / ("x" * LONGEST_SOCKET_FOLDER)
    assert EmbeddedPostgres(short).sockets == short / "run"
    elsewhere = EmbeddedPostgres(long).sockets
    assert elsewhere.parent == Path(tempfile.gettempdir())
    assert elsewhere == EmbeddedPostgres(long).sockets, "a command finds that of a running server"
    assert elsewhere != EmbeddedPostgres(long / "another").sockets
