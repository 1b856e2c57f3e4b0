"""Counting events by bucket, meter and customer, for figures that know more of customers than events do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTally:
    """Which events are counted, and what is told apart.

    Bucket n is `[edges[n], edges[n + 1])`. `meter_ids` None counts every event, others those that one of these meters
    counted: once, however many did, unless they are told apart `by_meter`. `by_customer` leaves out what is nobody's.
    `apart_ids` are those of the meters that count no event which another of them counts, so that nobody has to look.
    """

    edges: Sequence[datetime]
    meter_ids: Collection[str] | None = None
    apart_ids: frozenset[str] = frozenset()
    by_meter: bool = False
    by_customer: bool = False


class TalliedEvents(NamedTuple):
    """A query of PostgreSQL with the values that it names.

    Its rows are `at`, which lies in the bucket, `events` and, where they are told apart, `meter_id` and `customer_id`.
    """

    query: str
    given: Mapping[str, Any]


def owners_of(arrival: str) -> str:
    """The join from rows `u` to the customer `t` who owns them, by their external id and number of arrival."""
    return f"""
        JOIN external_id_tenures AS t ON t.environment_id = :environment AND t.external_id = u.external_customer_id
            AND {arrival} >= t.since_sequence AND (t.until_sequence IS NULL OR {arrival} < t.until_sequence)
    """
