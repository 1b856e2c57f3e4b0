"""How many processes suit a machine, and what connections they want of its database.

Loads little, as `engine` does.
"""

from __future__ import annotations

from farthing.settings import Settings
from farthing.storage.capacity import Demand, demand_of, granted
from farthing.storage.tuning import usable_cores

MOST_BY_DEFAULT = 8


def processes_for_this_machine(settings: Settings) -> int:
    """How many server processes suit this machine, at most eight.

    An embedded PostgreSQL takes about a third of the time that an answer costs, so it leaves three quarters of the
    cores to the servers, rounded up: two on two cores, three on four. A database elsewhere leaves all of them, if it
    grants the connections.
    """
    cores = usable_cores()
    if settings.database_url is None:
        return beside_embedded(cores)
    count = min(cores, MOST_BY_DEFAULT)
    free = granted(settings.database_url).free if count > 1 else 0
    while count > 1 and sum(demand.total for demand in demands_of(settings, count)) > free:
        count -= 1
    return count


def beside_embedded(cores: int) -> int:
    """How many server processes go with an embedded PostgreSQL on so many cores."""
    return min(-(-cores * 3 // 4), MOST_BY_DEFAULT)


def demands_of(settings: Settings, count: int) -> list[Demand]:
    """What each process wants: the servers, and at last the workers if there are any."""
    workers = [demand_of(settings.pool_size, works=True)] * worker_count(settings)
    return [demand_of(settings.pool_size, works=False)] * count + workers


def worker_count(settings: Settings) -> int:
    """How many processes do nothing but work on jobs, where there are several."""
    return settings.worker_processes if settings.worker else 0
