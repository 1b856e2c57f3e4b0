"""The portal: a language of each customer, and thresholds of spend that customers set themselves and are mailed about."""

from alembic import op

revision = "0058"
down_revision = "0057"

_KINDS = (
    "'invoice_issued', 'payment_receipt', 'payment_failed', 'reminder', 'credit_note', 'low_balance', "
    "'credits_expiring', 'trial_ending', 'renewal_notice', 'spend_alert'"
)
_STATEMENTS = (
    "ALTER TABLE customers ADD COLUMN language VARCHAR(2)",
    """ALTER TABLE customers ADD CONSTRAINT ck_customers_language_known
        CHECK (language IN ('en', 'de', 'fr', 'es', 'hi', 'ja'))""",
    "ALTER TABLE alert_settings ADD COLUMN set_by VARCHAR(40) DEFAULT 'merchant' NOT NULL",
    """ALTER TABLE alert_settings ADD CONSTRAINT ck_alert_settings_set_by_known
        CHECK (set_by IN ('merchant', 'customer'))""",
    "DROP INDEX uq_alert_settings_entity",
    """CREATE UNIQUE INDEX uq_alert_settings_entity
        ON alert_settings (environment_id, subscription_id, entity_type, entity_id, set_by)
        WHERE status = 'published'""",
    "ALTER TABLE emails DROP CONSTRAINT ck_emails_kind_known",
    f"ALTER TABLE emails ADD CONSTRAINT ck_emails_kind_known CHECK (kind IN ({_KINDS}))",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
