"""What an embedded PostgreSQL is given: by arithmetic, and as a real one has it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from farthing.settings import BadSettings, load
from farthing.storage.embedded import EmbeddedPostgres
from farthing.storage.tuning import Machine, size_mb, this_machine, tuned


@pytest.mark.parametrize(
    ("machine", "data_mb", "connections", "expected"),
    [
        pytest.param(
            Machine(2, 24_000),
            30,
            93,
            {
                "shared_buffers": "256MB",
                "work_mem": "16MB",
                "maintenance_work_mem": "256MB",
                "autovacuum_work_mem": "64MB",
                "autovacuum_max_workers": "2",
                "max_parallel_workers": "2",
                "max_parallel_workers_per_gather": "1",
                "max_connections": "93",
                "effective_cache_size": "12000MB",
            },
            id="an empty deployment takes little of a large machine",
        ),
        pytest.param(Machine(2, 24_000), 700, 93, {"shared_buffers": "1024MB"}, id="buffers hold the data"),
        pytest.param(Machine(2, 24_000), 90_000, 93, {"shared_buffers": "2048MB"}, id="up to two gigabytes"),
        pytest.param(
            Machine(1, 1_000),
            5_000,
            93,
            {
                "shared_buffers": "125MB",
                "work_mem": "4MB",
                "maintenance_work_mem": "32MB",
                "autovacuum_work_mem": "32MB",
                "max_parallel_workers_per_gather": "0",
            },
            id="an eighth of a small machine",
        ),
        pytest.param(Machine(8, 4_000), 0, 200, {"work_mem": "5MB"}, id="all connections keep within a quarter"),
        pytest.param(
            Machine(64, 500_000),
            0,
            93,
            {"autovacuum_max_workers": "3", "max_parallel_workers": "64", "max_parallel_workers_per_gather": "2"},
            id="many cores",
        ),
    ],
)
def test_memory_and_workers_follow_machine_and_data(
    machine: Machine, data_mb: int, connections: int, expected: dict[str, str]
) -> None:
    settings = tuned(machine, data_mb, connections)
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        pytest.param("max 100000", 4, id="none"),
        pytest.param("250000 100000", 2, id="two and a half"),
        pytest.param("50000 100000", 1, id="half a core"),
        pytest.param("900000 100000", 4, id="more than there are"),
    ],
)
def test_a_containers_limits_count(monkeypatch: pytest.MonkeyPatch, quota: str, cores: int) -> None:
    limits = {"/sys/fs/cgroup/cpu.max": quota, "/sys/fs/cgroup/memory.max": str(64 * 2**20)}
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(Path, "read_text", lambda path: limits[str(path)])
    assert this_machine() == Machine(cores, 64)


def test_the_size_of_data_is_what_its_files_take(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "rows").write_bytes(b"." * 3 * 2**20)
    assert size_mb(tmp_path) == 3
    assert size_mb(tmp_path / "nowhere") == 0


@pytest.mark.database
def test_a_server_has_what_suits_it_unless_the_operator_chose(tmp_path: Path) -> None:
    chosen = load({"FARTHING_POSTGRES_SETTINGS": '{"work_mem": "7MB", "max_connections": 31, "jit": true}'})
    with (
        EmbeddedPostgres(tmp_path / "data", chosen.embedded_settings()) as server,
        psycopg.connect(server.url()) as connection,
    ):
        names = ("work_mem", "max_connections", "jit", "shared_buffers", "fsync", "listen_addresses")
        shown = connection.execute("SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [[*names]])
        assert dict(shown.fetchall()) == {
            "work_mem": "7MB",
            "max_connections": "31",
            "jit": "on",
            "shared_buffers": "256MB",
            "fsync": "on",
            "listen_addresses": "",
        }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param("shared_buffers=1GB", "not the JSON", id="no JSON"),
        pytest.param('{"fsync": "off", "port": 5432}', "fsync, port cannot be set", id="what was answered is on disk"),
        pytest.param('{"Work Mem": "1MB"}', "matching regex", id="no name of a setting"),
        pytest.param('{"work_mem": ["1MB"]}', "Expected", id="no value of a setting"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(given: str, said: str) -> None:
    with pytest.raises(BadSettings, match="FARTHING_POSTGRES_SETTINGS") as refused:
        load({"FARTHING_POSTGRES_SETTINGS": given})
    assert said in str(refused.value)


def test_settings_of_a_server_that_is_not_ours_are_refused() -> None:
    with pytest.raises(BadSettings, match="set up that server"):
        load(
            {
                "FARTHING_POSTGRES_SETTINGS": "{}",
                "FARTHING_DATABASE_URL": "postgresql://farthing@db/farthing",
                "FARTHING_SECRET_KEY": "a secret of sixteen and more",
            }
        )
