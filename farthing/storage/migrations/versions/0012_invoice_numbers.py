"""The function that numbers an invoice: one round trip while the sequence, which all finalizations share, is locked.

Each attempt takes the bucket's next value and passes over a number in use, also one that another transaction was just
writing. A rollback leaves no gap. NULL when all attempts clashed.
"""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION number_invoice(
            tenant text, environment text, invoice text, bucket text, first_value int, stem text, digits int, attempts int
        ) RETURNS text LANGUAGE plpgsql AS $$
        DECLARE
            value int;
            candidate text;
            refused_by text;
        BEGIN
            FOR attempt IN 1 .. attempts LOOP
                INSERT INTO invoice_sequences AS s (tenant_id, environment_id, id, last_value)
                VALUES (tenant, environment, bucket, first_value)
                ON CONFLICT (environment_id, id) DO UPDATE SET last_value = s.last_value + 1
                RETURNING last_value INTO value;
                candidate := stem || lpad(value::text, greatest(digits, length(value::text)), '0');
                CONTINUE WHEN EXISTS (
                    SELECT FROM invoices
                    WHERE environment_id = environment AND invoice_number = candidate AND status = 'published'
                );
                BEGIN
                    UPDATE invoices SET invoice_number = candidate WHERE id = invoice;
                    RETURN candidate;
                EXCEPTION WHEN unique_violation THEN
                    GET STACKED DIAGNOSTICS refused_by = CONSTRAINT_NAME;
                    IF refused_by <> 'uq_invoices_number' THEN
                        RAISE;
                    END IF;
                END;
            END LOOP;
            RETURN NULL;
        END $$
        """
    )
