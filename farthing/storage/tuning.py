"""What an embedded PostgreSQL is given of its machine: memory and workers, by cores, memory, data and connections.

Bounds, not wishes: what the settings allow together is a fraction of the memory, however many connections there are.
A container's limits count, not the machine behind it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LEAST_BUFFERS_MB = 256
"""A new deployment fills them within its first day; what is not filled takes no memory."""
MOST_BUFFERS_MB = 2048


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use: whole cores, and megabytes of memory."""

    cores: int
    memory_mb: int


def this_machine() -> Machine:
    """The machine, less where an affinity or a container's quota is."""
    return Machine(usable_cores(), _usable_memory_mb())


def usable_cores() -> int:
    """The cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _usable_memory_mb() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or "max"
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory // 2**20


def tuned(machine: Machine, data_mb: int, connections: int) -> Mapping[str, str]:
    """Settings for a PostgreSQL with `data_mb` of data that grants `connections`; durability stays its own default.

    - `shared_buffers`: the power of two that holds the data, at most an eighth of the memory and 2 GB; the kernel
      caches what is beyond. It follows the data at each start.
    - `work_mem`: so that all connections at once, each with one sort or hash, keep within a quarter of the memory.
    - Parallel workers: none on one core, and never more than there are cores.
    """
    memory, cores = machine.memory_mb, machine.cores
    wanted = max(LEAST_BUFFERS_MB, 1 << max(data_mb - 1, 0).bit_length())
    maintenance = min(max(memory // 64, 32), 256)
    parallel = min(cores - 1, 2)
    return {
        "shared_buffers": f"{max(min(wanted, memory // 8, MOST_BUFFERS_MB), 32)}MB",
        "wal_buffers": "16MB",
        "effective_cache_size": f"{max(memory // 2, 128)}MB",
        "work_mem": f"{min(max(memory // 4 // connections, 4), 16)}MB",
        "maintenance_work_mem": f"{maintenance}MB",
        "autovacuum_work_mem": f"{min(maintenance, 64)}MB",
        "autovacuum_max_workers": str(min(max(cores, 1), 3)),
        "max_parallel_workers": str(cores),
        "max_parallel_workers_per_gather": str(parallel),
        "max_parallel_maintenance_workers": str(parallel),
        "max_logical_replication_workers": "0",
        "max_connections": str(connections),
        "max_wal_size": "4GB",
        "wal_compression": "on",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "jit": "off",
        "log_min_messages": "warning",
    }


def size_mb(folder: Path) -> int:
    """What the files in `folder` take, in megabytes; nothing where there is no such folder."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # gone meanwhile
                size += (Path(parent) / name).lstat().st_size
    return size // 2**20
