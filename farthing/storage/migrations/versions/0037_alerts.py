"""Alerts: their settings and log, whose usage is new, and when a customer's usage is looked at.

Wallets kept the states of alerts that were never sent; they begin at `ok` again, and the next look writes what it finds
into the log.
"""

from alembic import op

from farthing.storage.scope import row_level_security

revision = "0037"
down_revision = "0036"

_SCOPED = """
        tenant_id VARCHAR(50) NOT NULL,
        environment_id VARCHAR(50) NOT NULL,"""
_TRACKED = """
        status VARCHAR(40) NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
        created_by VARCHAR(50) NOT NULL,
        updated_by VARCHAR(50) NOT NULL,"""
_SETTINGS = f"""
    CREATE TABLE alert_settings (
        entity_type VARCHAR(40) NOT NULL,
        entity_id VARCHAR(50) NOT NULL,
        parent_entity_type VARCHAR(40),
        parent_entity_id VARCHAR(50),
        subscription_id VARCHAR(50) GENERATED ALWAYS AS (coalesce(parent_entity_id, entity_id)) STORED NOT NULL,
        config JSONB NOT NULL,
        enabled BOOLEAN NOT NULL,{_SCOPED}{_TRACKED}
        id VARCHAR(50) NOT NULL,
        CONSTRAINT pk_alert_settings PRIMARY KEY (id),
        CONSTRAINT ck_alert_settings_entity_type_known
            CHECK (entity_type IN ('subscription', 'subscription_line_item', 'group')),
        CONSTRAINT ck_alert_settings_parent_entity_type_known CHECK (parent_entity_type IN ('subscription')),
        CONSTRAINT ck_alert_settings_parent_is_whole
            CHECK ((parent_entity_type IS NULL) = (entity_type = 'subscription')
            AND (parent_entity_id IS NULL) = (parent_entity_type IS NULL)),
        CONSTRAINT ck_alert_settings_status_known CHECK (status IN ('published', 'archived', 'deleted'))
    );
    CREATE INDEX ix_alert_settings_newest ON alert_settings (environment_id, created_at, id);
    CREATE UNIQUE INDEX uq_alert_settings_entity
        ON alert_settings (environment_id, subscription_id, entity_type, entity_id) WHERE status = 'published';
"""
_LOGS = f"""
    CREATE SEQUENCE alert_logs_position;
    CREATE TABLE alert_logs (
        entity_type VARCHAR(40) NOT NULL,
        entity_id VARCHAR(50) NOT NULL,
        parent_entity_type VARCHAR(40),
        parent_entity_id VARCHAR(50),
        customer_id VARCHAR(50),
        alert_setting_id VARCHAR(50),
        period_start TIMESTAMP WITH TIME ZONE,
        alert_type VARCHAR(40) NOT NULL,
        alert_status VARCHAR(40) NOT NULL,
        alert_settings JSONB,
        value_at_time NUMERIC NOT NULL,
        position BIGINT DEFAULT nextval('alert_logs_position') NOT NULL,{_SCOPED}{_TRACKED}
        id VARCHAR(50) NOT NULL,
        CONSTRAINT pk_alert_logs PRIMARY KEY (id),
        CONSTRAINT ck_alert_logs_entity_type_known CHECK (entity_type IN
            ('wallet', 'feature', 'subscription', 'subscription_line_item', 'group', 'entitlement_grant')),
        CONSTRAINT ck_alert_logs_parent_entity_type_known CHECK (parent_entity_type IN
            ('wallet', 'feature', 'subscription', 'subscription_line_item', 'group', 'entitlement_grant')),
        CONSTRAINT ck_alert_logs_alert_type_known CHECK (alert_type IN
            ('low_ongoing_balance', 'low_credit_balance', 'feature_wallet_balance', 'subscription_spend',
            'subscription_line_item_spend', 'subscription_group_spend', 'entitlement_grant_threshold',
            'entitlement_grant_exhausted')),
        CONSTRAINT ck_alert_logs_alert_status_known CHECK (alert_status IN ('ok', 'info', 'warning', 'in_alarm')),
        CONSTRAINT ck_alert_logs_parent_is_whole CHECK ((parent_entity_id IS NULL) = (parent_entity_type IS NULL)),
        CONSTRAINT ck_alert_logs_status_known CHECK (status IN ('published', 'archived', 'deleted'))
    );
    CREATE INDEX ix_alert_logs_stream ON alert_logs (environment_id, entity_id, alert_type, position);
    CREATE INDEX ix_alert_logs_customer ON alert_logs (environment_id, customer_id, created_at);
    CREATE INDEX ix_alert_logs_newest ON alert_logs (environment_id, created_at, id);
"""
_NOTICES = """
    CREATE TABLE usage_notices (
        environment_id VARCHAR(50) NOT NULL,
        sequence BIGINT NOT NULL,
        arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
        external_customer_ids TEXT[] NOT NULL,
        CONSTRAINT pk_usage_notices PRIMARY KEY (environment_id, sequence)
    );
"""
_EVALUATIONS = f"""
    CREATE TABLE usage_evaluations (
        customer_id VARCHAR(50) NOT NULL,
        due_at TIMESTAMP WITH TIME ZONE NOT NULL,
        requeued BOOLEAN NOT NULL,{_SCOPED}
        CONSTRAINT pk_usage_evaluations PRIMARY KEY (environment_id, customer_id)
    );
    CREATE INDEX ix_usage_evaluations_due ON usage_evaluations (environment_id, due_at);
"""
_WALLETS = """
    ALTER TABLE wallets ADD COLUMN sent_real_time_credits NUMERIC(29, 9);
    UPDATE wallets SET alert_state = 'ok', credit_alert_state = 'ok'
        WHERE alert_state <> 'ok' OR credit_alert_state <> 'ok';
"""


def upgrade() -> None:
    op.execute(_SETTINGS)
    op.execute(_LOGS)
    op.execute(_NOTICES)
    op.execute(_EVALUATIONS)
    # a migration goes through the wallets of everybody
    op.execute("ALTER TABLE wallets NO FORCE ROW LEVEL SECURITY")
    op.execute(_WALLETS)
    op.execute("ALTER TABLE wallets FORCE ROW LEVEL SECURITY")
    for table in ("alert_settings", "alert_logs", "usage_notices", "usage_evaluations"):
        for statement in row_level_security(table, "environment_id"):
            op.execute(statement)
