"""The statement that inserts events and what they count: a batch of arrivals as the arrays it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from farthing.core.event_loop.slices import collect
from farthing.events.ingest import statements
from farthing.events.ingest.arrivals import Placed, count_unmetered
from farthing.events.ingest.contents import written
from farthing.events.ingest.measuring import Measurements
from farthing.events.ingest.parameters import arrays, quoted_runs, single_row, text_array
from farthing.storage.connections.messages import Statement


class Batch:
    """Events of one statement as the arrays it takes, and what they count."""

    def __init__(self, placed: Sequence[Placed], measured: Measurements) -> None:
        self._placed = placed
        self._measured = measured
        places = {place for place, _ in placed}
        self._counted = [counted for counted in measured.counted if counted[0] in places]

    @property
    def is_of_one(self) -> bool:
        """Whether it is one event, which one meter counts."""
        return len(self._placed) == len(self._counted) == 1

    def single_row(self) -> list[str | None]:
        """The parameters of an insertion `is_of_one`."""
        ((place, arrival),) = self._placed
        ((_, meter_id, measured),) = self._counted
        return single_row(place, arrival, meter_id, measured)

    def ids(self) -> list[str]:
        return [arrival.event.id for _, arrival in self._placed]

    def properties(self) -> Iterator[str]:
        """The properties of each event as JSON, made as they are taken."""
        return (written(arrival.event.properties) for _, arrival in self._placed)

    def columns(self, properties: Iterable[str]) -> list[Any]:
        """A list for each column, that of the properties as given."""
        events = [arrival.event for _, arrival in self._placed]
        return [
            [place for place, _ in self._placed],
            [event.timestamp for event in events],
            [arrival.at for _, arrival in self._placed],
            [event.id for event in events],
            [event.external_customer_id for event in events],
            [event.event_name for event in events],
            [event.customer_id for event in events],
            [event.source for event in events],
            list(properties),
            [arrival.sender.id for _, arrival in self._placed],
        ]

    def measured(self) -> list[Any]:
        counted = self._counted
        return [
            [place for place, _, _ in counted],
            [meter_id for _, meter_id, _ in counted],
            [quantity.quantity for _, _, quantity in counted],
            [quantity.key for _, _, quantity in counted],
            [quantity.quantity_error for _, _, quantity in counted],
        ]

    def notice(self) -> list[Any]:
        """When the first of them came, and whose they are."""
        arrivals = [arrival for _, arrival in self._placed]
        return [
            min(arrival.at for arrival in arrivals),
            list({arrival.event.external_customer_id for arrival in arrivals}),
        ]

    def unmetered(self, places: set[int] | None) -> Counter[str]:
        """Events among `places` (None: all) that nothing counts, by reason."""
        placed = self._placed if places is None else [numbered for numbered in self._placed if numbered[0] in places]
        return count_unmetered(placed, self._measured)


async def insertion(environment: str, batch: Batch, condition: Sequence[str] = ()) -> Statement:
    """What answers the places of the new events; `condition` is the version of the meters, and the tenant."""
    if batch.is_of_one:
        sql = statements.INSERT_ONE_IF if condition else statements.INSERT_ONE
        return Statement(sql, [environment, *batch.single_row(), *condition])
    properties = await collect(quoted_runs(batch.properties()), environment)
    columns = arrays(batch.columns(properties), batch.measured(), batch.notice())
    return Statement(statements.INSERT_IF if condition else statements.INSERT, [environment, *columns, *condition])


async def insertion_unless_void(environment: str, batch: Batch) -> Sequence[Statement]:
    """The same, and what answers the ids of void ones."""
    # a statement of its own, so that it sees the void of an event that the insert has waited for
    return await insertion(environment, batch), Statement(statements.VOID, (environment, text_array(batch.ids())))
