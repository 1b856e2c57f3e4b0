"""The revision that moves what decides money into columns: books of the release before come through it unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from farthing.doctor.examination import audit
from farthing.storage.migrations import state, upgrade
from farthing.storage.postgres import Database
from farthing.wiring import wire
from tests.account import Account
from tests.billing.office import Office
from tests.billing.proof.half_a_year import make_half_a_year
from tests.conftest import running, settings_for
from tests.storage.earlier import undo_after

TABLES = ("customers", "invoices", "invoice_line_items", "subscriptions")

# the shape of revision 0020: what this release keeps in columns stands in the metadata and in `rating`
_AS_BEFORE = """
DO $$ DECLARE checked record; BEGIN
    FOR checked IN SELECT conrelid::regclass AS of, conname FROM pg_constraint WHERE contype = 'c'
        AND conname LIKE '%%_known' LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', checked.of, checked.conname);
    END LOOP;
    FOR checked IN SELECT table_name AS of, column_name AS conname FROM information_schema.columns
        WHERE table_schema = 'public' AND numeric_precision = 24 AND numeric_scale = 8 LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE numeric(20, 8)', checked.of, checked.conname);
    END LOOP;
END $$;
ALTER TABLE invoice_totals ALTER COLUMN revenue TYPE numeric(20, 8);
ALTER TABLE customers NO FORCE ROW LEVEL SECURITY;
ALTER TABLE invoices NO FORCE ROW LEVEL SECURITY;
ALTER TABLE invoice_line_items NO FORCE ROW LEVEL SECURITY;
ALTER TABLE invoices DISABLE TRIGGER USER;
ALTER TABLE invoices ADD COLUMN revisit_at timestamptz;
UPDATE invoices SET revisit_at = coalesce(collect_at, recompute_at), metadata = metadata || jsonb_strip_nulls(
    jsonb_build_object(
        'proration_behavior', CASE WHEN scale_arrears THEN 'create_prorations' END,
        'opening_credit', CASE WHEN opening_credit > 0 THEN trim_scale(opening_credit)::text END));
UPDATE invoice_line_items SET
    rating = rating || jsonb_strip_nulls(jsonb_build_object('kind', kind, 'base', trim_scale(commitment_base)::text)),
    metadata = metadata || jsonb_strip_nulls(jsonb_build_object(
        'proration_credit', CASE WHEN proration_credit > 0 THEN trim_scale(proration_credit)::text END,
        'already_invoiced', trim_scale(already_invoiced)::text,
        'late_usage', CASE WHEN late_for_line_id IS NOT NULL THEN 'true' END,
        'late_for_line', late_for_line_id,
        'is_overage', CASE WHEN kind = 'overage' THEN 'true' END,
        'overage_factor', trim_scale(overage_factor)::text,
        'is_commitment_trueup', CASE WHEN kind = 'true_up' THEN 'true' END,
        'commitment_amount', trim_scale(commitment_amount)::text,
        'commitment_utilized', trim_scale(commitment_utilized)::text));
UPDATE customers SET metadata = metadata || jsonb_build_object('old_external_ids',
    (SELECT string_agg(id, ',') FROM jsonb_array_elements_text(former_external_ids) AS former (id)))
    WHERE former_external_ids <> '[]';
ALTER TABLE invoices ENABLE TRIGGER USER;
ALTER TABLE customers DROP COLUMN former_external_ids;
ALTER TABLE invoices DROP COLUMN scale_arrears, DROP COLUMN opening_credit, DROP COLUMN wallet_transaction_id,
    DROP COLUMN auto_completed, DROP COLUMN collect_at, DROP COLUMN recompute_at;
ALTER TABLE invoice_line_items DROP COLUMN kind, DROP COLUMN commitment_base, DROP COLUMN proration_credit,
    DROP COLUMN already_invoiced, DROP COLUMN late_for_line_id, DROP COLUMN overage_factor,
    DROP COLUMN commitment_amount, DROP COLUMN commitment_utilized;
ALTER TABLE subscriptions DROP COLUMN renewal_notice_for;
CREATE INDEX ix_invoices_revisit ON invoices (environment_id, revisit_at) WHERE revisit_at IS NOT NULL;
DROP TRIGGER take_external_id ON customers;
DROP FUNCTION take_external_id;
DROP TABLE external_id_tenures;
ALTER TABLE events DROP COLUMN owner_sequence;
ALTER TABLE meter_usage DROP COLUMN owner_sequence;
ALTER TABLE invoices DROP COLUMN reference_date, DROP COLUMN derives_due_date;
ALTER TABLE invoice_line_items DROP COLUMN whole_seconds;
ALTER TABLE proration_settlements DROP COLUMN charged_seconds;
ALTER TABLE subscriptions DROP COLUMN due_at, DROP COLUMN opens_at, DROP COLUMN end_proration_behavior;
ALTER TABLE subscriptions ADD COLUMN due_at timestamptz;
CREATE INDEX ix_subscriptions_due ON subscriptions (environment_id, due_at, id) WHERE due_at IS NOT NULL;
ALTER TABLE customers FORCE ROW LEVEL SECURITY;
ALTER TABLE invoices FORCE ROW LEVEL SECURITY;
ALTER TABLE invoice_line_items FORCE ROW LEVEL SECURITY;
DROP INDEX ix_events_withdrawn_timestamp, ix_taxes_applied_tax_rate;
UPDATE alembic_version SET version_num = '0020';
"""


def _rows(url: str, scope: Account) -> dict[str, list[dict[str, Any]]]:
    """Everything that the moved tables hold, as it is stored; numbers without the zeros at their end."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SELECT set_config('farthing.environment_id', %s, true)", (scope.environment_id,))
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY id".encode()).fetchall() for table in TABLES}


@pytest.mark.slow
async def test_books_of_the_release_before_come_through_unchanged(new_database: Callable[..., str]) -> None:
    url = new_database()
    database, settings = Database(url, wire()), settings_for(url)
    try:
        async with running(settings, database) as base_url, Account(base_url, settings, database) as account:
            await make_half_a_year(Office(account))
            assert (await audit(database)).differences == []
    finally:
        await database.close()
    before = _rows(url, account)
    kinds = {row["kind"] for row in before["invoice_line_items"]}
    assert kinds == {"fixed", "usage", "overage", "true_up", "late_usage"}
    assert any(row["opening_credit"] for row in before["invoices"])
    assert any(row["collect_at"] for row in before["invoices"])
    assert any(row["renewal_notice_for"] for row in before["subscriptions"])
    assert [row["former_external_ids"] for row in before["customers"] if row["former_external_ids"]] == [["mover"]]
    with psycopg.connect(url) as connection:
        connection.execute(undo_after("0027"))
        connection.execute(_AS_BEFORE.replace("%%", "%"))
    assert state(url)[0] == "0020"
    upgrade(url)
    after = _rows(url, account)
    for invoice in before["invoices"]:
        # there was nothing in the release before that said how a due date came about that is not there
        invoice["derives_due_date"] &= invoice["due_date"] is not None
        invoice["seller_version_id"] = invoice["buyer_version_id"] = None  # nor what its documents say of their parties
    for table in TABLES:
        assert after[table] == before[table]
    database = Database(url, wire())
    try:
        assert (await audit(database)).differences == []
    finally:
        await database.close()


async def test_what_callers_wrote_under_the_old_names_stays_theirs(new_database: Callable[..., str]) -> None:
    """A forged key on an invoice that no subscription stands behind is not taken for billing's word."""
    url = new_database()
    database, settings = Database(url, wire()), settings_for(url)
    forged = {"opening_credit": "1000", "proration_behavior": "create_prorations", "proration_credit": "7"}
    try:
        async with running(settings, database) as base_url, Account(base_url, settings, database) as account:
            customer = await account.post("/customers", {"external_id": "c", "name": "c"})
            line = {"display_name": "Work", "amount": "10", "quantity": "1", "price_type": "FIXED", "metadata": forged}
            asked = {
                "customer_id": customer["id"],
                "currency": "usd",
                "invoice_type": "ONE_OFF",
                **dict.fromkeys(("amount_due", "subtotal", "total"), "10"),
                "line_items": [line],
                "metadata": forged,
            }
            await account.post("/invoices", asked)
    finally:
        await database.close()
    before = _rows(url, account)
    before["invoices"][0]["buyer_version_id"] = None  # the release before kept no such versions
    with psycopg.connect(url) as connection:
        connection.execute(undo_after("0027"))
        connection.execute(_AS_BEFORE.replace("%%", "%"))
    upgrade(url)
    assert _rows(url, account) == before
    assert (before["invoices"][0]["metadata"], before["invoices"][0]["opening_credit"]) == (forged, 0)
