"""One file from one URL, by HTTP(S), into a .part file that a later try can complete.

Only the standard library: a download tool is no reason for another dependency.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

Progress = Callable[[str, int, int | None], None]

MAX_BYTES = 1 << 28

_PIECE_BYTES = 1 << 16
_LEAST_BYTES_PER_TIMEOUT = 1 << 10


class InterruptedTransferError(Exception):
    """A transfer that ended early and is worth another try at the same place."""


class RefusedTransferError(Exception):
    """A transfer that another try at the same place would not mend."""


@dataclass(frozen=True)
class Transfer:
    """A URL and the .part file that its bytes go to.

    Attributes
    ----------
    url : an http or https URL.
    part : the file to append to; it need not exist.
    on_progress : called with (file name, bytes so far, bytes in all or None), or None.
    timeout_s : how long the connection may stay silent, in seconds.
    """

    url: str
    part: Path
    on_progress: Progress | None
    timeout_s: float

    def run(self) -> None:
        """Fetch what the .part file lacks, or all of it where the server sends all.

        Raises
        ------
        InterruptedTransferError : the transfer ended early; the .part file holds what came.
        RefusedTransferError : the server cannot be reached, answers with an error, falls silent,
            or sends more than `MAX_BYTES`.
        OSError : the .part file cannot be written.
        """
        start = self.part.stat().st_size if self.part.exists() else 0
        with self._open(start) as response:
            if response.status == 206 and _range_start(response) != start:
                self.part.unlink(missing_ok=True)
                raise InterruptedTransferError("answered with another range than was asked for")
            # A server that ignores Range sends everything: what was there is written anew.
            self._receive(response, start if response.status == 206 else 0)

    def _open(self, start: int) -> http.client.HTTPResponse:
        headers = {"User-Agent": "dlbench", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        request = urllib.request.Request(self.url, headers=headers)
        opener = urllib.request.build_opener(SafeRedirects)
        try:
            response = opener.open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and start:
                self.part.unlink(missing_ok=True)
                raise InterruptedTransferError(
                    "has no bytes beyond those of an unsound earlier try"
                ) from error
            raise RefusedTransferError(f"HTTP {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise RefusedTransferError(_reason(error.reason, self.timeout_s)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RefusedTransferError(_reason(error, self.timeout_s)) from error
        return cast(http.client.HTTPResponse, response)

    def _receive(self, response: http.client.HTTPResponse, start: int) -> None:
        total = None if response.length is None else start + response.length
        done = start
        with self.part.open("ab" if start else "wb") as sink:
            self._report(done, total)
            for piece in _pieces(response, self.timeout_s):
                done += len(piece)
                if done > MAX_BYTES:
                    break
                sink.write(piece)
                self._report(done, total)
        if done > MAX_BYTES:
            self.part.unlink()
            raise RefusedTransferError(f"sent more than {MAX_BYTES} bytes")
        if total is not None and done < total:
            raise InterruptedTransferError(f"ended after {done} of {total} bytes")

    def _report(self, done: int, total: int | None) -> None:
        if self.on_progress is not None:
            self.on_progress(self.part.name.removesuffix(".part"), done, total)


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to anything less."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request that follows a redirect.

        Raises
        ------
        urllib.error.URLError : the redirect leads away from https, or to neither http nor https.
        """
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme != "https" and (req.type == "https" or scheme != "http"):
            raise urllib.error.URLError(f"redirect from {req.type} to {newurl} refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def sha256_of(path: Path) -> str | None:
    """Hash a file.

    Returns
    -------
    SHA-256 in hexadecimal; None where there is no such file.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _pieces(response: http.client.HTTPResponse, timeout_s: float) -> Iterator[bytes]:
    """Yield bytes as they arrive; a trickle counts as silence."""
    since = time.monotonic()
    received = 0
    while True:
        try:
            piece = response.read1(_PIECE_BYTES)
        except TimeoutError as error:
            raise RefusedTransferError(_reason(error, timeout_s)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise InterruptedTransferError(
                f"connection broke off ({_reason(error, timeout_s)})"
            ) from error
        if not piece:
            return
        received += len(piece)
        now = time.monotonic()
        if now - since >= timeout_s:
            if received < _LEAST_BYTES_PER_TIMEOUT:
                raise RefusedTransferError(f"sent only {received} bytes in {timeout_s:g} s")
            since, received = now, 0
        yield piece


def _range_start(response: http.client.HTTPResponse) -> int | None:
    stated = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    return int(stated.group(1)) if stated else None


def _reason(error: object, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"silent for {timeout_s:g} s"
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__
