"""Alerts: what came to a threshold, and the thresholds of spend and of wallets, to set and to remove."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
from litestar import Controller, Response, get, post
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from farthing.api.errors import as_domain_error
from farthing.catalogue.entitlements.enums import GrantMeasure
from farthing.catalogue.products.alerts import LEVELS, AlertState
from farthing.catalogue.products.tables import Feature, GroupRow
from farthing.core.clock import Clock
from farthing.core.encoding.decoding import convert
from farthing.core.enums import PriceType, Status
from farthing.core.errors import FarthingError, ValidationFailed
from farthing.core.money import plain
from farthing.credits.ledger.tables import Wallet
from farthing.credits.schemas import UpdateWalletRequest
from farthing.credits.wallets import lifecycle
from farthing.customers.tables import Customer
from farthing.invoices.pdf.figures import grouped
from farthing.notifications.alert_enums import AlertEntityType, AlertOwner, AlertType, SpendScope
from farthing.notifications.alert_tables import AlertLog, AlertSetting
from farthing.notifications.alerts import settings
from farthing.notifications.alerts.reads import alerts_page
from farthing.notifications.alerts.schemas import AlertLogQuery, CreateAlertSettingsRequest
from farthing.storage.queries.rows import find, in_array
from farthing.subscriptions.tables import Subscription, SubscriptionLineItem
from farthing.subscriptions.usage_windows import EntitlementGrant
from farthing.web.access.visitors import changes, form_of, shows
from farthing.web.dashboard.choosing import customer_id_of
from farthing.web.rendering.answers import HttpRequest, done, refused, render
from farthing.web.rendering.listing import listing
from farthing.web.rendering.typed_fields import number_in
from farthing.web.rendering.words.wording import money, reason

PAGE = "/alerts"
MOST_SHOWN = 10
MOST_SETTINGS = 200
KINDS = {
    AlertType.LOW_ONGOING_BALANCE: "Balance after what is owed",
    AlertType.LOW_CREDIT_BALANCE: "Balance",
    AlertType.FEATURE_WALLET_BALANCE: "Balance for a feature",
    AlertType.SUBSCRIPTION_SPEND: "Spend",
    AlertType.SUBSCRIPTION_LINE_ITEM_SPEND: "Spend of a line item",
    AlertType.SUBSCRIPTION_GROUP_SPEND: "Spend of a group",
    AlertType.ENTITLEMENT_GRANT_THRESHOLD: "Granted usage",
    AlertType.ENTITLEMENT_GRANT_EXHAUSTED: "Granted usage",
}
_OF_SPEND = frozenset(
    {AlertType.SUBSCRIPTION_SPEND, AlertType.SUBSCRIPTION_LINE_ITEM_SPEND, AlertType.SUBSCRIPTION_GROUP_SPEND}
)
_OF_GRANTS = frozenset({AlertType.ENTITLEMENT_GRANT_THRESHOLD, AlertType.ENTITLEMENT_GRANT_EXHAUSTED})
_OF_MONEY = _OF_SPEND | _OF_GRANTS
"""What may be counted in the currency of a subscription."""
_WORDS = {"critical": "in alarm", "warning": "a warning", "info": "information"}


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """One alert: what it is about, what that came to with its unit, whose it is, and the page that shows it."""

    row: AlertLog
    kind: str
    about: str
    value: str
    customer: str
    path: str


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """Thresholds of spend, what they are for in words, and what they do in a sentence."""

    row: AlertSetting
    about: str
    sentence: str


def sentence(config: Mapping[str, Any], what: str, written: Callable[[str], str]) -> str:
    """What thresholds do, for whoever did not set them; `written` is a threshold with what it is counted in."""
    parts = [f"{_WORDS[level]} at {written(config[level]['threshold'])}" for level in LEVELS if config.get(level)]
    if not config["alert_enabled"] or not parts:
        return f"{what} is not watched."
    conditions = {config[level]["condition"] for level in LEVELS if config.get(level)}
    side = "or more" if "above" in conditions else "or less"
    return f"{what} is {', '.join(parts)} {side}."


async def shown_alerts(session: AsyncSession, rows: Sequence[AlertLog]) -> list[ShownAlert]:
    """Alerts with the names of what they are about, one query for each kind of thing."""
    names = await _names(session, rows, {row.customer_id for row in rows if row.customer_id})
    grants = await _grants(session, {row.entity_id for row in rows if row.alert_type in _OF_GRANTS})
    currencies = await _currencies(session, {_owner_id(row) for row in rows if row.alert_type in _OF_MONEY})
    names |= {grant_id: grant.feature.name for grant_id, grant in grants.items()}
    return [
        ShownAlert(
            row,
            KINDS[row.alert_type],
            names.get(row.entity_id, row.entity_id),
            _value(row, currencies, grants),
            names.get(row.customer_id or "", ""),
            _path(row),
        )
        for row in rows
    ]


async def latest_alerts(session: AsyncSession, entity_id: str) -> list[ShownAlert]:
    """The newest alerts about an entity, or about parts of it."""
    own = (AlertLog.entity_id == entity_id) | (AlertLog.parent_entity_id == entity_id)
    newest = select(AlertLog).where(own).order_by(AlertLog.position.desc()).limit(MOST_SHOWN)
    return await shown_alerts(session, (await session.scalars(newest)).all())


async def settings_of(session: AsyncSession, subscription: Subscription) -> list[ShownSetting]:
    """The thresholds of a subscription, its line items and groups."""
    rows = await session.scalars(
        select(AlertSetting)
        .where(AlertSetting.subscription_id == subscription.id, AlertSetting.status == Status.PUBLISHED)
        .order_by(AlertSetting.created_at, AlertSetting.id)
        .limit(MOST_SETTINGS)
    )
    found = rows.all()
    names = await _names(session, found)
    return [
        ShownSetting(
            row,
            _about(row, names),
            sentence(row.config, "The spend of a period", _written_in(row.config, subscription.currency)),
        )
        for row in found
    ]


def _about(row: AlertSetting, names: Mapping[str, str]) -> str:
    what = "The whole subscription" if row.entity_type is SpendScope.SUBSCRIPTION else names.get(row.entity_id, "")
    return f"{what}, set by the customer" if row.set_by is AlertOwner.CUSTOMER else what


async def scopes_of(session: AsyncSession, subscription: Subscription) -> list[tuple[str, str]]:
    """What spend can be watched for: the value of the form's choice, and its words."""
    items = await session.execute(
        select(SubscriptionLineItem.id, SubscriptionLineItem.display_name)
        .where(
            SubscriptionLineItem.subscription_id == subscription.id,
            SubscriptionLineItem.status == Status.PUBLISHED,
            SubscriptionLineItem.price_type == PriceType.USAGE,
            SubscriptionLineItem.end_date.is_(None),
        )
        .order_by(SubscriptionLineItem.display_name, SubscriptionLineItem.id)
        .limit(MOST_SETTINGS)
    )
    groups = await session.execute(
        select(GroupRow.id, GroupRow.name)
        .where(GroupRow.status == Status.PUBLISHED)
        .order_by(GroupRow.name, GroupRow.id)
        .limit(MOST_SETTINGS)
    )
    return [
        (f"{SpendScope.SUBSCRIPTION.value}:{subscription.id}", "The whole subscription"),
        *((f"{SpendScope.SUBSCRIPTION_LINE_ITEM.value}:{row.id}", f"Line item: {row.display_name}") for row in items),
        *((f"{SpendScope.GROUP.value}:{row.id}", f"Group: {row.name}") for row in groups),
    ]


class AlertPages(Controller):
    """Alerts and thresholds."""

    path = "/"
    include_in_schema = False

    @get(PAGE, guards=[shows("alert_settings")])
    async def all(self, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """The log, newest first, narrowed by state and kind."""
        shown = listing(request, (), "")
        state, kind = request.query_params.get("state", ""), request.query_params.get("kind", "")
        typed, problem, customer_id = request.query_params.get("customer", "").strip()[:255], "", ""
        try:
            customer_id = await customer_id_of(session, typed, "customer")
        except FarthingError as error:
            problem = reason(error)
        query = AlertLogQuery(
            limit=shown.per_page,
            offset=shown.offset,
            alert_status=AlertState(state) if state in set(AlertState) else None,
            alert_type=AlertType(kind) if kind in set(AlertType) else None,
            customer_id=customer_id or None,
        )
        rows, shown.total = ([], 0) if problem else await alerts_page(session, query)
        return render(
            request,
            "alerts.html",
            alerts=await shown_alerts(session, rows),
            listing=shown,
            state=state,
            kind=kind,
            customer=typed,
            problem=problem,
            states=[(each.value, each.value.replace("_", " ").capitalize()) for each in AlertState],
            kinds=[(each.value, words) for each, words in KINDS.items()],
        )

    @post("/subscriptions/{subscription_id:str}/alerts", guards=[changes("alert_settings")])
    async def watch(
        self, subscription_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Set thresholds for the spend of a subscription, a line item or a group."""
        given, here = form_of(request), f"/subscriptions/{subscription_id}"
        kind, _, entity_id = given.get("scope", "").partition(":")
        try:
            body = {"entity_type": kind, "entity_id": entity_id, "config": _config(given, "above")}
            if kind != SpendScope.SUBSCRIPTION:
                body |= {"parent_entity_type": "subscription", "parent_entity_id": subscription_id}
            await settings.create_setting(session, convert(body, CreateAlertSettingsRequest), clock.now())
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, here, as_domain_error(error))
        return done(request, here, "The spend is watched.")

    @post("/alerts/settings/{setting_id:str}/delete", guards=[changes("alert_settings")])
    async def forget(self, setting_id: str, request: HttpRequest, session: AsyncSession) -> Response[str]:
        """Remove thresholds of spend."""
        here = f"/subscriptions/{(await find(session, AlertSetting, setting_id)).subscription_id}"
        await settings.delete_setting(session, setting_id)
        return done(request, here, "The spend is not watched any more.")

    @post("/wallets/{wallet_id:str}/alerts", guards=[changes("wallet")])
    async def watch_wallet(
        self, wallet_id: str, request: HttpRequest, session: AsyncSession, clock: Clock
    ) -> Response[str]:
        """Set a wallet's own thresholds, switch them off, or leave it those of the environment."""
        given, here = form_of(request), f"/wallets/{wallet_id}"
        try:
            match given.get("mode"):
                case "own":
                    config: dict[str, Any] | None = _config(given, "below")
                case "off":
                    config = {"alert_enabled": False}
                case "environment":
                    config = None
                case _:
                    raise ValidationFailed.of("mode", "must be chosen from the list")
            asked = convert({"alert_settings": config}, UpdateWalletRequest)
            await lifecycle.update(session, wallet_id, asked, clock.now())
        except (FarthingError, msgspec.ValidationError) as error:
            return await refused(request, here, as_domain_error(error))
        return done(request, here, "The thresholds are set.")


def wallet_sentence(config: Mapping[str, Any]) -> str:
    """What the thresholds of a wallet do."""
    unit = "per cent of the credits granted" if config.get("alert_threshold_type") == "percentage" else "credits"
    return sentence(config, "Its balance", lambda threshold: f"{grouped(Decimal(threshold))} {unit}")


def _config(given: Mapping[str, str], condition: str) -> dict[str, Any]:
    """The thresholds of a form; those left empty are none. Raises ValidationFailed where all are."""
    levels = {
        level: {"threshold": plain(number_in(level, given[level])), "condition": condition}
        for level in LEVELS
        if given.get(level, "").strip()
    }
    if not levels:
        raise ValidationFailed.of("critical", "or another level must be given")
    return {
        "alert_enabled": True,
        "alert_threshold_type": "percentage" if given.get("percentage") == "yes" else "absolute",
        **levels,
    }


def _written_in(config: Mapping[str, Any], currency: str) -> Callable[[str], str]:
    if config.get("alert_threshold_type") == "percentage":
        return lambda threshold: f"{threshold} per cent of the commitment"
    return lambda threshold: money(threshold, currency)


def _value(row: AlertLog, currencies: Mapping[str, str], grants: Mapping[str, _Granted]) -> str:
    """What came to the threshold, with what it is counted in: money, usage of a feature, or credits."""
    grant = grants.get(row.entity_id)
    if row.alert_type in _OF_SPEND or (grant is not None and grant.measure is GrantMeasure.AMOUNT):
        return money(row.value_at_time, currencies[_owner_id(row)])
    if row.alert_type in _OF_GRANTS:
        return f"{grouped(row.value_at_time)} {grant.feature.unit_plural if grant is not None else ''}".rstrip()
    return f"{grouped(row.value_at_time)} {'credit' if row.value_at_time == 1 else 'credits'}"


@dataclass(frozen=True, slots=True)
class _Granted:
    """What usage was granted of, and in what."""

    feature: Feature
    measure: GrantMeasure


async def _grants(session: AsyncSession, grant_ids: Set[str]) -> dict[str, _Granted]:
    if not grant_ids:
        return {}
    query = (
        select(EntitlementGrant.id, Feature, EntitlementGrant.measure)
        .join(Feature, Feature.id == EntitlementGrant.feature_id)
        .where(in_array(EntitlementGrant.id, grant_ids))
    )
    return {row[0]: _Granted(row[1], row[2]) for row in await session.execute(query)}


async def _currencies(session: AsyncSession, subscription_ids: Set[str]) -> dict[str, str]:
    """The currencies of subscriptions."""
    if not subscription_ids:
        return {}
    query = select(Subscription.id, Subscription.currency).where(in_array(Subscription.id, subscription_ids))
    return {row[0]: row[1] for row in await session.execute(query)}


def _owner_id(row: AlertLog) -> str:
    return row.parent_entity_id or row.entity_id


def _path(row: AlertLog) -> str:
    owner_type, owner_id = row.parent_entity_type or row.entity_type, _owner_id(row)
    if owner_type is AlertEntityType.WALLET:
        return f"/wallets/{owner_id}"
    return f"/subscriptions/{owner_id}" if owner_type is AlertEntityType.SUBSCRIPTION else ""


async def _names(
    session: AsyncSession, rows: Sequence[AlertLog | AlertSetting], customer_ids: Set[str] = frozenset()
) -> dict[str, str]:
    """What people call the entities that rows are about, and customers."""
    ids = {row.entity_id for row in rows} | customer_ids
    if not ids:
        return {}
    names: dict[str, str] = {}
    for table, column in (
        (Customer, Customer.name),
        (Wallet, Wallet.name),
        (Feature, Feature.name),
        (GroupRow, GroupRow.name),
        (SubscriptionLineItem, SubscriptionLineItem.display_name),
    ):
        found = await session.execute(select(table.id, column).where(in_array(table.id, ids)))
        names |= {row[0]: row[1] for row in found}
    names |= {row.entity_id: "Subscription" for row in rows if row.entity_type == "subscription"}
    return names
