"""The kinds of records, in the order in which they are copied: each after those that it names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from farthing.migration.copying import catalogue, customers, exchange_rates, invoices, subscriptions, wallets
from farthing.migration.copying.target import MigrationTarget
from farthing.migration.source.api import NotOffered, SourceApi
from farthing.migration.source.ended_items import read_ended_items
from farthing.migration.source.fields import SourceRecord

Pages = AsyncIterator[list[SourceRecord]]
_LABELS = ("invoice_number", "external_id", "lookup_key", "code", "coupon_code", "name", "display_name", "id")


@dataclass(frozen=True, slots=True)
class RecordKind:
    """`read` pages of records; `complete` one with what other endpoints say of it; `copy` it and answer its id here."""

    name: str
    read: Callable[[SourceApi], Pages]
    copy: Callable[[MigrationTarget, SourceRecord], Awaitable[str]]
    complete: Callable[[SourceApi, SourceRecord], Awaitable[SourceRecord]]


def label_of(record: SourceRecord) -> str:
    """How people call a record."""
    return str(next((record[name] for name in _LABELS if record.get(name)), ""))


def kinds() -> tuple[RecordKind, ...]:
    """All kinds, in their order."""
    return (
        RecordKind(catalogue.GROUPS, _searching("/groups/search"), catalogue.copy_group, _as_it_is),
        RecordKind(catalogue.PRICE_UNITS, _searching("/prices/units/search"), catalogue.copy_price_unit, _as_it_is),
        RecordKind(
            catalogue.FEATURES,
            _archived_too("/features/search", expand="meters"),
            catalogue.copy_feature,
            _as_it_is,
        ),
        RecordKind(catalogue.COUPONS, _archived_too("/coupons/search"), catalogue.copy_coupon, _as_it_is),
        RecordKind(catalogue.TAX_RATES, _listing("/taxes/rates", order="asc"), catalogue.copy_tax_rate, _as_it_is),
        RecordKind(catalogue.PLANS, _archived_too("/plans/search"), catalogue.copy_plan, _as_it_is),
        RecordKind(catalogue.ADDONS, _archived_too("/addons/search"), catalogue.copy_addon, _as_it_is),
        RecordKind(catalogue.PRICES, _prices, catalogue.copy_price, _as_it_is),
        RecordKind(catalogue.ENTITLEMENTS, _entitlements, catalogue.copy_entitlement, _as_it_is),
        RecordKind(catalogue.CREDIT_GRANTS, _credit_grants, catalogue.copy_credit_grant, _as_it_is),
        RecordKind(customers.CUSTOMERS, _searching("/customers/search"), customers.copy_customer, _as_it_is),
        RecordKind(catalogue.SUBSCRIPTIONS, _subscriptions, subscriptions.copy_subscription, _whole_subscription),
        RecordKind(
            catalogue.TAX_ASSOCIATIONS,
            _listing("/taxes/associations"),
            catalogue.copy_tax_association,
            _as_it_is,
        ),
        RecordKind(exchange_rates.EXCHANGE_RATES, _exchange_rates, exchange_rates.copy_exchange_rate, _as_it_is),
        RecordKind(invoices.INVOICES, _invoices, invoices.copy_invoice, _whole_invoice),
        RecordKind(wallets.WALLETS, _searching("/wallets/search"), wallets.copy_wallet, _whole_wallet),
    )


async def _as_it_is(source: SourceApi, record: SourceRecord) -> SourceRecord:
    return record


def _searching(path: str, **body: Any) -> Callable[[SourceApi], Pages]:
    return lambda source: source.search(path, **body)


def _listing(path: str, **parameters: str | int) -> Callable[[SourceApi], Pages]:
    return lambda source: source.list(path, **parameters)


def _archived_too(path: str, **body: Any) -> Callable[[SourceApi], Pages]:
    """What is published, and then what is archived: subscriptions may still use it."""

    async def read(source: SourceApi) -> Pages:
        for status in ("published", "archived"):
            async for page in source.search(path, status=status, **body):
                yield page

    return read


async def _prices(source: SourceApi) -> Pages:
    for owner in ("PLAN", "ADDON"):
        async for page in source.search("/prices/search", entity_type=owner, allow_expired_prices=True):
            # the source may not know the filter
            yield [price for price in page if str(price.get("entity_type", owner)).upper() in {"PLAN", "ADDON"}]


async def _entitlements(source: SourceApi) -> Pages:
    for owner in ("PLAN", "ADDON"):
        async for page in source.search("/entitlements/search", entity_type=owner):
            yield [part for part in page if str(part.get("entity_type", owner)).upper() in {"PLAN", "ADDON"}]


async def _exchange_rates(source: SourceApi) -> Pages:
    """Those of the environment first: the others stand in their place."""
    for scope in ("tenant", "customer", "subscription"):
        async for page in source.search("/forex/query", scope=scope, status="published"):
            # the source may not know the filter
            yield [rate for rate in page if str(rate.get("scope", scope)).lower() == scope]


async def _credit_grants(source: SourceApi) -> Pages:
    """Those of each plan and addon, one after the other."""
    for owner in ("plans", "addons"):
        async for page in source.search(f"/{owner}/search"):
            for record in page:
                async for grants in source.list(f"/{owner}/{record.get('id')}/creditgrants"):
                    yield grants


async def _subscriptions(source: SourceApi) -> Pages:
    """Parents first: their children name them."""
    for children in (False, True):
        async for page in source.search("/subscriptions/search", subscription_status=_EVERY_STATUS):
            yield [record for record in page if bool(record.get("parent_subscription_id")) is children]


_BILLED = frozenset({"active", "trialing", "paused"})
_EVERY_STATUS = ["active", "trialing", "paused", "incomplete", "draft", "cancelled"]


async def _whole_subscription(source: SourceApi, record: SourceRecord) -> SourceRecord:
    id_ = record["id"]
    whole: SourceRecord = {**record, **await source.get(f"/subscriptions/{id_}")}
    if whole.get("subscription_status") in _BILLED:
        whole["line_items"] = [*(whole.get("line_items") or ()), *await read_ended_items(source, whole)]
    for item in whole.get("line_items") or ():
        if not isinstance(item.get("price"), dict) and item.get("price_id"):
            item["price"] = await _or_nothing(source.get(f"/prices/{item['price_id']}"))
    if "coupon_associations" not in whole:
        whole["coupon_associations"] = await _all(source.list("/coupons/associations", subscription_ids=id_))
    whole["addons"] = await _all(source.list(f"/subscriptions/{id_}/addons/associations"))
    overrides = source.search("/entitlements/search", entity_type="SUBSCRIPTION", entity_ids=[id_])
    whole["entitlement_overrides"] = [
        part for part in await _all(overrides) if part.get("entity_id") == id_ and part.get("parent_entitlement_id")
    ]
    if whole.get("credit_grants"):
        whole["upcoming_grants"] = await _all(source.list(f"/subscriptions/{id_}/grants/upcoming"))
    whole["schedules"] = await _all(source.list("/subscriptions/schedules", subscription_id=id_, pending_only="true"))
    return whole


async def _invoices(source: SourceApi) -> Pages:
    # every status that may say that something is owed, and the void ones for their numbers
    async for page in source.search("/invoices/search", invoice_status=["DRAFT", "FINALIZED", "VOIDED"]):
        yield page


async def _whole_invoice(source: SourceApi, record: SourceRecord) -> SourceRecord:
    if record.get("invoice_status") != "FINALIZED":
        return record
    whole: SourceRecord = {**record, **await source.get(f"/invoices/{record['id']}")}
    if str(whole.get("amount_paid", "0")) not in {"0", "0.00"}:
        whole["payments"] = [
            payment
            for payment in await _all(
                source.list("/payments", destination_type="INVOICE", destination_id=record["id"], order="asc")
            )
            if payment.get("destination_id") == record["id"]
        ]
    return whole


async def _whole_wallet(source: SourceApi, record: SourceRecord) -> SourceRecord:
    transactions = await _all(
        source.list(f"/wallets/{record['id']}/transactions", type="credit", credits_available_gt=0, order="asc")
    )
    done = [
        transaction
        for transaction in transactions
        if str(transaction.get("type", "credit")).lower() == "credit"
        and str(transaction.get("transaction_status", "completed")).lower() == "completed"
    ]
    return {**record, "lots": done}


async def _all(pages: Pages) -> list[SourceRecord]:
    """Every record of a short list; nothing where the source has no such list."""
    try:
        return [record async for page in pages for record in page]
    except NotOffered:
        return []


async def _or_nothing(asked: Awaitable[Any]) -> Any:
    try:
        return await asked
    except NotOffered:
        return None
