"""Today's schema made that of earlier revisions, with what it holds: statements that undo a revision."""

AS_OF_0027 = """
ALTER TABLE subscription_pauses DROP COLUMN original_billing_anchor;
ALTER TABLE coupon_associations DROP COLUMN cut_at, DROP COLUMN counted_from, DROP COLUMN periods_used,
    DROP COLUMN continues_id;
ALTER TABLE coupon_applications DROP COLUMN period_start;
DROP INDEX ix_coupon_applications_association;
ALTER TABLE proration_settlements DROP COLUMN discount, DROP COLUMN returned_discounts;
ALTER TABLE proration_settlements ADD CONSTRAINT ck_proration_settlements_amounts_not_negative
    CHECK (credit >= 0 AND charge >= 0 AND credited_to_payer >= 0);
ALTER TABLE invoices DROP COLUMN tax_exempt;
"""
