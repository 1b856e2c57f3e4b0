"""What stretches of the day with terms of their own decide is checked by the database; their ids differ."""

from alembic import op

revision = "0043"
down_revision = "0042"

# ids that a caller gave twice: the first keeps it
_NAMED_APART = """
    UPDATE subscription_line_items SET commitment_time_buckets = (
        SELECT jsonb_agg(
            CASE WHEN bucket.copies = 1 THEN bucket.terms
                ELSE jsonb_set(bucket.terms, '{id}', to_jsonb(concat(bucket.terms ->> 'id', '-', bucket.place)))
            END ORDER BY bucket.place
        ) FROM (
            SELECT terms, place, row_number() OVER (PARTITION BY terms ->> 'id' ORDER BY place) AS copies
            FROM jsonb_array_elements(commitment_time_buckets) WITH ORDINALITY AS element (terms, place)
        ) AS bucket
    )
    WHERE commitment_time_buckets IS NOT NULL AND (
        SELECT count(DISTINCT terms ->> 'id') < count(*) FROM jsonb_array_elements(commitment_time_buckets) AS terms
    )
"""
# one that begins where or after it ends goes on past midnight; those that overlap cover less than their sum
_SOUND = """
    CREATE FUNCTION commitment_time_buckets_are_sound(buckets jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
        WITH bucket AS (
            SELECT terms ->> 'id' AS id, terms ->> 'price_id' AS price_id, terms ->> 'commitment_type' AS kind,
                terms ->> 'commitment_value' AS committed, coalesce(terms ->> 'overage_factor', '1') AS factor,
                (terms #>> '{start,hour}')::integer * 60 + (terms #>> '{start,minute}')::integer AS first,
                (terms #>> '{end,hour}')::integer * 60 + (terms #>> '{end,minute}')::integer AS last
            FROM jsonb_array_elements(buckets) AS terms
        ),
        stretch AS (
            SELECT CASE WHEN first < last THEN int4multirange(int4range(first, last))
                ELSE int4multirange(int4range(first, 1440), int4range(0, last)) END AS minutes,
                CASE WHEN first < last THEN last - first ELSE 1440 - first + last END AS length
            FROM bucket WHERE first BETWEEN 0 AND 1440 AND last BETWEEN 0 AND 1440
        )
        SELECT coalesce(
            bool_and(
                id <> '' AND price_id <> '' AND kind IN ('amount', 'quantity')
                AND committed ~ '^[0-9]+([.][0-9]+)?$' AND factor ~ '^0*[1-9][0-9]*([.][0-9]+)?$'
                AND first BETWEEN 0 AND 1440 AND last BETWEEN 0 AND 1440
            )
            AND count(*) = count(DISTINCT id) AND count(*) = count(price_id) AND count(*) = count(kind)
            AND count(*) = count(committed) AND count(*) = count(first) AND count(*) = count(last)
            AND (SELECT sum(length) FROM stretch) = (
                SELECT sum(upper(part) - lower(part)) FROM (SELECT unnest(range_agg(minutes)) AS part FROM stretch) AS day
            ),
            false
        )
        FROM bucket
    $$
"""
_CHECKED = """
    ALTER TABLE subscription_line_items ADD CONSTRAINT ck_subscription_line_items_buckets_are_sound
    CHECK (commitment_time_buckets_are_sound(commitment_time_buckets))
"""


def upgrade() -> None:
    op.execute("ALTER TABLE subscription_line_items NO FORCE ROW LEVEL SECURITY")
    op.execute(_NAMED_APART)
    op.execute("ALTER TABLE subscription_line_items FORCE ROW LEVEL SECURITY")
    op.execute(_SOUND)
    op.execute(_CHECKED)
