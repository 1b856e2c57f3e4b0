"""The address a server listens on: taken by one process alone, before anything is served.

The HTTP server would share its port with whoever else asks for it in the same way (`SO_REUSEPORT`), and two
deployments would answer in turn. So the socket is made here, without that option, and handed to the server. Processes
that serve together share it in that way, so that the kernel spreads connections over them: there a lock keeps others
out.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from granian.constants import HTTPModes
from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.embed import Server

from farthing.settings import Settings

BACKLOG = 2048
DYING_SECONDS = 2.0
"""How long the address may still be held by processes that were killed and are not gone yet."""
Taken = TypeVar("Taken")
MINDED = "stop what uses it, or choose another with --port or FARTHING_PORT"


class CannotListen(RuntimeError):
    """Nothing can be served at this address; the message says why and what to do."""


def listen(settings: Settings) -> socket.socket:
    """A socket that listens at the address of `settings`, which no other process has. Raises CannotListen."""
    listening = _patiently(lambda: _bound(settings, *_address(settings)))
    try:
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise CannotListen(_why(settings, error)) from error
    return listening


class SharedAddress:
    """The address of processes that serve together: each listens on a socket of its own when it is ready.

    Nobody else can take the address while this is there. Raises CannotListen.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._family, self._address = _address(settings)
        listen(settings).close()  # nobody has it now, and those who start together go one by one
        name = hashlib.sha256(f"{os.getuid()} {self._address}".encode()).hexdigest()[:16]
        self._lock = os.open(Path(tempfile.gettempdir()) / f"farthing-{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _patiently(self._take_lock)
        except CannotListen:
            os.close(self._lock)
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotListen(_why(self._settings, OSError(errno.EADDRINUSE, ""))) from error

    def socket(self) -> socket.socket:
        """One more socket at the address, which does not listen yet."""
        made = _bound(self._settings, self._family, self._address, shared=True)
        self._address = made.getsockname()  # of port 0 the first socket makes one
        return made


def _patiently(take: Callable[[], Taken]) -> Taken:
    """What `take` takes, which is tried again for a while. Raises CannotListen."""
    deadline = time.monotonic() + DYING_SECONDS
    while True:
        try:
            return take()
        except CannotListen:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _address(settings: Settings) -> tuple[socket.AddressFamily, Any]:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise CannotListen(f"FARTHING_HOST '{settings.host}' is no address: {error.strerror}") from error
    return family, address


def _bound(settings: Settings, family: socket.AddressFamily, address: Any, *, shared: bool = False) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            # connections of an earlier process that still linger are no obstacle; one that listens is
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise CannotListen(_why(settings, error)) from error
    bound.setblocking(False)
    return bound


def check_free(settings: Settings) -> None:
    """Refuse early, before an engine is started. Raises CannotListen."""
    listen(settings).close()


def _why(settings: Settings, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {settings.port} at {settings.host} is taken; {MINDED}"
    return f"cannot listen on port {settings.port} at {settings.host}: {error.strerror}"


class ListeningServer(Server):
    """The HTTP server on a socket that listens already. It speaks HTTP/1.1: a connection in HTTP/2 would have no limit
    to how long its headers may take."""

    def __init__(self, target: Any, listening: socket.socket, **options: Any) -> None:
        super().__init__(target, http=HTTPModes.http1, **options)
        self._listening = listening
        self._identity = _identity(listening.fileno())

    def step_aside(self) -> None:
        """Accept no more connections, and go on answering those that there are.

        The socket is its successor's now, and the server would hang up on who has connected and not asked yet if it
        were told to stop at once. So each of its handles becomes one of another socket, whose address nobody knows;
        which handles there are, Linux says.
        """
        if not sys.platform.startswith("linux"):
            return
        with socket.socket() as unknown:
            unknown.setblocking(False)
            unknown.bind(("127.0.0.1", 0))
            unknown.listen(1)
            for handle in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
                if _identity(handle) == self._identity:
                    os.dup2(unknown.fileno(), handle)

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._shd = SocketHolder(self._listening.detach(), False, BACKLOG)  # type: ignore[assignment,call-arg]


def _identity(handle: int) -> tuple[int, int] | None:
    """What a file descriptor is of; None when it was closed meanwhile."""
    try:
        found = os.fstat(handle)
    except OSError:
        return None
    return found.st_dev, found.st_ino
