"""Today's schema made that of earlier revisions, with what it holds: statements that undo a revision."""

UNDOING = {
    "0063": """
        DELETE FROM password_links WHERE way = 'mailed';
        DROP INDEX uq_password_links_user_way;
        ALTER TABLE password_links DROP COLUMN way;
        CREATE UNIQUE INDEX uq_password_links_user ON password_links (user_id);
    """,
    "0062": "ALTER TABLE invoice_correction_lines DROP COLUMN commitment_base;",
    "0061": """
        DROP TABLE usage_report_parts, usage_reports;
        DROP INDEX ix_marketplace_agreements_subscription;
        ALTER TABLE marketplace_agreements DROP COLUMN meter, DROP COLUMN records_from;
    """,
    "0060": "DROP TABLE pending_event_writes, event_store;",
    "0059": "DROP INDEX ix_invoices_listed_uncounted;",
    "0058": """
        ALTER TABLE customers DROP COLUMN language;
        ALTER TABLE alert_settings DROP COLUMN set_by;
        CREATE UNIQUE INDEX uq_alert_settings_entity
            ON alert_settings (environment_id, subscription_id, entity_type, entity_id) WHERE status = 'published';
    """,
    "0057": """
        DROP TABLE saved_list_views;
        DROP TRIGGER keep_search_terms ON customers;
        DROP FUNCTION keep_customer_search_terms, search_words;
        DROP TABLE customer_search_terms;
        DROP INDEX ix_invoices_number_prefix, ix_invoices_amounts, ix_payments_gateway_reference, ix_payments_amount;
    """,
    "0056": "DROP TABLE internal_notes, attachments, attachment_contents;",
    "0055": """
        DROP TABLE migrated_records, migrations;
        ALTER TABLE subscriptions DROP COLUMN billed_from;
    """,
    "0053": """
        DROP TABLE event_versions, invoice_correction_lines, invoice_corrections;
        ALTER TABLE credit_notes DROP COLUMN correction_id;
    """,
    "0051": "DROP TABLE marketplace_agreements, usage_recordings, usage_records;",
    "0050": """
        DROP TABLE invoice_write_offs, dunning_cases, customer_dunning;
        DROP INDEX ix_invoices_unpaid_payer, ix_invoices_unpaid_owner, ix_invoices_overdue;
        ALTER TABLE invoices DROP COLUMN written_off_at, DROP COLUMN written_off_amount, DROP COLUMN write_off_reason;
        CREATE INDEX ix_invoices_unpaid_payer ON invoices (environment_id, customer_id)
            INCLUDE (owner_id, currency, amount_remaining, usage_remaining, due_date)
            WHERE status = 'published' AND invoice_status = 'FINALIZED'
            AND invoice_type IN ('SUBSCRIPTION', 'ONE_OFF') AND amount_remaining > 0
            AND payment_status NOT IN ('SUCCEEDED', 'OVERPAID', 'REFUNDED', 'VOIDED');
        CREATE INDEX ix_invoices_unpaid_owner ON invoices (environment_id, owner_id)
            INCLUDE (customer_id, currency, amount_remaining, usage_remaining, due_date)
            WHERE status = 'published' AND invoice_status = 'FINALIZED'
            AND invoice_type IN ('SUBSCRIPTION', 'ONE_OFF') AND amount_remaining > 0
            AND payment_status NOT IN ('SUCCEEDED', 'OVERPAID', 'REFUNDED', 'VOIDED');
        CREATE INDEX ix_invoices_overdue ON invoices (environment_id, due_date)
            WHERE status = 'published' AND invoice_status = 'FINALIZED'
            AND invoice_type IN ('SUBSCRIPTION', 'ONE_OFF') AND amount_remaining > 0
            AND payment_status NOT IN ('SUCCEEDED', 'OVERPAID', 'REFUNDED', 'VOIDED')
            AND due_date IS NOT NULL AND overdue_notified_at IS NULL;
    """,
    "0049": """
        DROP TABLE tasks, scheduled_tasks, task_problems, stored_files, stored_file_pieces;
        ALTER TABLE connections DROP CONSTRAINT ck_connections_provider_type_known;
        ALTER TABLE connections ADD CONSTRAINT ck_connections_provider_type_known CHECK (provider_type IN
            ('flexprice', 'stripe', 's3', 'hubspot', 'razorpay', 'chargebee', 'quickbooks', 'zoho_books', 'nomod',
            'moyasar', 'paddle', 'whop', 'tabs', 'aws_marketplace', 'gcp_marketplace', 'azure_marketplace'));
        DROP INDEX uq_connections_provider;
        CREATE UNIQUE INDEX uq_connections_provider ON connections (environment_id, provider_type)
            WHERE status = 'published' AND provider_type <> 's3';
    """,
    "0048": """
        DROP TABLE fx_rates, euro_reference_rates;
        DROP EXTENSION btree_gist;
        ALTER TABLE invoices DROP COLUMN charged_in, DROP COLUMN fx_rate, DROP COLUMN fx_rate_id,
            DROP COLUMN fx_scope, DROP COLUMN converted_at, DROP COLUMN source_subtotal,
            DROP COLUMN source_total_discount, DROP COLUMN source_total_prepaid_credits_applied;
        ALTER TABLE invoice_line_items DROP COLUMN source_amount, DROP COLUMN source_line_item_discount,
            DROP COLUMN source_invoice_level_discount, DROP COLUMN source_prepaid_credits_applied,
            DROP COLUMN source_taxed_credits_applied;
        ALTER TABLE coupon_applications DROP COLUMN source_discounted_amount;
        ALTER TABLE credit_note_line_items DROP COLUMN source_net_amount;
        ALTER TABLE proration_settlements DROP COLUMN paid_out;
    """,
    "0047": """
        DROP TABLE checkout_sessions;
        DROP INDEX ix_payments_checkout;
        ALTER TABLE invoices DROP COLUMN checkout_session_id, DROP COLUMN awaits_checkout;
        ALTER TABLE payments DROP COLUMN checkout_session_id;
        ALTER TABLE subscriptions DROP COLUMN checkout_session_id;
    """,
    "0046": """
        DROP FUNCTION erase_texts;
        DROP INDEX ix_customers_documents_kept;
        ALTER TABLE customers DROP COLUMN erased_at, DROP COLUMN documents_kept_until;
        ALTER TABLE alert_settings DROP COLUMN customer_id;
        DROP TABLE undelivered_counts;
        DROP INDEX ix_webhook_deliveries_failed, ix_emails_parked;
    """,
    "0045": """
        ALTER TABLE refunds DROP CONSTRAINT ck_refunds_unapplied_money_is_of_no_invoice;
        ALTER TABLE refunds DROP COLUMN unapplied_money_id, DROP COLUMN reference;
    """,
    "0043": """
        ALTER TABLE subscription_line_items DROP CONSTRAINT ck_subscription_line_items_buckets_are_sound;
        DROP FUNCTION commitment_time_buckets_are_sound;
    """,
    "0042": "DROP TABLE analytics_views;",
    "0041": """
        DROP INDEX ix_credit_notes_settlement;
        ALTER TABLE credit_notes DROP COLUMN settlement_key;
        ALTER TABLE invoices DROP COLUMN opening_credit_terms;
        ALTER TABLE wallet_transactions DROP COLUMN taxed_at_purchase;
        ALTER TABLE invoice_line_items DROP COLUMN taxed_credits_applied;
    """,
    "0040": """
        DROP TABLE party_versions;
        ALTER TABLE customers DROP COLUMN tax_id;
        ALTER TABLE invoices DROP COLUMN due_date_at_issue, DROP COLUMN due_date_moved,
            DROP COLUMN seller_version_id, DROP COLUMN buyer_version_id;
        ALTER TABLE invoice_line_items DROP COLUMN unit_code;
    """,
    "0039": "DROP TABLE emails, password_mails;",
    "0038": """
        ALTER TABLE invoice_line_items DROP COLUMN usage_windows;
        DROP INDEX ix_entitlements_granting;
        DROP TABLE entitlement_grants;
    """,
    "0037": """
        DROP TABLE alert_settings, alert_logs, usage_notices, usage_evaluations;
        DROP SEQUENCE alert_logs_position;
        ALTER TABLE wallets DROP COLUMN sent_real_time_credits;
    """,
    "0036": """
        DROP TRIGGER facts_stay ON system_events;
        DROP FUNCTION system_event_facts_stay, forget_activities;
        ALTER TABLE system_events NO FORCE ROW LEVEL SECURITY;
        DELETE FROM system_events WHERE payload IS NULL;
        ALTER TABLE system_events FORCE ROW LEVEL SECURITY;
        DROP INDEX ix_system_events_entity, ix_system_events_customer, ix_system_events_actor, ix_system_events_owner,
            ix_system_events_request;
        ALTER TABLE system_events DROP COLUMN is_echo, DROP COLUMN customer_id, DROP COLUMN entity_label,
            DROP COLUMN actor_type, DROP COLUMN actor_id, DROP COLUMN actor_label, DROP COLUMN owner_id,
            DROP COLUMN source, DROP COLUMN request_id, DROP COLUMN ip, DROP COLUMN user_agent, DROP COLUMN state,
            DROP COLUMN changes, ALTER COLUMN payload SET NOT NULL,
            ALTER COLUMN entity_id TYPE varchar(50);
        CREATE INDEX ix_system_events_entity ON system_events (environment_id, entity_id, id);
        DROP POLICY scope ON system_events;
        CREATE POLICY scope ON system_events
            USING (environment_id = current_setting('farthing.environment_id', true))
            WITH CHECK (environment_id = current_setting('farthing.environment_id', true));
    """,
    "0035": "DROP TABLE credit_grant_applications, credit_grants;",
    "0034": """
        DROP TABLE credit_note_sequences, credit_note_line_items, credit_notes, unapplied_money, refunds;
        DROP INDEX ix_invoice_settlements_unapplied_money, uq_invoice_settlements_other;
        ALTER TABLE invoice_settlements DROP CONSTRAINT ck_invoice_settlements_allocation_named,
            DROP CONSTRAINT ck_invoice_settlements_kind_known, DROP COLUMN unapplied_money_id;
        ALTER TABLE invoice_settlements ADD CONSTRAINT ck_invoice_settlements_kind_known
            CHECK (kind IN ('payment', 'manual', 'auto_complete'));
        CREATE UNIQUE INDEX uq_invoice_settlements_other ON invoice_settlements (environment_id, invoice_id)
            WHERE kind <> 'payment';
        DROP INDEX ix_payments_loose_ends;
        ALTER TABLE payments ADD COLUMN return_due boolean NOT NULL DEFAULT false;
        ALTER TABLE payments ALTER COLUMN return_due DROP DEFAULT;
        CREATE INDEX ix_payments_loose_ends ON payments (environment_id, id) WHERE return_due OR withdrawal_due;
    """,
    "0033": """
        DROP TABLE webhook_endpoints, webhook_deliveries, webhook_attempts, webhook_environments;
        DROP INDEX ix_system_events_waiting, ix_system_events_created;
        ALTER TABLE system_events DROP COLUMN position;
        DROP SEQUENCE system_events_position;
        CREATE INDEX ix_system_events_waiting ON system_events (environment_id, id) WHERE dispatched_at IS NULL;
    """,
    "0031": """
        DROP TRIGGER looked_at_again ON wallets;
        DROP FUNCTION wallet_is_looked_at_again;
        DROP INDEX ix_wallet_transactions_automatic;
        ALTER TABLE wallet_transactions DROP COLUMN automatic;
        ALTER TABLE wallets DROP COLUMN auto_topup_enabled, DROP COLUMN auto_topup_invoicing,
            DROP COLUMN auto_topup_threshold, DROP COLUMN auto_topup_amount, DROP COLUMN auto_topup_monthly_limit,
            DROP COLUMN auto_topup_cooldown_value, DROP COLUMN auto_topup_cooldown_unit, DROP COLUMN alert_settings,
            DROP COLUMN alert_state, DROP COLUMN credit_alert_state, DROP COLUMN evaluate_at;
    """,
    "0030": """
        DROP TABLE wallet_consumptions, wallet_transactions, wallets;
        DROP FUNCTION wallet_facts_stay, wallet_transaction_chains, wallet_ends_its_chain;
        DROP INDEX uq_invoices_wallet_transaction;
        ALTER TABLE proration_settlements DROP COLUMN tax_credited;
        ALTER TABLE proration_settlements ADD CONSTRAINT ck_proration_settlements_amounts_not_negative
            CHECK (credit >= 0 AND charge >= 0 AND credited_to_payer >= 0 AND discount BETWEEN 0 AND charge);
    """,
    "0029": "ALTER TABLE subscription_pauses DROP COLUMN original_billing_anchor;",
    "0028": """
        ALTER TABLE coupon_associations DROP COLUMN cut_at, DROP COLUMN counted_from, DROP COLUMN periods_used,
            DROP COLUMN continues_id;
        ALTER TABLE coupon_applications DROP COLUMN period_start;
        DROP INDEX ix_coupon_applications_association;
        ALTER TABLE proration_settlements DROP COLUMN discount, DROP COLUMN returned_discounts;
        ALTER TABLE proration_settlements ADD CONSTRAINT ck_proration_settlements_amounts_not_negative
            CHECK (credit >= 0 AND charge >= 0 AND credited_to_payer >= 0);
        ALTER TABLE invoices DROP COLUMN tax_exempt;
    """,
}
"""By revision, newest first."""


def undo_after(revision: str) -> str:
    """The statements that take today's schema back to `revision`, and the database's word for it along."""
    undoing = "".join(statements for later, statements in UNDOING.items() if later > revision)
    return f"{undoing} UPDATE alembic_version SET version_num = '{revision}';"
