"""Typed modifications of a subscription, each with its money.

Rule: docs/rules/subscriptions.md#modifications
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.changes import answers
from farthing.billing.changes.apply_outcome import perform
from farthing.billing.schemas import (
    AddOrRemove,
    ExecuteSubscriptionModifyRequest,
    LineItemChange,
    SubModifyCouponParams,
    SubModifyGroupedInvoicingParams,
    SubModifyInheritanceRequest,
    SubModifyTaxParams,
    SubscriptionModifyResponse,
    SubscriptionModifyType,
)
from farthing.catalogue.taxes.choosing import rates_by_id
from farthing.catalogue.taxes.enums import TaxEntityType
from farthing.catalogue.taxes.tables import TaxAssociation
from farthing.core.errors import ValidationFailed
from farthing.core.ids import Kind, new_id
from farthing.customers import lookup
from farthing.customers.tables import Customer
from farthing.invoices.hooks import InvoiceHooks
from farthing.storage.queries.rows import find, lock_row
from farthing.subscriptions import attachments
from farthing.subscriptions.addons import lifecycle
from farthing.subscriptions.changes.events import record_change
from farthing.subscriptions.enums import ProrationBehavior
from farthing.subscriptions.item_changes import ItemChange
from farthing.subscriptions.lifecycle import activation, hierarchy
from farthing.subscriptions.line_items import revise
from farthing.subscriptions.outcome import Outcome
from farthing.subscriptions.reads.answers import subscription_answer
from farthing.subscriptions.schemas.requests import UpdateSubscriptionLineItemRequest
from farthing.subscriptions.tables import AddonAssociation, Subscription, SubscriptionLineItem

Touched = Sequence[Subscription]
"""Other subscriptions that a modification changed, for the answer."""


async def modify(
    session: AsyncSession,
    subscription_id: str,
    asked: ExecuteSubscriptionModifyRequest,
    now: datetime,
    effects: InvoiceHooks,
) -> tuple[SubscriptionModifyResponse, list[str]]:
    """Make a modification; the answer, and the invoices to collect. Raises as the function of its type does."""
    outcome, touched = await make(session, subscription_id, asked, now)
    return await execution_answer(session, outcome, now, effects, touched)


async def execution_answer(
    session: AsyncSession, outcome: Outcome, now: datetime, effects: InvoiceHooks, touched: Touched = ()
) -> tuple[SubscriptionModifyResponse, list[str]]:
    """Bill and settle a change: what it came to, and the invoices to collect."""
    performed = await perform(session, outcome, now, effects)
    await session.refresh(outcome.subscription)
    answer = SubscriptionModifyResponse(
        subscription=await subscription_answer(session, outcome.subscription, now),
        changed_resources=await answers.resources(session, outcome, performed, touched),
    )
    return answer, performed.to_collect


async def preview_answer(
    session: AsyncSession, outcome: Outcome, now: datetime, effects: InvoiceHooks
) -> SubscriptionModifyResponse:
    """What a change would come to, in a session that will be rolled back."""
    answer, _ = await execution_answer(session, outcome, now, effects)
    answers.as_preview(answer.changed_resources)
    return answer


async def make(
    session: AsyncSession, subscription_id: str, asked: ExecuteSubscriptionModifyRequest, now: datetime
) -> tuple[Outcome, Touched]:
    """Make a modification as of `now`, and leave its money to the caller."""
    match asked.type:
        case SubscriptionModifyType.QUANTITY_CHANGE if asked.quantity_change_params is not None:
            wanted = [
                revise.QuantityWanted(change.id, change.quantity, change.effective_date)
                for change in asked.quantity_change_params.line_items
            ]
            return await revise.change_quantities(session, subscription_id, wanted, now), ()
        case SubscriptionModifyType.LINE_ITEM_CHANGE if asked.line_item_change_params is not None:
            return await _line_items(session, subscription_id, asked.line_item_change_params.changes, now), ()
        case SubscriptionModifyType.ADDON if asked.addon_params is not None:
            params = asked.addon_params
            if params.action is AddOrRemove.ADD and params.add is not None:
                return (await lifecycle.add(session, subscription_id, params.add, now))[1], ()
            assert params.remove is not None, "checked when the body was read"
            association = await find(session, AddonAssociation, params.remove.addon_association_id)
            _demand_own(association.subscription_id, subscription_id, "addon_association_id")
            return (await lifecycle.remove(session, params.remove, now))[1], ()
        case SubscriptionModifyType.TRIAL_END if asked.trial_end_params is not None:
            at = asked.trial_end_params.new_trial_end if asked.trial_end_params.action == "scheduled_date" else None
            outcome = await activation.change_trial_end(session, subscription_id, at, now)
            return outcome, (outcome.subscription,)
        case SubscriptionModifyType.INHERITANCE if asked.inheritance_params is not None:
            return await _inheritance(session, subscription_id, asked.inheritance_params, now)
        case SubscriptionModifyType.GROUPED_INVOICING if asked.grouped_invoicing_params is not None:
            return await _grouping(session, subscription_id, asked.grouped_invoicing_params)
        case SubscriptionModifyType.COUPON if asked.coupon_params is not None:
            return await _coupon(session, subscription_id, asked.coupon_params, now), ()
        case SubscriptionModifyType.TAX if asked.tax_params is not None:
            return await _tax(session, subscription_id, asked.tax_params, now), ()
        case _:
            raise ValidationFailed.of("type", "has no parameters")


def _demand_own(found: str, wanted: str, field: str) -> None:
    if found != wanted:
        raise ValidationFailed.of(field, "is not of the subscription")


async def _line_items(
    session: AsyncSession, subscription_id: str, asked: Sequence[LineItemChange], now: datetime
) -> Outcome:
    """An amount makes a version with a price of its own, a quantity a version with that quantity; all settle together.

    Coupons are attached to the version that stands then.
    """
    subscription = await lock_row(session, Subscription, subscription_id)
    changes: list[ItemChange] = []
    for item_change in asked:
        item = await find(session, SubscriptionLineItem, item_change.id)
        _demand_own(item.subscription_id, subscription_id, "line_item_change_params.id")
        version_id = item.id
        if item_change.amount is None:
            assert item_change.quantity is not None, "checked when the body was read"
            wanted = [revise.QuantityWanted(item_change.id, item_change.quantity, item_change.effective_date)]
            outcome = await revise.change_quantities(session, subscription_id, wanted, now)
            version_id = next((made.after.id for made in outcome.changes if made.after), version_id)
        else:
            request = UpdateSubscriptionLineItemRequest(
                amount=item_change.amount, effective_from=item_change.effective_date
            )
            version, outcome = await revise.update(session, item_change.id, request, now, quantity=item_change.quantity)
            version_id = version.id
        changes += outcome.changes
        version_price = (await find(session, SubscriptionLineItem, version_id)).price_id
        for coupon in item_change.coupons or ():
            if coupon.price_id and coupon.price_id not in {item.price_id, version_price}:
                raise ValidationFailed.of("line_item_change_params.coupons.price_id", "is not the line item's price")
            await attachments.add_coupon(
                session,
                subscription,
                coupon.coupon_code,
                now,
                start=coupon.start_date or item_change.effective_date,
                end=coupon.end_date,
                line_item_id=version_id,
            )
    at = max((change.at for change in changes), default=now)
    return Outcome(subscription, changes=tuple(changes), proration=ProrationBehavior.CREATE_PRORATIONS, at=at)


async def _people(session: AsyncSession, external_ids: Sequence[str]) -> list[Customer]:
    found = [(await lookup.by_external_id(session, external_id)).id for external_id in dict.fromkeys(external_ids)]
    return [await lock_row(session, Customer, customer_id) for customer_id in sorted(found)]


async def _inheritance(
    session: AsyncSession, subscription_id: str, asked: SubModifyInheritanceRequest, now: datetime
) -> tuple[Outcome, Touched]:
    adding = asked.action is AddOrRemove.ADD
    named = asked.external_customer_ids_to_inherit_subscription if adding else asked.external_customer_ids_to_remove
    if not named:
        field = "external_customer_ids_to_inherit_subscription" if adding else "external_customer_ids_to_remove"
        raise ValidationFailed.of(field, "is required")
    people = await _people(session, named)
    parent = await lock_row(session, Subscription, subscription_id)
    if adding:
        touched = await hierarchy.inherit(session, parent, people, now)
    else:
        touched = await hierarchy.disinherit(session, parent, people, now)
    await record_change(session, parent)
    return Outcome(parent), touched


async def _grouping(
    session: AsyncSession, subscription_id: str, asked: SubModifyGroupedInvoicingParams
) -> tuple[Outcome, Touched]:
    children = asked.child_subscription_ids or []
    if asked.action is AddOrRemove.REMOVE:
        touched = await hierarchy.ungroup(session, children or [subscription_id])
        return Outcome(await find(session, Subscription, subscription_id)), touched
    parent = await lock_row(session, Subscription, asked.parent_subscription_id or subscription_id)
    touched = await hierarchy.group(session, parent, children or [subscription_id])
    return Outcome(await find(session, Subscription, subscription_id)), touched


async def _coupon(session: AsyncSession, subscription_id: str, asked: SubModifyCouponParams, now: datetime) -> Outcome:
    subscription = await lock_row(session, Subscription, subscription_id)
    if asked.subscription_id:
        _demand_own(asked.subscription_id, subscription.id, "coupon_params.subscription_id")
    if asked.action is AddOrRemove.ADD:
        if not asked.coupon_code:
            raise ValidationFailed.of("coupon_params.coupon_code", "is required for action add")
        if asked.coupon_association_id:
            raise ValidationFailed.of("coupon_params.coupon_association_id", "is only allowed for action remove")
        await attachments.add_coupon(
            session,
            subscription,
            asked.coupon_code,
            now,
            start=asked.start_date,
            end=asked.end_date,
            line_item_id=asked.subscription_line_item_id or None,
        )
    else:
        if not asked.coupon_association_id:
            raise ValidationFailed.of("coupon_params.coupon_association_id", "is required for action remove")
        await attachments.remove_coupon(session, subscription, asked.coupon_association_id, asked.end_date or now)
    await record_change(session, subscription)
    return Outcome(subscription)


async def _tax(session: AsyncSession, subscription_id: str, asked: SubModifyTaxParams, now: datetime) -> Outcome:
    subscription = await lock_row(session, Subscription, subscription_id)
    at = asked.effective_date or now
    if asked.action is AddOrRemove.ADD:
        if not asked.tax_rate_id:
            raise ValidationFailed.of("tax_params.tax_rate_id", "is required for action add")
        (rate,) = await rates_by_id(session, [asked.tax_rate_id], lock=True)
        session.add(
            TaxAssociation(
                id=new_id(Kind.TAX_ASSOCIATION),
                tax_rate_id=rate.id,
                entity_type=TaxEntityType.SUBSCRIPTION,
                entity_id=subscription.id,
                auto_apply=True,
                currency=subscription.currency,
                start_date=at,
            )
        )
    else:
        if not asked.tax_association_id:
            raise ValidationFailed.of("tax_params.tax_association_id", "is required for action remove")
        association = await lock_row(session, TaxAssociation, asked.tax_association_id)
        _demand_own(association.entity_id, subscription.id, "tax_params.tax_association_id")
        association.end_date = max(at, association.start_date)
    await record_change(session, subscription)
    return Outcome(subscription)
