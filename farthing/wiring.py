"""Who does what for whom: fills the ports of every package. The only module that knows both ends of a seam.

A package that needs something from above declares it in its `ports.py`; here it is given the function that does it.
Every field is required, so a port that nobody fills is a type error in this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from farthing.billing.dunning.cases import record_failed_charge, retry_with_new_method
from farthing.billing.entitlement_grants.allowances import find_allowances
from farthing.billing.needed_usage import find_earliest_needed
from farthing.billing.periods.coupons import is_period_invoiced
from farthing.billing.periods.finalize import BillingHooks
from farthing.billing.ports import BillingPorts, CheckoutExpiry, SubscriptionCheckouts, UsageEvaluations
from farthing.billing.reads.pending_charges import measure_pending_charges
from farthing.catalogue.costs.tables import CostSheet
from farthing.catalogue.entitlements.grants import grants_money
from farthing.catalogue.entitlements.lifecycle import count_entitlements_of_feature
from farthing.catalogue.plans.tables import Addon, Plan
from farthing.catalogue.ports import CataloguePorts
from farthing.catalogue.prices.references import count_prices_of_meter, let_prices_leave_group
from farthing.catalogue.taxes.associations import link_customer
from farthing.checkout import flows
from farthing.checkout.conclusion import ending
from farthing.checkout.conclusion.expiry import expire_due, find_next_expiry
from farthing.checkout.obstacles import require_no_open_checkout
from farthing.core.composition import Composition
from farthing.credits.grants import lifecycle, reads, subscribing
from farthing.credits.invoicing.payments import choose_wallet, debit_for, find_share, lock_payers_wallets
from farthing.credits.invoicing.prepaid_money import credit_wallet
from farthing.credits.ports import BalanceAlerts, CreditPorts
from farthing.credits.wallets.lifecycle import require_no_open_wallet
from farthing.customers.ports import CustomerPorts
from farthing.events.ports import EventPorts
from farthing.events.stores.postgres import POSTGRES
from farthing.events.upkeep.backfill import fill_new_meter
from farthing.events.usage.event_store import EventStore
from farthing.identity.ports import CallerCaches, IdentityPorts
from farthing.invoices.obstacles import require_invoices_settled, was_tax_rate_charged
from farthing.invoices.ports import InvoiceCheckouts, InvoicePorts
from farthing.marketplaces.ports import MarketplacePorts
from farthing.marketplaces.reporting.markets.opening import CONNECTION_CHECKS
from farthing.notifications.alerts import balances, evaluation
from farthing.notifications.alerts.exhausted_grants import record_exhausted_grant
from farthing.notifications.email.asking import mail_invoice
from farthing.notifications.email.queueing import queue_receipt_without_payment, queue_recorded
from farthing.notifications.webhooks.delivery.client import ThreadResolver, checked_sockets, failure_in_words
from farthing.payments.integrations.marketplaces import collector_of
from farthing.payments.ports import CheckoutHooks, PaymentPorts
from farthing.payments.processing.descriptions import describe_settlements
from farthing.payments.providers.registry import TEST_MODE
from farthing.payments.stripe.adapter import STRIPE
from farthing.payments.testing_provider.provider import TEST_ADAPTER
from farthing.payments.unapplied.money import require_no_unapplied_money
from farthing.storage.ports import OutboxPorts
from farthing.subscriptions.in_use import (
    find_companions,
    line_item_answers,
    live_subscriptions_of_plan,
    uses_of_addon,
    uses_of_meter,
)
from farthing.subscriptions.ports import CreditGrantHooks, SubscriptionPorts
from farthing.subscriptions.reads.live import nothing_live
from farthing.subscriptions.reads.usage_sources import items_of_customers, zone_of_customer
from farthing.subscriptions.tables import Subscription


@dataclass(frozen=True, kw_only=True)
class Wiring(Composition):
    """The filled ports of each package. A database carries them, and its sessions hand a package its own."""

    outbox: OutboxPorts
    identity: IdentityPorts
    customers: CustomerPorts
    catalogue: CataloguePorts
    events: EventPorts
    event_store: EventStore
    subscriptions: SubscriptionPorts
    invoices: InvoicePorts
    payments: PaymentPorts
    credits: CreditPorts
    billing: BillingPorts
    marketplaces: MarketplacePorts


def wire(event_store: EventStore = POSTGRES) -> Wiring:
    """The wiring of a process, for each of its databases; `event_store` holds their events."""
    return Wiring(
        outbox=OutboxPorts(write_beside=queue_recorded),
        identity=IdentityPorts(caller_caches=CallerCaches()),
        customers=CustomerPorts(
            require_no_live_subscription=nothing_live,
            require_no_open_wallet=require_no_open_wallet,
            require_no_unapplied_money=require_no_unapplied_money,
            require_no_open_checkout=require_no_open_checkout,
            require_invoices_settled=require_invoices_settled,
            link_taxes=link_customer,
        ),
        catalogue=_catalogue(),
        events=EventPorts(
            list_charged_items=items_of_customers, find_zone=zone_of_customer, find_earliest_needed=find_earliest_needed
        ),
        event_store=event_store,
        subscriptions=_subscriptions(),
        invoices=InvoicePorts(
            hooks=BillingHooks(),
            mail_invoice=mail_invoice,
            checkouts=InvoiceCheckouts(create=flows.create_invoice, cancel=ending.cancel_by_invoice),
            describe_settlements=describe_settlements,
            collector_of=collector_of,
            confirm_received=queue_receipt_without_payment,
        ),
        payments=_payments(),
        credits=CreditPorts(
            measure_pending_charges=measure_pending_charges,
            balance_alerts=BalanceAlerts(
                after_movements=balances.after_movements,
                after_evaluation=balances.after_evaluation,
                end=balances.end,
            ),
            buy_by_checkout=flows.buy_credits,
        ),
        billing=BillingPorts(
            usage_evaluations=UsageEvaluations(
                schedule=evaluation.schedule, evaluate_due=evaluation.evaluate_due, find_next=evaluation.find_next
            ),
            record_exhausted_grant=record_exhausted_grant,
            checkouts=SubscriptionCheckouts(
                create=flows.create_subscription,
                add_addon=flows.add_addon,
                modify=flows.modify,
                change_plan=flows.change_plan,
            ),
            checkout_expiry=CheckoutExpiry(expire_due=expire_due, find_next=find_next_expiry),
        ),
        marketplaces=MarketplacePorts(
            make_resolver=ThreadResolver,
            make_sockets=lambda allow_private: checked_sockets(allow_private=allow_private),
            describe_failure=failure_in_words,
        ),
    )


def _catalogue() -> CataloguePorts:
    """What the catalogue asks of those who use it."""
    return CataloguePorts(
        count_prices_of_meter=count_prices_of_meter,
        count_line_items_of_meter=uses_of_meter,
        count_entitlements_of_feature=count_entitlements_of_feature,
        count_subscriptions_of_plan=live_subscriptions_of_plan,
        count_uses_of_addon=uses_of_addon,
        find_companions=find_companions,
        grants_money=grants_money,
        fill_new_meter=fill_new_meter,
        let_prices_leave_group=let_prices_leave_group,
        was_tax_rate_charged=was_tax_rate_charged,
        load_credit_grants=reads.included_in_owners,
        copy_credit_grants=lifecycle.copy_templates,
        load_line_items=line_item_answers,
        plan_table=Plan,
        addon_table=Addon,
        subscription_table=Subscription,
        cost_sheet_table=CostSheet,
    )


def _subscriptions() -> SubscriptionPorts:
    """What subscriptions ask of credits, allowances and invoices."""
    return SubscriptionPorts(
        load_credit_grants=reads.included_in_subscriptions,
        find_allowances=find_allowances,
        is_invoiced=is_period_invoiced,
        credit_grants=CreditGrantHooks(
            give=subscribing.give,
            give_for_addon=subscribing.give_for_addon,
            change_plan=subscribing.change_plan,
            apply_due=subscribing.apply_due,
            move=subscribing.move,
            end=subscribing.end,
            discard=subscribing.discard,
            find_carried=subscribing.find_carried,
            carry=subscribing.carry,
        ),
    )


def _payments() -> PaymentPorts:
    """What payments ask of credits, checkouts, dunning and providers."""
    return PaymentPorts(
        adapters=MappingProxyType({TEST_MODE: TEST_ADAPTER, "stripe": STRIPE}),
        connection_checks=CONNECTION_CHECKS,
        choose_wallet=choose_wallet,
        find_share=find_share,
        lock_wallets=lock_payers_wallets,
        debit_wallet=debit_for,
        credit_wallet=credit_wallet,
        checkouts=CheckoutHooks(
            lock=ending.lock_subscription,
            opened=ending.opened,
            paid=ending.paid,
            failed=ending.failed,
            page_expired=ending.page_expired,
            withdrawn=ending.withdrawn,
            heard=ending.heard,
        ),
        record_failed_charge=record_failed_charge,
        retry_with_new_method=retry_with_new_method,
    )
