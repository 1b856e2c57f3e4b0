"""Who does what for whom: fills the ports of every package. The only module that knows both ends of a seam.

A package that needs something from above declares it in its `ports.py`; here it is given the function that does it.
Every field is required, so a port that nobody fills is a type error in this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from sqlalchemy.ext.asyncio import AsyncSession

from farthing.billing.needed_usage import find_earliest_needed
from farthing.billing.periods.coupons import is_period_invoiced
from farthing.billing.periods.finalize import BillingEffects
from farthing.billing.ports import BillingPorts
from farthing.billing.reads.pending_charges import measure_pending_charges
from farthing.catalogue.costs.tables import CostSheet
from farthing.catalogue.entitlements.lifecycle import count_entitlements_of_feature
from farthing.catalogue.plans.schemas import IncludedCreditGrant
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.prices.references import count_prices_of_meter, let_prices_leave_group
from farthing.catalogue.prices.tables import PriceEntityType
from farthing.catalogue.taxes.associations import link_customer
from farthing.core.composition import Composition
from farthing.core.errors import NotImplementedHere
from farthing.credits.invoicing.payments import choose_wallet, debit_for, find_share, lock_payers_wallets
from farthing.credits.ports import CreditPorts
from farthing.credits.wallets.lifecycle import require_no_open_wallet
from farthing.customers.ports import CustomerPorts
from farthing.events.ports import EventPorts
from farthing.events.upkeep.backfill import fill_new_meter
from farthing.identity.ports import CallerCaches, IdentityPorts
from farthing.invoices.obstacles import require_invoices_settled, was_tax_rate_charged
from farthing.invoices.ports import InvoicePorts
from farthing.payments.ports import PaymentPorts
from farthing.payments.providers.registry import TEST_MODE
from farthing.payments.testing_provider.provider import TestProvider
from farthing.subscriptions.in_use import line_item_answers, live_subscriptions_of_plan, uses_of_addon, uses_of_meter
from farthing.subscriptions.ports import SubscriptionPorts
from farthing.subscriptions.reads.live import nothing_live
from farthing.subscriptions.reads.usage_sources import items_of_customers, zone_of_customer
from farthing.subscriptions.schemas.requests import CreateSubscriptionRequest
from farthing.subscriptions.tables import Subscription


@dataclass(frozen=True, kw_only=True)
class Wiring(Composition):
    """The filled ports of each package. A database carries them, and its sessions hand a package its own."""

    identity: IdentityPorts
    customers: CustomerPorts
    catalogue: CataloguePorts
    events: EventPorts
    subscriptions: SubscriptionPorts
    invoices: InvoicePorts
    payments: PaymentPorts
    credits: CreditPorts
    billing: BillingPorts


def wire() -> Wiring:
    """The wiring of a process, for each of its databases."""
    return Wiring(
        identity=IdentityPorts(caller_caches=CallerCaches(), reset_mail=None),
        customers=CustomerPorts(
            require_no_live_subscription=nothing_live,
            require_no_open_wallet=require_no_open_wallet,
            require_invoices_settled=require_invoices_settled,
            link_taxes=link_customer,
        ),
        catalogue=CataloguePorts(
            count_prices_of_meter=count_prices_of_meter,
            count_line_items_of_meter=uses_of_meter,
            count_entitlements_of_feature=count_entitlements_of_feature,
            count_subscriptions_of_plan=live_subscriptions_of_plan,
            count_uses_of_addon=uses_of_addon,
            fill_new_meter=fill_new_meter,
            let_prices_leave_group=let_prices_leave_group,
            was_tax_rate_charged=was_tax_rate_charged,
            load_credit_grants=list_no_grants_of_owners,
            copy_credit_grants=copy_no_grants,
            load_line_items=line_item_answers,
            subscription_table=Subscription,
            cost_sheet_table=CostSheet,
        ),
        events=EventPorts(
            list_charged_items=items_of_customers, find_zone=zone_of_customer, find_earliest_needed=find_earliest_needed
        ),
        subscriptions=SubscriptionPorts(
            load_credit_grants=list_no_grants_of_subscriptions, is_invoiced=is_period_invoiced
        ),
        invoices=InvoicePorts(hooks=BillingEffects()),
        payments=PaymentPorts(
            adapters=MappingProxyType({TEST_MODE: TestProvider}),
            choose_wallet=choose_wallet,
            find_share=find_share,
            lock_wallets=lock_payers_wallets,
            debit_wallet=debit_for,
        ),
        credits=CreditPorts(measure_pending_charges=measure_pending_charges),
        billing=BillingPorts(add_credit_grants=refuse_credit_grants),
    )


# --- credits: there are no grants yet; what that means is said here ------------------------------------


async def refuse_credit_grants(
    session: AsyncSession, subscription: Subscription, asked: CreateSubscriptionRequest, now: datetime
) -> None:
    """Refuse a subscription that is to come with credit grants; to drop them would overcharge in silence."""
    del session, subscription, now
    if asked.credit_grants:
        raise NotImplementedHere("Credit grants are not available in this deployment")


async def list_no_grants_of_owners(
    session: AsyncSession, kind: PriceEntityType, owner_ids: Sequence[str]
) -> Mapping[str, list[IncludedCreditGrant]]:
    """The credit grants of plans and addons: none can be made."""
    del session, kind, owner_ids
    return {}


async def copy_no_grants(session: AsyncSession, source_plan_id: str, target_plan_id: str) -> None:
    """The credit grants of a copied plan: none can be made, so the copy is whole."""
    del session, source_plan_id, target_plan_id


async def list_no_grants_of_subscriptions(
    session: AsyncSession, subscription_ids: Sequence[str]
) -> Mapping[str, list[IncludedCreditGrant]]:
    """The credit grants of subscriptions: none can be made, `refuse_credit_grants` sees to it."""
    del session, subscription_ids
    return {}
