"""The routers of an application."""

from __future__ import annotations

from typing import Any

from litestar import Router


class ApplicationRouter(Router):
    """A router that is made for one application and registered with it alone.

    The framework registers a deep copy of a router, for several applications may share it. Copying hundreds of handlers
    takes half the time of a start, so this one is registered as it is, and made anew for each application.
    """

    def __deepcopy__(self, _copies: dict[int, Any]) -> ApplicationRouter:
        return self
