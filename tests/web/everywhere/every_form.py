"""Every form of the pages, from the application itself."""

from __future__ import annotations

from tests.application import routed_application

_WITHOUT_SESSION = ("/v1", "/portal", "/checkout/", "/health", "/schema")
"""What is open to whoever has its address, or to keys, has no session that another site could use."""
FORMS = sorted(
    (route.path_format, handler.opt)
    for route in routed_application().routes
    for handler in getattr(route, "route_handlers", ())
    if "POST" in handler.http_methods and not route.path_format.startswith(_WITHOUT_SESSION)
)
