"""Fetching against servers on this machine that break in all the ways servers do."""

from __future__ import annotations

import hashlib
import http.server
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlbench.data import fetch as fetch_module
from dlbench.data.fetch import COLLECTIONS, Collection, fetch
from dlbench.errors import DataError, UsageError

CONTENT = bytes(number * number % 251 for number in range(200_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()

Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request as the server's `answer` says, and notes its path."""

    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.answer(self)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""

    def send(self, status: int, body: bytes = b"", **headers: str | int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.requests: list[str] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


Serve = Callable[[Answer], Server]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running: list[tuple[Server, threading.Thread]] = []

    def start(answer: Answer) -> Server:
        server = Server(answer)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def whole(handler: Handler) -> None:
    """Send everything."""
    handler.send(200, CONTENT, Content_Length=len(CONTENT))


def cut(size: int) -> Answer:
    """Promise everything, send some of it, hang up."""
    return lambda handler: handler.send(200, CONTENT[:size], Content_Length=len(CONTENT))


def wrong(handler: Handler) -> None:
    handler.send(200, b"<html>sign in</html>", Content_Length=20)


def absent(handler: Handler) -> None:
    handler.send(404, Content_Length=0)


def stalled(handler: Handler) -> None:
    """Send a little, then nothing for as long as the test lasts."""
    handler.send(200, CONTENT[:1000], Content_Length=len(CONTENT))
    handler.wfile.flush()
    handler.server.released.wait(20)


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """One file is what there is to fetch."""
    monkeypatch.setitem(COLLECTIONS, "mnist", Collection({"data.bin": SHA256}, ()))


def get(folder: Path, *servers: Server, timeout_s: float = 10.0) -> Path:
    mirrors = [server.url for server in servers]
    (path,) = fetch("mnist", cache_dir=folder, mirrors=mirrors, timeout_s=timeout_s)
    return path


def assert_fetched(path: Path) -> None:
    assert path.read_bytes() == CONTENT
    assert [found.name for found in path.parent.iterdir()] == ["data.bin"]


def assert_nothing_is_left(folder: Path) -> None:
    assert [] == [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_fetched_with_its_progress_into_the_folder_of_its_data_set(
    serve: Serve, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int | None]] = []
    (path,) = fetch(
        "mnist",
        cache_dir=tmp_path / "new",
        mirrors=[serve(whole).url],
        on_progress=lambda *progress: seen.append(progress),
    )
    assert path == tmp_path / "new" / "mnist" / "data.bin"
    assert_fetched(path)
    assert seen[-1] == ("data.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert len(seen) >= 3


def test_a_sound_file_is_not_fetched_again_and_a_damaged_one_is(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(whole)
    path = get(tmp_path, server)
    get(tmp_path, server)
    assert server.requests == ["/data.bin"]
    path.write_bytes(CONTENT[:-1])
    assert_fetched(get(tmp_path, server))


@pytest.mark.parametrize("answer", [cut(70_000), wrong, absent], ids=["cut", "wrong", "absent"])
def test_a_mirror_that_does_not_deliver_is_passed_over_for_the_next(
    serve: Serve, tmp_path: Path, answer: Answer
) -> None:
    assert_fetched(get(tmp_path, serve(answer), serve(whole)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (cut(70_000), "IncompleteRead|incomplete|ended"),
        (wrong, f"expected {SHA256} but got [0-9a-f]{{64}}"),
        (absent, "data.bin: 404 Client Error: Not Found"),
        (
            lambda handler: handler.wfile.write(b"220 mail ready\r\n\r\n"),
            "BadStatusLine|mail ready",
        ),
        (lambda handler: handler.send(302, Location=handler.path, Content_Length=0), "redirects"),
    ],
    ids=["cut", "wrong", "absent", "no http", "circle"],
)
def test_where_no_mirror_delivers_the_error_says_why_and_nothing_is_left(
    serve: Serve, tmp_path: Path, answer: Answer, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        get(tmp_path, serve(answer))
    assert_nothing_is_left(tmp_path)


def test_a_damaged_file_stays_until_a_sound_one_takes_its_place(
    serve: Serve, tmp_path: Path
) -> None:
    path = get(tmp_path, serve(whole))
    path.write_bytes(b"damaged")
    with pytest.raises(DataError):
        get(tmp_path, serve(cut(70_000)))
    assert path.read_bytes() == b"damaged"
    assert_fetched(get(tmp_path, serve(whole)))


def test_a_mirror_that_falls_silent_is_given_up_for_the_next(serve: Serve, tmp_path: Path) -> None:
    silent = serve(stalled)
    with pytest.raises(DataError, match="timed out"):
        get(tmp_path, silent, timeout_s=0.3)
    assert_fetched(get(tmp_path, silent, serve(whole), timeout_s=5.0))


def test_a_mirror_that_never_answers_is_given_up_for_the_next(serve: Serve, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(DataError, match=r"no answer within 0\.3 s"):
            fetch("mnist", cache_dir=tmp_path, mirrors=[silent], timeout_s=0.3)
        mirrors = [silent, serve(whole).url]
        (path,) = fetch("mnist", cache_dir=tmp_path, mirrors=mirrors, timeout_s=5.0)
    assert_fetched(path)


def test_redirects_are_followed(serve: Serve, tmp_path: Path) -> None:
    target = serve(whole)
    redirect = serve(
        lambda handler: handler.send(302, Location=f"{target.url}elsewhere", Content_Length=0)
    )
    assert_fetched(get(tmp_path, redirect))
    assert target.requests == ["/elsewhere"]


def test_a_server_that_sends_without_end_is_cut_off(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "MAX_BYTES", 50_000)
    with pytest.raises(DataError, match="sent more than 50000 bytes"):
        get(tmp_path, serve(whole))
    assert_nothing_is_left(tmp_path)


def test_a_download_that_is_interrupted_leaves_nothing_under_the_files_name(
    serve: Serve, tmp_path: Path
) -> None:
    def interrupt(*progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("mnist", cache_dir=tmp_path, mirrors=[serve(whole).url], on_progress=interrupt)
    assert_nothing_is_left(tmp_path)


def test_without_a_network_the_error_lists_what_was_tried_and_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    mirrors = [f"http://127.0.0.1:{port}/one/", f"http://127.0.0.1:{port}/two"]
    with pytest.raises(DataError) as caught:
        fetch("mnist", cache_dir=tmp_path, mirrors=mirrors, timeout_s=2)
    message = str(caught.value)
    for mirror in mirrors:
        assert f"{mirror.rstrip('/')}/data.bin: Connection refused" in message
    assert f"on another machine data.bin and copy to {tmp_path / 'mnist'}, " in message
    assert "--data-dir" in message


def test_a_folder_that_cannot_be_written_is_a_data_error(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="file"):
        get(tmp_path / "file" / "folder", serve(whole))


@pytest.mark.parametrize("mirror", ["", "file:///etc/", "ftp://host/", "host/folder", "https://"])
def test_a_mirror_that_is_no_url_is_refused(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected https"):
        fetch("mnist", cache_dir=tmp_path, mirrors=[mirror])


def test_a_data_set_that_cannot_be_fetched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="'digits' cannot be fetched, expected one of mnist, fashion-mnist"
    ):
        fetch("digits", cache_dir=tmp_path)


def test_the_known_mirrors_are_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for collection in COLLECTIONS.values():
        assert collection.mirrors
        assert all(mirror.startswith("https://") for mirror in collection.mirrors)
        assert all(len(sha256) == 64 for sha256 in collection.files.values())


def test_what_downloads_nothing_imports_no_download_library() -> None:
    code = "import sys, dlbench.cli.main, dlbench.data.fetch; print({'pooch', 'requests'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "set()" == done.stdout.strip(), done.stderr
