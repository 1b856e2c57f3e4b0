"""Credit grants on the pages of plans, addons and subscriptions: what there is, a new one, and the end of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Response, post
from litestar.response import Redirect
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.catalogue.plans.credit_grants import (
    CreateCreditGrantRequest,
    CreditGrantCadence,
    CreditGrantExpiryType,
    CreditGrantPeriod,
    CreditGrantScope,
    DurationUnit,
)
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.credits.grants import lifecycle
from farthing.credits.grants.tables import CreditGrant, CreditGrantApplication
from farthing.storage.queries.rows import find
from farthing.web.access.visitors import changes, form_of
from farthing.web.rendering.answers import HttpRequest, done, refused

MOST_SHOWN = 12
_OPTIONAL = ("priority", "rollover_maximum", "conversion_rate")


async def latest_applications(session: AsyncSession, subscription_id: str) -> Sequence[CreditGrantApplication]:
    """The newest applications of a subscription's grants, and those to come, the latest first."""
    table = CreditGrantApplication
    query = select(table).where(table.subscription_id == subscription_id)
    return (await session.scalars(query.order_by(table.period_start.desc(), table.id.desc()).limit(MOST_SHOWN))).all()


def home_of(scope: CreditGrantScope, owner_id: str) -> str:
    """The page that shows what a grant is of."""
    if scope is CreditGrantScope.SUBSCRIPTION:
        return f"/subscriptions/{owner_id}"
    return f"/catalogue/{scope.value.lower()}s/{owner_id}"


class GrantForms(Controller):
    """What the forms of credit grants ask for."""

    path = "/"
    include_in_schema = False

    @post("/catalogue/plans/{owner_id:str}/grants", guards=[changes("creditgrant")])
    async def for_plan(self, owner_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[Any]:
        """Make a grant that comes with a plan."""
        return await _make(request, session, clock, CreditGrantScope.PLAN, owner_id)

    @post("/catalogue/addons/{owner_id:str}/grants", guards=[changes("creditgrant")])
    async def for_addon(
        self, owner_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[Any]:
        """Make a grant that comes with an addon."""
        return await _make(request, session, clock, CreditGrantScope.ADDON, owner_id)

    @post("/subscriptions/{owner_id:str}/grants", guards=[changes("creditgrant")])
    async def for_subscription(
        self, owner_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[Any]:
        """Grant a subscription credits."""
        return await _make(request, session, clock, CreditGrantScope.SUBSCRIPTION, owner_id)

    @post("/grants/{grant_id:str}/end", guards=[changes("creditgrant")])
    async def end(self, grant_id: str, request: HttpRequest, session: AsyncSession, clock: Clock) -> Response[Any]:
        """Archive a template, or end a subscription's grant now."""
        grant = await find(session, CreditGrant, grant_id)
        owner_id = grant.subscription_id or (grant.plan_id if grant.scope is CreditGrantScope.PLAN else grant.addon_id)
        path = home_of(grant.scope, owner_id or "")
        try:
            await lifecycle.delete(session, grant_id, None, clock.now())
        except FarthingError as error:
            return await refused(request, path, error)
        ended = "Ended" if grant.subscription_id is not None else "Archived"
        return done(request, path, f"{ended}. What was granted already stays.")


async def _make(
    request: HttpRequest, session: AsyncSession, clock: Clock, scope: CreditGrantScope, owner_id: str
) -> Redirect:
    path = home_of(scope, owner_id)
    try:
        body = _body(form_of(request)) | {"scope": scope.value, f"{scope.value.lower()}_id": owner_id}
        await lifecycle.create(session, convert(body, CreateCreditGrantRequest, strict=False), clock.now())
    except FarthingError as error:
        return await refused(request, path, error)
    return done(request, path, "The credit grant was made.")


def _body(form: dict[str, str]) -> dict[str, Any]:
    """What the form says, as a request says it."""
    body: dict[str, Any] = {"name": form.get("name", ""), "credits": form.get("credits", "")}
    body |= {name: form[name] for name in _OPTIONAL if form.get(name)}
    rhythm = form.get("rhythm", "")
    if rhythm in set(CreditGrantPeriod):
        body |= {"cadence": CreditGrantCadence.RECURRING.value, "period": rhythm, "period_count": 1}
    else:
        body["cadence"] = CreditGrantCadence.ONETIME.value
    expires = form.get("expires", "")
    if expires in set(DurationUnit):
        if not form.get("duration"):
            raise ValidationFailed.of("duration", f"is needed: after how many {expires.lower()}s do they expire?")
        body |= {"expiration_type": CreditGrantExpiryType.DURATION.value, "expiration_duration_unit": expires}
        body["expiration_duration"] = form["duration"]
    else:
        body["expiration_type"] = expires
    return body
