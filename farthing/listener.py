"""The address a server listens on: taken by one process alone, before anything is served.

The HTTP server would share its port with whoever else asks for it in the same way (`SO_REUSEPORT`), and two
deployments would answer in turn. So the socket is made here, without that option, and handed to the server.
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.embed import Server

from farthing.settings import Settings

BACKLOG = 2048
MINDED = "stop what uses it, or choose another with --port or FARTHING_PORT"


class CannotListen(RuntimeError):
    """Nothing can be served at this address; the message says why and what to do."""


def listen(settings: Settings) -> socket.socket:
    """A socket that listens at the address of `settings`, which no other process has. Raises CannotListen."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise CannotListen(f"FARTHING_HOST '{settings.host}' is no address: {error.strerror}") from error
    listening = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":
            # connections of an earlier process that still linger are no obstacle; one that listens is
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise CannotListen(_why(settings, error)) from error
    listening.setblocking(False)
    return listening


def check_free(settings: Settings) -> None:
    """Refuse early, before an engine is started. Raises CannotListen."""
    listen(settings).close()


def _why(settings: Settings, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {settings.port} at {settings.host} is taken; {MINDED}"
    return f"cannot listen on port {settings.port} at {settings.host}: {error.strerror}"


class ListeningServer(Server):
    """The HTTP server on a socket that listens already."""

    def __init__(self, target: Any, listening: socket.socket, **options: Any) -> None:
        super().__init__(target, **options)
        self._listening = listening

    def _init_shared_socket(self) -> None:
        self._ssp = None
        self._shd = SocketHolder(self._listening.detach(), False, BACKLOG)  # type: ignore[assignment,call-arg]
