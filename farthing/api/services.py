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


def state_with(services: Composition) -> State:
    """The state of an application that has these services."""
    return State({_KEY: services})


def services_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Composition:
    """The services of the application that a request came to."""
    services: Composition = connection.app.state[_KEY]
    return services
