"""Fetching against servers on this machine that break in all the ways servers do."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path

import pytest

from dlbench.data import download as transfer
from dlbench.data import fetch as fetch_module
from dlbench.data.download import SafeRedirects
from dlbench.data.fetch import COLLECTIONS, Collection, RemoteFile, download, fetch
from dlbench.errors import DataError, UsageError

CONTENT = bytes(number * number % 251 for number in range(200_000))
FILE = RemoteFile("data.bin", hashlib.sha256(CONTENT).hexdigest())

Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request as the server's `answer` says, and notes it."""

    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range")))
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
        self.requests: list[tuple[str, str | None]] = []
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
    """Send everything, whatever range is asked for."""
    handler.send(200, CONTENT, Content_Length=len(CONTENT))


def ranged(handler: Handler) -> None:
    """Send what is asked for."""
    start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
    if start >= len(CONTENT):
        handler.send(416, Content_Length=0)
        return
    handler.send(
        206 if start else 200,
        CONTENT[start:],
        Content_Length=len(CONTENT) - start,
        Content_Range=f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}",
    )


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


def trickling(handler: Handler) -> None:
    """Send a byte at a time, for ever."""
    handler.send(200, Content_Length=len(CONTENT))
    try:
        while not handler.server.released.wait(0.02):
            handler.wfile.write(b"x")
    except OSError:
        pass


def get(folder: Path, *servers: Server, timeout_s: float = 10.0) -> Path:
    return download(FILE, folder, mirrors=[server.url for server in servers], timeout_s=timeout_s)


def assert_fetched(path: Path) -> None:
    assert path.read_bytes() == CONTENT
    assert [found.name for found in path.parent.iterdir()] == ["data.bin"]


def test_a_file_is_fetched_with_its_progress(serve: Serve, tmp_path: Path) -> None:
    server = serve(whole)
    seen: list[tuple[str, int, int | None]] = []
    path = download(
        FILE,
        tmp_path / "new" / "folder",
        mirrors=[server.url],
        on_progress=lambda *progress: seen.append(progress),
    )
    assert_fetched(path)
    assert seen[0] == ("data.bin", 0, len(CONTENT))
    assert seen[-1] == ("data.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_sound_file_is_not_fetched_again_and_a_damaged_one_is(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(whole)
    get(tmp_path, server)
    get(tmp_path, server)
    assert len(server.requests) == 1
    (tmp_path / "data.bin").write_bytes(CONTENT[:-1])
    assert_fetched(get(tmp_path, server))


def test_a_truncated_transfer_is_resumed_at_the_next_mirror(serve: Serve, tmp_path: Path) -> None:
    broken, sound = serve(cut(70_000)), serve(ranged)
    assert_fetched(get(tmp_path, broken, sound))
    assert sound.requests == [("/data.bin", "bytes=70000-")]


def test_a_truncated_transfer_is_resumed_at_the_same_mirror(serve: Serve, tmp_path: Path) -> None:
    def cut_once(handler: Handler) -> None:
        (cut(70_000) if len(handler.server.requests) == 1 else ranged)(handler)

    server = serve(cut_once)
    assert_fetched(get(tmp_path, server))
    assert [span for _, span in server.requests] == [None, "bytes=70000-"]


def test_an_earlier_run_is_resumed(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:123_456])
    server = serve(ranged)
    assert_fetched(get(tmp_path, server))
    assert server.requests == [("/data.bin", "bytes=123456-")]


def test_a_server_that_ignores_ranges_starts_over(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    assert_fetched(get(tmp_path, serve(whole)))


def test_a_server_that_sends_another_range_is_asked_anew(serve: Serve, tmp_path: Path) -> None:
    def other(handler: Handler) -> None:
        if handler.headers.get("Range"):
            handler.send(206, CONTENT[5:], Content_Range="bytes 5-199999/200000")
        else:
            whole(handler)

    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    assert_fetched(get(tmp_path, serve(other)))


def test_a_run_stopped_before_the_renaming_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    assert_fetched(download(FILE, tmp_path, mirrors=["http://127.0.0.1:9/"]))


@pytest.mark.parametrize("size", [1000, 200_000, 300_000])
def test_bad_bytes_of_an_earlier_run_do_not_spoil_a_sound_mirror(
    serve: Serve, tmp_path: Path, size: int
) -> None:
    (tmp_path / "data.bin.part").write_bytes(bytes(size))
    assert_fetched(get(tmp_path, serve(ranged)))


def test_a_wrong_file_is_deleted_and_the_next_mirror_tried(serve: Serve, tmp_path: Path) -> None:
    assert_fetched(get(tmp_path, serve(wrong), serve(whole)))


def test_a_wrong_file_everywhere_is_an_error_and_leaves_nothing(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(wrong)
    with pytest.raises(DataError, match=f"SHA-256 [0-9a-f]{{64}}, expected {FILE.sha256}"):
        get(tmp_path, server)
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


def test_a_mirror_without_the_file_is_passed_over(serve: Serve, tmp_path: Path) -> None:
    assert_fetched(get(tmp_path, serve(absent), serve(whole)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [(stalled, "silent for 0.3 s"), (trickling, "sent only .* bytes in 0.3 s")],
)
def test_a_mirror_that_falls_silent_is_given_up_for_the_next(
    serve: Serve, tmp_path: Path, answer: Answer, message: str
) -> None:
    silent = serve(answer)
    with pytest.raises(DataError, match=message):
        get(tmp_path, silent, timeout_s=0.3)
    assert_fetched(get(tmp_path, silent, serve(whole), timeout_s=0.3))


def test_a_mirror_that_never_answers_is_given_up_for_the_next(serve: Serve, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mirrors = [f"http://127.0.0.1:{mute.getsockname()[1]}", serve(whole).url]
        assert_fetched(download(FILE, tmp_path, mirrors=mirrors, timeout_s=0.3))


def test_an_answer_that_is_no_http_is_passed_over(serve: Serve, tmp_path: Path) -> None:
    def garbage(handler: Handler) -> None:
        handler.wfile.write(b"220 mail ready\r\n\r\n")

    with pytest.raises(DataError, match=r"BadStatusLine|mail ready"):
        get(tmp_path, serve(garbage))


def test_redirects_are_followed(serve: Serve, tmp_path: Path) -> None:
    target = serve(whole)
    redirect = serve(
        lambda handler: handler.send(302, Location=f"{target.url}elsewhere", Content_Length=0)
    )
    assert_fetched(get(tmp_path, redirect))
    assert target.requests == [("/elsewhere", None)]


def test_a_redirect_in_circles_ends(serve: Serve, tmp_path: Path) -> None:
    circle = serve(lambda handler: handler.send(302, Location=handler.path, Content_Length=0))
    with pytest.raises(DataError, match="HTTP 302"):
        get(tmp_path, circle)


@pytest.mark.parametrize(
    ("origin", "target", "allowed"),
    [
        ("http://a/x", "https://b/x", True),
        ("http://a/x", "http://b/x", True),
        ("https://a/x", "https://b/x", True),
        ("https://a/x", "http://b/x", False),
        ("https://a/x", "ftp://b/x", False),
        ("http://a/x", "ftp://b/x", False),
    ],
)
def test_a_redirect_never_leads_away_from_https(origin: str, target: str, allowed: bool) -> None:
    request = urllib.request.Request(origin)
    handler = SafeRedirects()
    headers = Message()
    if allowed:
        followed = handler.redirect_request(request, None, 302, "Found", headers, target)
        assert followed is not None
        assert followed.full_url == target
    else:
        with pytest.raises(urllib.error.URLError, match="refused"):
            handler.redirect_request(request, None, 302, "Found", headers, target)


def test_a_server_that_sends_without_end_is_cut_off(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "MAX_BYTES", 100_000)
    with pytest.raises(DataError, match="sent more than 100000 bytes"):
        get(tmp_path, serve(whole))
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_error_lists_what_was_tried_and_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    mirrors = [f"http://127.0.0.1:{port}/one/", f"http://127.0.0.1:{port}/two/"]
    with pytest.raises(DataError) as caught:
        download(FILE, tmp_path, mirrors=mirrors, timeout_s=2)
    message = str(caught.value)
    assert all(f"{mirror}data.bin: Connection refused" in message for mirror in mirrors)
    assert "--data-dir" in message


def test_a_folder_that_cannot_be_written_is_a_data_error(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="file"):
        get(tmp_path / "file" / "folder", serve(whole))


def test_a_data_set_is_its_files_in_a_folder_of_its_name(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = Collection(files=(FILE,), mirrors=(serve(whole).url,))
    monkeypatch.setitem(fetch_module.COLLECTIONS, "mnist", collection)
    assert fetch("mnist", cache_dir=tmp_path) == [tmp_path / "mnist" / "data.bin"]


@pytest.mark.parametrize("mirror", ["", "file:///etc/", "ftp://host/", "host/folder", "https://"])
def test_a_mirror_that_is_no_url_is_refused(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected https"):
        fetch("mnist", cache_dir=tmp_path, mirrors=[mirror])


def test_a_data_set_that_cannot_be_fetched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'digits' cannot be fetched, expected mnist or cifar10"):
        fetch("digits", cache_dir=tmp_path)


def test_the_known_mirrors_are_several_and_encrypted() -> None:
    for collection in COLLECTIONS.values():
        assert len(collection.mirrors) >= 2
        assert all(mirror.startswith("https://") for mirror in collection.mirrors)
        assert all(len(file.sha256) == 64 for file in collection.files)
