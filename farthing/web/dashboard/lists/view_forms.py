"""Forms by which a person saves a view of a list, and deletes one."""

from __future__ import annotations

from litestar import Controller, Response, post
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.core.caller import WRITE
from farthing.core.clock import Clock
from farthing.core.errors import FarthingError, NotFound
from farthing.web.access.visitors import form_of, own_account, visitor_of
from farthing.web.dashboard.lists.saved_views import delete_view, save_view
from farthing.web.rendering.answers import HttpRequest, done, refused
from farthing.web.rendering.words.wording import with_query

LISTS = frozenset({"invoices", "customers", "subscriptions"})
"""The lists whose views can be saved; each is at the address of its name."""
_PARAMETER = "with-"


class SavedViewForms(Controller):
    """Views of lists that a person keeps."""

    path = "/lists"
    include_in_schema = False

    @post("/{list_key:str}/views", guards=[own_account(WRITE)])
    async def save(self, list_key: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[str]:
        """Keep how the list is filtered, sorted and which columns it has."""
        form = form_of(request)
        parameters = {
            name.removeprefix(_PARAMETER): value for name, value in form.items() if name.startswith(_PARAMETER)
        }
        address = f"/{_known(list_key)}{with_query(parameters)}"
        name, user_id = form.get("view_name", ""), visitor_of(request).caller.user_id
        try:
            await save_view(session, user_id, list_key, name, parameters, clock.now())
        except FarthingError as error:
            return await refused(request, address, error)
        return done(request, address, f"Saved as “{name}”.")

    @post("/views/{view_id:str}/delete", guards=[own_account(WRITE)])
    async def delete(self, view_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Forget a view of one's own."""
        list_key = _known(form_of(request).get("list", ""))
        await delete_view(session, visitor_of(request).caller.user_id, view_id)
        return done(request, f"/{list_key}", "The view is deleted.")


def _known(list_key: str) -> str:
    """Raises NotFound for anything that is no list."""
    if list_key not in LISTS:
        raise NotFound(f"There is no list '{list_key}'", {"list": list_key})
    return list_key
