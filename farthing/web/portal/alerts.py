"""Thresholds that a customer sets for what it spends, and the mails that tell it.

Rule: docs/rules/alerts.md#settings-of-spend
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.catalogue.products.alerts import AlertState
from farthing.core.clock import Clock
from farthing.core.composition import Composition
from farthing.core.encoding.decoding import convert
from farthing.core.enums import Status
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.money import ZERO, plain
from farthing.identity.settings.catalogue import EmailConfig
from farthing.identity.settings.current import read
from farthing.notifications.alert_enums import AlertOwner, SpendScope
from farthing.notifications.alert_tables import AlertLog, AlertSetting
from farthing.notifications.alerts import settings
from farthing.notifications.alerts.schemas import CreateAlertSettingsRequest, UpdateAlertSettingsRequest
from farthing.notifications.email.recipients import address_of, is_development
from farthing.settings import Settings
from farthing.storage.queries.rows import in_array, lock_row
from farthing.subscriptions.tables import Subscription
from farthing.web.access.visitors import form_of
from farthing.web.portal.subscriptions import own_subscription
from farthing.web.portal.usage import live_subscriptions, plan_names
from farthing.web.portal.visit.session import PortalVisit, customer_of, in_path, visit_of
from farthing.web.portal.visit.showing import done_here, portal_page, refused_here
from farthing.web.portal.visit.typed_numbers import typed_number
from farthing.web.rendering.answers import HttpRequest

_MOST_SHOWN = 20
_HERE = "/alerts"


@dataclass(frozen=True, slots=True)
class OwnAlert:
    """A subscription, and the customer's threshold for its spend, if there is one."""

    subscription: Subscription
    plan: str
    setting: AlertSetting | None

    @property
    def threshold(self) -> str:
        return "" if self.setting is None else str(self.setting.config["critical"]["threshold"])


class PortalAlerts(Controller):
    """Spend alerts of one customer; the address is the credential."""

    path = "/portal/{token:str}/alerts"
    include_in_schema = False

    @get("/", guards=[in_path("alerts")])
    async def show(self, request: HttpRequest, session: AsyncSession, services: Composition) -> Response[str]:
        """Each subscription with its threshold, and what came to one."""
        visit = visit_of(request)
        own = [row for row in await live_subscriptions(session, visit) if row.payer_id == row.customer_id]
        names = await plan_names(session, own)
        found = await _settings_of(session, [row.id for row in own])
        return portal_page(
            request,
            "portal/alerts.html",
            customer=await customer_of(session, visit),
            alerts=[OwnAlert(row, names.get(row.plan_id, ""), found.get(row.id)) for row in own],
            reached=await _reached(session, list(found.values())),
            currencies={row.id: row.currency for row in own},
            mailed_to=await _mailed_to(session, visit, services.part(Settings)),
        )

    @post("/{subscription_id:str}", guards=[in_path("alerts", read_only=False)])
    async def set(
        self, subscription_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Set a threshold, change it, or take it away; sent twice, it stands as after the first."""
        visit, given, now = visit_of(request), form_of(request), clock.now()
        try:
            await own_subscription(session, visit, subscription_id)
            # two forms at once come one after the other
            await lock_row(session, Subscription, subscription_id)
            setting = (await _settings_of(session, [subscription_id])).get(subscription_id)
            if given.get("action") == "remove":
                if setting is not None:
                    await settings.delete_setting(session, setting.id)
                return done_here(request, _HERE, "alert_removed")
            config = _config(visit, given.get("threshold", ""))
            if setting is None:
                body = {"entity_type": SpendScope.SUBSCRIPTION, "entity_id": subscription_id, "config": config}
                asked = convert(body, CreateAlertSettingsRequest)
                await settings.create_setting(session, asked, now, AlertOwner.CUSTOMER)
            else:
                change = convert({"config": config}, UpdateAlertSettingsRequest)
                await settings.update_setting(session, setting.id, change, now)
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused_here(request, _HERE, as_domain_error(error))
        return done_here(request, _HERE, "alert_set")


def _config(visit: PortalVisit, written: str) -> dict[str, Any]:
    threshold = typed_number(visit.words, "threshold", written)
    if threshold <= ZERO:
        raise ValidationFailed.of("threshold", "must be more than nothing")
    return {
        "alert_enabled": True,
        "alert_threshold_type": "absolute",
        "critical": {"threshold": plain(threshold), "condition": "above"},
    }


async def _settings_of(session: AsyncSession, subscription_ids: list[str]) -> dict[str, AlertSetting]:
    """The customer's own thresholds, by subscription."""
    table = AlertSetting
    rows = await session.scalars(
        select(table).where(
            in_array(table.subscription_id, subscription_ids),
            table.entity_type == SpendScope.SUBSCRIPTION,
            table.set_by == AlertOwner.CUSTOMER,
            table.status == Status.PUBLISHED,
        )
    )
    return {row.subscription_id: row for row in rows}


async def _reached(session: AsyncSession, found: list[AlertSetting]) -> list[AlertLog]:
    """When spend came to a threshold, newest first."""
    rows = await session.scalars(
        select(AlertLog)
        .where(
            in_array(AlertLog.alert_setting_id, [setting.id for setting in found]),
            AlertLog.alert_status != AlertState.OK,
        )
        .order_by(AlertLog.position.desc())
        .limit(_MOST_SHOWN)
    )
    return list(rows)


async def _mailed_to(session: AsyncSession, visit: PortalVisit, deployment: Settings) -> str:
    """The address that is written to; "" where no such mail leaves."""
    config = await read(session, EmailConfig)
    leaves = config.enabled and config.spend_alert and deployment.mail_server() is not None
    if not leaves or (deployment.mail_test_to is None and await is_development(session)):
        return ""
    return address_of(await customer_of(session, visit)) or ""
