"""What lives as long as the process, as routes and guards ask for it: one value in the application's state.

`farthing.app` puts it together with a required field for each service. A handler takes `services: Composition`; what
has only a connection calls `services_of`.
"""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import State

from farthing.core.composition import Composition

_KEY = "services"


def give_services(state: State, services: Composition) -> None:
    """Let the application that has this state have these services."""
    state[_KEY] = services


def services_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Composition:
    """The services of the application that a request came to."""
    return services_in(connection.app.state)


def services_in(state: State) -> Composition:
    """The services that were given to the application of this state."""
    services: Composition = state[_KEY]
    return services
