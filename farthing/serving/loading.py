"""Loading the application beside the start of its PostgreSQL, which takes as long and mostly waits."""

from __future__ import annotations

import gc
import threading
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litestar import Litestar


class Loading:
    """Loads the application in a thread of its own, and arranges its routes if it is to serve.

    Nothing else may import what it loads before `wait_for_code` has returned: two threads that import what imports one
    another may each see half of it.
    """

    def __init__(self, *, serves: bool) -> None:
        self._serves = serves
        self._routes: Litestar | None = None
        self._failure: BaseException | None = None
        self._has_code = threading.Event()
        self._thread = threading.Thread(target=self._load, name="loading", daemon=True)
        self._thread.start()

    def wait_for_code(self) -> None:
        """Return when everything is imported. Raises what the import raised."""
        self._has_code.wait()
        self._raise_failure()

    def routes(self) -> Litestar:
        """The routes of one application, when they are arranged."""
        self._thread.join()
        self._raise_failure()
        assert self._routes is not None, "it is not to serve"
        return self._routes

    def _load(self) -> None:
        gc.disable()  # to look through what stays, again and again while it grows, is a tenth of what loading costs
        try:
            application = import_module("farthing.app")
            import_module("farthing.serving.document")
            import_module("farthing.serving.supervisor")
            self._has_code.set()
            if self._serves:
                self._routes = application.arranged()
        except BaseException as failure:  # noqa: BLE001 (raised where it is waited for)
            self._failure = failure
        finally:
            gc.freeze()  # and nobody looks through it later
            gc.enable()
            self._has_code.set()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
