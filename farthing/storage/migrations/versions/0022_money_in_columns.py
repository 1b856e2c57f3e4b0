"""What decides money leaves the metadata that callers may write, and becomes columns with constraints.

What rows hold under the old keys moves into the columns, but only where billing wrote it: a caller's key of the same
name stays the caller's, and decides nothing. `revisit_at`, which meant two things, becomes two columns; a renewal notice
gets a mark of its own. Amounts get four more digits before the point, and columns of words the constraint that checks
them.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0022"
down_revision = "0020"

# the values that each column of words may hold
_WORDS = (
    (["active", "cancelled", "pending"], ["addon_associations.addon_status"]),
    (["recurring", "onetime"], ["addon_associations.cadence"]),
    (["none", "create_prorations"], ["addon_associations.proration_behavior", "subscriptions.proration_behavior"]),
    (
        ["published", "archived", "deleted"],
        [
            "addon_associations.status",
            "addons.status",
            "clock_advances.status",
            "connections.status",
            "cost_sheets.status",
            "coupon_applications.status",
            "coupon_associations.status",
            "coupons.status",
            "customers.status",
            "entitlements.status",
            "environments.status",
            "features.status",
            "groups.status",
            "integration_mappings.status",
            "invoice_line_items.status",
            "invoices.status",
            "meters.status",
            "payment_attempts.status",
            "payments.status",
            "plans.status",
            "price_units.status",
            "prices.status",
            "proration_settlements.status",
            "secrets.status",
            "settings.status",
            "subscription_changes.status",
            "subscription_line_items.status",
            "subscription_pauses.status",
            "subscription_phases.status",
            "subscription_schedules.status",
            "subscriptions.status",
            "tax_associations.status",
            "tax_rates.status",
            "taxes_applied.status",
            "tenants.status",
            "users.status",
        ],
    ),
    (
        [
            "flexprice",
            "stripe",
            "s3",
            "hubspot",
            "razorpay",
            "chargebee",
            "quickbooks",
            "zoho_books",
            "nomod",
            "moyasar",
            "paddle",
            "whop",
            "tabs",
            "aws_marketplace",
            "gcp_marketplace",
            "azure_marketplace",
        ],
        ["connections.provider_type"],
    ),
    (["fixed", "percentage"], ["coupons.type"]),
    (["once", "repeated", "forever"], ["coupons.cadence"]),
    (["taxable", "exempt"], ["customers.tax_treatment"]),
    (["PLAN", "ADDON", "SUBSCRIPTION"], ["entitlements.entity_type"]),
    (["metered", "boolean", "static", "config"], ["entitlements.feature_type", "features.type"]),
    (
        ["", "DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "HALF_YEARLY", "ANNUAL", "NEVER"],
        ["entitlements.usage_reset_period"],
    ),
    (["additive", "parallel"], ["entitlements.aggregation_mode"]),
    (["quantity", "amount"], ["entitlements.grant_measure"]),
    (["hour", "day", "week", "subscription_period"], ["entitlements.grant_duration_unit"]),
    (["first_usage", "unit_start"], ["entitlements.grant_allocation_behavior"]),
    (["development", "production"], ["environments.type"]),
    (["price", "feature"], ["groups.entity_type"]),
    (
        [
            "customer",
            "plan",
            "invoice",
            "subscription",
            "payment",
            "credit_note",
            "addon",
            "item",
            "item_price",
            "price",
            "invoice_line_item",
            "subscription_line_item",
        ],
        ["integration_mappings.entity_type"],
    ),
    (["USAGE", "FIXED"], ["invoice_line_items.price_type", "prices.type", "subscription_line_items.price_type"]),
    (["fixed", "usage", "overage", "true_up", "late_usage"], ["invoice_line_items.kind"]),
    (["payment", "manual", "auto_complete"], ["invoice_settlements.kind"]),
    (["SUBSCRIPTION", "ONE_OFF", "CREDIT"], ["invoices.invoice_type"]),
    (["DRAFT", "FINALIZED", "VOIDED", "SKIPPED"], ["invoices.invoice_status"]),
    (
        [
            "INITIATED",
            "PENDING",
            "PROCESSING",
            "SUCCEEDED",
            "OVERPAID",
            "FAILED",
            "REFUNDED",
            "PARTIALLY_REFUNDED",
            "VOIDED",
        ],
        ["invoices.payment_status", "payment_attempts.payment_status", "payments.payment_status"],
    ),
    (
        [
            "SUBSCRIPTION_CREATE",
            "SUBSCRIPTION_CYCLE",
            "SUBSCRIPTION_UPDATE",
            "SUBSCRIPTION_TRIAL_START",
            "SUBSCRIPTION_TRIAL_END",
            "SUBSCRIPTION_PAUSED",
            "SUBSCRIPTION_RESUME",
            "PRORATION",
            "MANUAL",
            "AUTO_INVOICE_THRESHOLD",
            "WALLET_AUTO_TOPUP",
        ],
        ["invoices.billing_reason"],
    ),
    (
        ["COUNT", "SUM", "AVG", "COUNT_UNIQUE", "LATEST", "SUM_WITH_MULTIPLIER", "MAX", "WEIGHTED_SUM"],
        ["meters.aggregation_type"],
    ),
    (["MINUTE", "15MIN", "30MIN", "HOUR", "3HOUR", "6HOUR", "12HOUR", "DAY", "WEEK", "MONTH"], ["meters.bucket_size"]),
    (["BILLING_PERIOD", "NEVER"], ["meters.reset_usage"]),
    (["INVOICE", "CUSTOMER"], ["payments.destination_type"]),
    (["CARD", "ACH", "OFFLINE", "CREDITS", "PAYMENT_LINK", "UPI"], ["payments.payment_method_type"]),
    (["PLAN", "SUBSCRIPTION", "ADDON", "PRICE", "COSTSHEET"], ["prices.entity_type"]),
    (["FLAT_FEE", "PACKAGE", "TIERED"], ["prices.billing_model"]),
    (["RECURRING"], ["prices.billing_cadence", "subscriptions.billing_cadence"]),
    (
        ["DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "HALF_YEARLY", "ANNUAL", "ONETIME"],
        [
            "prices.billing_period",
            "subscription_line_items.billing_period",
            "subscription_line_items.commitment_duration",
            "subscriptions.billing_period",
            "subscriptions.commitment_duration",
        ],
    ),
    (["ADVANCE", "ARREAR"], ["prices.invoice_cadence", "subscription_line_items.invoice_cadence"]),
    (["VOLUME", "SLAB"], ["prices.tier_mode"]),
    (["FIAT", "CUSTOM"], ["prices.price_unit_type"]),
    (["private_key", "publishable_key"], ["secrets.type"]),
    (["user", "service_account"], ["secrets.user_type", "users.type"]),
    (["upgrade", "downgrade", "lateral"], ["subscription_changes.change_type"]),
    (["plan", "addon", "subscription"], ["subscription_line_items.entity_type"]),
    (["amount", "quantity"], ["subscription_line_items.commitment_type"]),
    (
        ["none", "active", "scheduled", "completed", "cancelled"],
        ["subscription_pauses.pause_status", "subscriptions.pause_status"],
    ),
    (["immediate", "scheduled", "period_end"], ["subscription_pauses.pause_mode"]),
    (["immediate", "scheduled", "auto"], ["subscription_pauses.resume_mode"]),
    (["plan_change", "cancellation"], ["subscription_schedules.schedule_type"]),
    (["pending", "executing", "executed", "cancelled", "failed"], ["subscription_schedules.schedule_status"]),
    (["draft", "incomplete", "trialing", "active", "paused", "cancelled"], ["subscriptions.subscription_status"]),
    (
        ["standalone", "delegated_invoicing", "parent", "inherited", "grouped_invoicing"],
        ["subscriptions.subscription_type"],
    ),
    (["anniversary", "calendar"], ["subscriptions.billing_cycle"]),
    (
        ["default_active", "allow_incomplete", "error_if_incomplete", "default_incomplete"],
        ["subscriptions.payment_behavior"],
    ),
    (["charge_automatically", "send_invoice"], ["subscriptions.collection_method"]),
    (
        ["15 NET", "30 NET", "45 NET", "60 NET", "75 NET", "90 NET", "END_OF_MONTH", "END_OF_NEXT_MONTH"],
        ["subscriptions.payment_terms"],
    ),
    (["tenant", "customer", "subscription", "invoice"], ["tax_associations.entity_type"]),
    (["ACTIVE", "INACTIVE"], ["tax_rates.tax_rate_status"]),
    (["percentage", "fixed"], ["tax_rates.tax_rate_type"]),
    (["INTERNAL", "EXTERNAL", "ONETIME"], ["tax_rates.scope"]),
    (["trialing", "active", "suspended"], ["tenants.internal_status"]),
    (["processing", "requires_action", "succeeded", "failed"], ["test_gateway_charges.state"]),
    (["link", "charge", "setup"], ["test_gateway_sessions.kind"]),
    (["open", "complete", "failed", "expired", "cancelled"], ["test_gateway_sessions.state"]),
)

# columns of money
_MONEY = {
    "coupon_applications": ["discount_percentage", "original_price", "discounted_amount", "final_price"],
    "coupons": ["amount_off"],
    "invoice_line_items": [
        "price_unit_amount",
        "amount",
        "line_item_discount",
        "invoice_level_discount",
        "prepaid_credits_applied",
    ],
    "invoice_settlements": ["amount"],
    "invoices": [
        "subtotal",
        "total_discount",
        "total_prepaid_credits_applied",
        "total_tax",
        "total",
        "adjustment_amount",
        "amount_due",
        "amount_paid",
        "amount_remaining",
        "refunded_amount",
        "net_total",
        "net_usage",
        "usage_remaining",
    ],
    "payments": ["amount", "asked_amount", "refunded_amount"],
    "proration_settlements": ["credit", "charge", "credited_to_payer"],
    "subscription_line_items": ["commitment_amount", "commitment_overage_factor"],
    "subscriptions": ["commitment_amount", "overage_factor", "auto_invoice_threshold"],
    "tax_rates": ["fixed_value"],
    "taxes_applied": ["taxable_amount", "tax_amount"],
    "test_gateway_charges": ["amount", "refunded"],
    "test_gateway_refunds": ["amount"],
    "test_gateway_sessions": ["amount"],
}

_NUMBER = r"'^[0-9]{1,16}(\.[0-9]+)?$'"


def upgrade() -> None:
    _widen_money()
    _add_columns()
    for table in ("customers", "invoices", "invoice_line_items", "subscriptions", "system_events"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    # totals follow from figures, which stay as they are
    op.execute("ALTER TABLE invoices DISABLE TRIGGER USER")
    _move_invoices()
    _move_lines()
    _move_others()
    op.execute("ALTER TABLE invoices ENABLE TRIGGER USER")
    for table in ("customers", "invoices", "invoice_line_items", "subscriptions", "system_events"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    _constrain()
    _check_words()


def _widen_money() -> None:
    """More digits before the point, as many behind it: no row is rewritten."""
    for table, columns in _MONEY.items():
        changes = ", ".join(f"ALTER COLUMN {column} TYPE numeric(24, 8)" for column in columns)
        op.execute(f"ALTER TABLE {table} {changes}")
    # a sum of any number of invoices
    op.execute("ALTER TABLE invoice_totals ALTER COLUMN revenue TYPE numeric(38, 8)")


def _add_columns() -> None:
    money, exact = sa.Numeric(24, 8), sa.Numeric()
    moment = sa.DateTime(timezone=True)
    columns: dict[str, list[sa.Column[Any]]] = {
        "customers": [_needed("former_external_ids", JSONB(), "'[]'")],
        "invoices": [
            _needed("scale_arrears", sa.Boolean(), "false"),
            _needed("opening_credit", money, "0"),
            sa.Column("wallet_transaction_id", sa.String(50)),
            _needed("auto_completed", sa.Boolean(), "false"),
            sa.Column("collect_at", moment),
            sa.Column("recompute_at", moment),
        ],
        "invoice_line_items": [
            sa.Column("kind", sa.String(40)),
            sa.Column("commitment_base", exact),
            _needed("proration_credit", money, "0"),
            sa.Column("already_invoiced", money),
            sa.Column("late_for_line_id", sa.String(50)),
            sa.Column("overage_factor", money),
            sa.Column("commitment_amount", money),
            sa.Column("commitment_utilized", exact),
        ],
        "subscriptions": [sa.Column("renewal_notice_for", moment)],
    }
    for table, added in columns.items():
        for column in added:
            op.add_column(table, column)
            if column.server_default is not None:
                op.alter_column(table, column.name, server_default=None)


def _needed(name: str, kind: sa.types.TypeEngine[Any], default: str) -> sa.Column[Any]:
    """A column that every row has a value in; the default is for the rows that are there."""
    return sa.Column(name, kind, nullable=False, server_default=sa.text(default))


def _move_invoices() -> None:
    """What billing wrote on subscriptions' invoices, and what the service alone could write on any."""
    op.execute(
        f"""
        UPDATE invoices SET
            scale_arrears = billed AND metadata ->> 'proration_behavior' IS NOT DISTINCT FROM 'create_prorations',
            opening_credit = CASE WHEN billed AND metadata ->> 'opening_credit' ~ {_NUMBER}
                THEN CAST(metadata ->> 'opening_credit' AS numeric) ELSE 0 END,
            wallet_transaction_id = nullif(left(metadata ->> 'wallet_transaction_id', 50), ''),
            auto_completed = metadata ->> 'auto_completed' IS NOT DISTINCT FROM 'true',
            collect_at = CASE WHEN invoice_status = 'FINALIZED' THEN revisit_at END,
            recompute_at = CASE WHEN invoice_status = 'SKIPPED' THEN revisit_at END,
            metadata = metadata - 'wallet_transaction_id' - 'auto_completed'
                - CASE WHEN billed THEN ARRAY['proration_behavior', 'opening_credit'] ELSE ARRAY[]::text[] END
        FROM (SELECT id AS moved, derived_key AND invoice_type = 'SUBSCRIPTION' AS billed FROM invoices) AS origin
        WHERE id = moved AND (
            revisit_at IS NOT NULL OR metadata ?| ARRAY['wallet_transaction_id', 'auto_completed']
            OR (billed AND metadata ?| ARRAY['proration_behavior', 'opening_credit'])
        )
        """
    )
    op.drop_index("ix_invoices_revisit", table_name="invoices")
    op.drop_column("invoices", "revisit_at")
    for name in ("collect", "recompute"):
        op.create_index(
            f"ix_invoices_{name}",
            "invoices",
            ["environment_id", f"{name}_at"],
            postgresql_where=sa.text(f"{name}_at IS NOT NULL"),
        )


def _move_lines() -> None:
    """What billing wrote on its lines: those that say how they were rated and what they are for."""
    op.execute(
        f"""
        UPDATE invoice_line_items SET
            kind = rating ->> 'kind',
            commitment_base = CAST(rating ->> 'base' AS numeric),
            proration_credit = CASE WHEN metadata ->> 'proration_credit' ~ {_NUMBER}
                THEN CAST(metadata ->> 'proration_credit' AS numeric) ELSE 0 END,
            already_invoiced = CAST(metadata ->> 'already_invoiced' AS numeric),
            late_for_line_id = CASE WHEN rating ->> 'kind' = 'late_usage' THEN metadata ->> 'late_for_line' END,
            overage_factor = CASE WHEN rating ->> 'kind' = 'overage'
                THEN CAST(metadata ->> 'overage_factor' AS numeric) END,
            commitment_amount = CASE WHEN rating ->> 'kind' = 'true_up'
                THEN CAST(metadata ->> 'commitment_amount' AS numeric) END,
            commitment_utilized = CASE WHEN rating ->> 'kind' = 'true_up'
                THEN CAST(metadata ->> 'commitment_utilized' AS numeric) END,
            rating = rating - 'kind' - 'base',
            metadata = metadata - ARRAY['proration_credit', 'already_invoiced', 'late_usage', 'late_for_line',
                'is_overage', 'overage_factor', 'is_commitment_trueup', 'commitment_amount', 'commitment_utilized']
        WHERE rating ->> 'kind' IN ('fixed', 'usage', 'overage', 'true_up', 'late_usage')
        """
    )


def _move_others() -> None:
    op.execute(
        """
        UPDATE customers SET
            former_external_ids = to_jsonb(string_to_array(metadata ->> 'old_external_ids', ',')),
            metadata = metadata - 'old_external_ids'
        WHERE metadata ->> 'old_external_ids' <> ''
        """
    )
    op.execute(
        """
        UPDATE subscriptions SET renewal_notice_for = current_period_end
        WHERE EXISTS (
            SELECT FROM system_events AS notice
            WHERE notice.environment_id = subscriptions.environment_id AND notice.entity_id = subscriptions.id
                AND notice.event_name = 'subscription.renewal.due'
                AND CAST(notice.payload -> 'subscription' ->> 'current_period_end' AS timestamptz) = current_period_end
        )
        """
    )


def _constrain() -> None:
    op.create_check_constraint(
        op.f("ck_customers_former_ids_listed"), "customers", "jsonb_typeof(former_external_ids) = 'array'"
    )
    for name, condition in (
        ("opening_credit_not_negative", "opening_credit >= 0"),
        ("collected_when_final", "collect_at IS NULL OR invoice_status = 'FINALIZED'"),
        ("recomputed_when_skipped", "recompute_at IS NULL OR invoice_status = 'SKIPPED'"),
    ):
        op.create_check_constraint(op.f(f"ck_invoices_{name}"), "invoices", condition)
    for name, condition in (
        (
            "origins_not_negative",
            "proration_credit >= 0 AND already_invoiced >= 0 AND commitment_base >= 0 AND overage_factor >= 1",
        ),
        ("late", "(kind IS NOT DISTINCT FROM 'late_usage') = (late_for_line_id IS NOT NULL)"),
        ("overage", "(kind IS NOT DISTINCT FROM 'overage') = (overage_factor IS NOT NULL)"),
        (
            "true_up",
            "CASE WHEN kind = 'true_up' THEN num_nonnulls(commitment_amount, commitment_utilized) = 2 "
            "ELSE num_nonnulls(commitment_amount, commitment_utilized) = 0 END",
        ),
    ):
        op.create_check_constraint(op.f(f"ck_invoice_line_items_{name}"), "invoice_line_items", condition)


def _check_words() -> None:
    """One statement for each table, so that its rows are read once."""
    checks: dict[str, list[str]] = {}
    for values, columns in _WORDS:
        listed = ", ".join(f"'{value}'" for value in values)
        for table, column in (name.split(".") for name in columns):
            checks.setdefault(table, []).append(
                f"ADD CONSTRAINT ck_{table}_{column}_known CHECK ({column} IN ({listed}))"
            )
    for table, added in checks.items():
        op.execute(f"ALTER TABLE {table} {', '.join(added)}")
