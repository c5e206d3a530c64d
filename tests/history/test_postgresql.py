"""A history in PostgreSQL itself: a server of its own, made and taken down by the test."""

import glob
import multiprocessing
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import large_history
import pytest
import sqlalchemy

from dlbench.errors import DlbenchError, UsageError
from dlbench.history import change_points
from dlbench.history import database as module
from dlbench.history.rows import read_entries
from dlbench.history.series import search, view
from dlbench.history.store import Store
from dlbench.history.tables import SCHEMA

PROGRAMS = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
needs_server = [
    pytest.mark.soak,
    pytest.mark.skipif(
        not PROGRAMS or os.geteuid() != 0 or not shutil.which("runuser"),
        reason="takes root and Debian's package postgresql",
    ),
]
JOBS = 8


class Server:
    """A cluster of PostgreSQL in a folder, run by the user that Debian makes for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.user = folder, "postgres"
        with socket.socket() as asked:
            asked.bind(("127.0.0.1", 0))
            self.port = asked.getsockname()[1]
        owner = pwd.getpwnam(self.user)
        folder.chmod(0o755)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        self.run("initdb", "--auth=trust", "--no-sync", "--locale=C.UTF-8", "--pgdata", self.data)

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def run(self, program: str, *words: str) -> None:
        command = ["runuser", "-u", self.user, "--", f"{PROGRAMS[-1]}/{program}", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def control(self, *words: str) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        log = str(self.folder / "log")
        self.run("pg_ctl", "--pgdata", self.data, "-w", "-l", log, "-o", options, *words)

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}:secret@127.0.0.1:{self.port}/{database}"


@pytest.fixture(scope="module")
def server():
    # the server's own user has to reach it, and pytest keeps its folders to itself
    with tempfile.TemporaryDirectory(prefix="dlbench-postgresql-") as folder:
        made = Server(Path(folder))
        made.control("start")
        yield made
        made.control("stop", "--mode=immediate")


@pytest.fixture
def url(server, request):
    """A database of its own."""
    name = f"db{abs(hash(request.node.name))}"
    server.run("createdb", "-h", "127.0.0.1", "-p", str(server.port), name)
    return server.url(name)


def added(place, *paths):
    with Store(place, create=True) as store:
        return [store.add(entry) for path in paths for entry in read_entries(path)]


def rows(place):
    with Store(place) as store:
        return [point for one in store.series() for point in store.points([one.id])[one.id]]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://me:secret@host/x", r"mysql://me:\*\*\*@host/x: a history lives in"),
        ("sqlite://", "a history lives in an SQLite file"),
        ("://", "is no URL"),
    ],
)
def test_what_is_no_place_for_a_history_is_told_without_its_password(url, told):
    with pytest.raises(UsageError, match=told) as refused:
        Store(url)
    assert "secret" not in str(refused.value)


def test_a_file_may_be_named_as_a_url(tmp_path, write):
    path = tmp_path / "history.sqlite"
    assert ["added"] == added(f"sqlite:///{path}", write(1))
    assert 1 == len(rows(path))


def test_a_server_that_is_not_there_is_told_once_waiting_was_of_no_use(monkeypatch):
    monkeypatch.setattr(module, "BUSY_S", 0.01)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"postgresql://me:secret@127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(DlbenchError, match="cannot be reached") as refused:
            Store(place, create=True)
    assert "secret" not in str(refused.value)


class TestServer:
    pytestmark = needs_server

    def test_records_come_and_grow_as_in_a_file(self, url, write, tmp_path):
        path = write(1)
        whole = path.read_bytes()
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
        assert ["added"] == added(url, path)
        path.write_bytes(whole)
        assert ["grown", "added", "there"] == added(url, path, write(2), write(2))
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
        assert ["shorter"] == added(url, path)
        path.write_bytes(whole)
        file = tmp_path / "history.sqlite"
        added(file, path, write(2))
        told = [[(p.name, p.created, p.versions, p.row) for p in rows(at)] for at in (url, file)]
        assert 2 == len(told[0])
        assert told[0] == told[1]

    def test_change_points_are_kept(self, url, write):
        added(url, *(write(day, 0.036 if day < 15 else 0.045) for day in range(30)))
        with Store(url) as store:
            search(store)
            [series] = view(store).series
            assert store.series()[0].searched
        assert change_points.available()
        assert ["2026-01-16T06:00:00+00:00"] == [change.created for change in series.changes]
        # a row more, and what was found is no longer true of all
        added(url, write(31))
        with Store(url) as store:
            assert not store.series()[0].searched

    def test_a_history_that_is_not_there_yet_and_one_of_a_newer_dlbench(self, url, write):
        with pytest.raises(DlbenchError, match=r"postgres:\*\*\*@.*there is no history yet"):
            Store(url)
        added(url, write(1))
        engine = sqlalchemy.create_engine(url.replace("postgresql", "postgresql+psycopg"))
        with engine.begin() as base:
            base.exec_driver_sql(f"UPDATE dlbench.version SET tables = {SCHEMA + 1}")
        engine.dispose()
        with pytest.raises(DlbenchError, match=f"schema {SCHEMA + 1}.* use a newer dlbench"):
            Store(url)

    def test_what_the_server_refuses_is_told_at_once(self, server):
        began_s = time.monotonic()
        with pytest.raises(DlbenchError, match='database "nowhere" does not exist'):
            Store(server.url("nowhere"), create=True)
        assert time.monotonic() - began_s < module.BUSY_S

    def test_the_command_takes_a_url(self, url, write):
        program = [sys.executable, "-c", "from dlbench.cli.main import main; main()", "history"]
        environment = os.environ | {"DLBENCH_HISTORY": url}
        for words in (["add", str(write(1))], ["show"]):
            done = subprocess.run(
                [*program, *words], env=environment, capture_output=True, text=True, check=False
            )
            assert 0 == done.returncode, done.stderr
            assert "secret" not in done.stdout + done.stderr
        assert "1 row" in done.stdout

    def test_a_million_rows_are_shown_alike_by_either_database(self, url, tmp_path):
        shown = []
        for place in (url, tmp_path / "history.sqlite"):
            large_history.make(place)
            with Store(place) as store:
                shown.append(view(store).series)
            assert 1_000_000 == sum(series.total for series in shown[-1])
        assert shown[0] == shown[1]

    def test_jobs_that_add_at_once_while_the_server_restarts_lose_nothing(self, server, url, write):
        paths = [write(day) for day in range(6 * JOBS)]
        # each record is added by two jobs
        shares = [(*paths[n::JOBS], *paths[(n + 1) % JOBS :: JOBS]) for n in range(JOBS)]
        context = multiprocessing.get_context("spawn")
        with context.Manager() as manager:
            begun = manager.Barrier(JOBS + 1)
            jobs = [context.Process(target=_add_slowly, args=(begun, url, s)) for s in shares]
            for job in jobs:
                job.start()
            begun.wait(120)
            time.sleep(0.5)
            server.control("restart", "--mode=fast")
            for job in jobs:
                job.join(120)
        assert [0] * JOBS == [job.exitcode for job in jobs]
        assert sorted(path.name for path in paths) == [point.name for point in rows(url)]


def _add_slowly(begun, place, paths):
    begun.wait(120)
    with Store(place, create=True) as store:
        for path in paths:
            for entry in read_entries(path):
                store.add(entry)
            time.sleep(0.1)
