"""Finding: words of customers, first characters of numbers and references, amounts; and lists as people saved them."""

from alembic import op

revision = "0057"
down_revision = "0056"

_HERE = "environment_id = current_setting('farthing.environment_id', true)"
# whatever of ASCII is neither a letter nor a digit parts words; everything beyond ASCII belongs to one
_WORDS = r"""
    CREATE FUNCTION search_words(given text) RETURNS SETOF text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT DISTINCT left(word, 60)
        FROM regexp_split_to_table(lower(given), '[\u0001-\u002f\u003a-\u0060\u007b-\u007f]+') AS word
        WHERE word <> ''
    $$
"""
_NAMES = """
    concat_ws(' ', {row}.name, {row}.email, {row}.external_id,
        (SELECT string_agg(former, ' ') FROM jsonb_array_elements_text({row}.former_external_ids) AS former))
"""
_TABLE = """
    CREATE TABLE customer_search_terms (
        customer_id VARCHAR(50) NOT NULL,
        term TEXT COLLATE "C" NOT NULL,
        environment_id VARCHAR(50) NOT NULL
    )
"""
_FILL = f"""
    INSERT INTO customer_search_terms (environment_id, customer_id, term)
    SELECT c.environment_id, c.id, word FROM customers AS c, search_words({_NAMES.format(row="c")}) AS word
"""
_KEYS = """
    ALTER TABLE customer_search_terms ADD CONSTRAINT pk_customer_search_terms
        PRIMARY KEY (environment_id, customer_id, term);
    CREATE INDEX ix_customer_search_terms_term ON customer_search_terms (environment_id, term, customer_id);
"""
_KEEP = f"""
    CREATE FUNCTION keep_customer_search_terms() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            DELETE FROM customer_search_terms WHERE environment_id = OLD.environment_id AND customer_id = OLD.id;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            INSERT INTO customer_search_terms (environment_id, customer_id, term)
            SELECT NEW.environment_id, NEW.id, word FROM search_words({_NAMES.format(row="NEW")}) AS word;
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER keep_search_terms
        AFTER INSERT OR DELETE OR UPDATE OF name, email, external_id, former_external_ids ON customers
        FOR EACH ROW EXECUTE FUNCTION keep_customer_search_terms();
"""
_INDEXES = """
    CREATE INDEX ix_invoices_number_prefix ON invoices (environment_id, invoice_number text_pattern_ops);
    CREATE INDEX ix_invoices_amounts ON invoices (environment_id, total, amount_remaining, id);
    CREATE INDEX ix_payments_gateway_reference ON payments (environment_id, gateway_payment_id text_pattern_ops)
        WHERE gateway_payment_id IS NOT NULL;
    CREATE INDEX ix_payments_amount ON payments (environment_id, amount, id);
"""
_SAVED = """
    CREATE TABLE saved_list_views (
        user_id VARCHAR(50) NOT NULL,
        list_key VARCHAR(40) NOT NULL,
        name VARCHAR(100) NOT NULL,
        parameters JSONB NOT NULL,
        saved_at TIMESTAMP WITH TIME ZONE NOT NULL,
        tenant_id VARCHAR(50) NOT NULL,
        environment_id VARCHAR(50) NOT NULL,
        id VARCHAR(50) NOT NULL,
        CONSTRAINT pk_saved_list_views PRIMARY KEY (id),
        CONSTRAINT ck_saved_list_views_named CHECK (name <> '')
    );
    CREATE UNIQUE INDEX uq_saved_list_views_name ON saved_list_views (environment_id, user_id, list_key, name);
"""


def upgrade() -> None:
    op.execute(_WORDS)
    op.execute(_TABLE)
    op.execute("ALTER TABLE customers NO FORCE ROW LEVEL SECURITY")
    op.execute(_FILL)
    op.execute("ALTER TABLE customers FORCE ROW LEVEL SECURITY")
    op.execute(_KEYS)
    op.execute(_KEEP)
    op.execute(_INDEXES)
    op.execute(_SAVED)
    for table in ("customer_search_terms", "saved_list_views"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY scope ON {table} USING ({_HERE}) WITH CHECK ({_HERE})")
