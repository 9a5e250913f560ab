"""Shared by the tests of data sets: the paper's files, and an HTTP server with faults."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PAPER_DATA_VARIABLE = "SAFE_EMBED_PAPER_DATA"


@pytest.fixture(scope="session")
def paper_data() -> Path:
    default = Path(__file__).parents[2] / ".." / "shared" / "data" / "safe-embed"
    directory = Path(os.environ.get(PAPER_DATA_VARIABLE) or default)
    if not directory.is_dir():
        pytest.skip(f"no paper data at {directory}; set {PAPER_DATA_VARIABLE}")
    return directory


@dataclass
class Site:
    """A file on a server, and what the server does wrong in its next answers."""

    body: bytes = b""
    etag: str | None = '"v1"'
    knows_ranges: bool = True
    faults: list[str] = field(default_factory=list)
    """Taken one at each request: a status ("503", "429 2"), "cut N" (bytes), "shifted", "endless",
    "slow"; "-" is none."""
    requests: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self) -> str:
        with self.lock:
            return self.faults.pop(0) if self.faults else "-"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        site.requests.append(dict(self.headers))
        fault, *values = site.next_fault().split()
        if fault.isdecimal():
            self._refuse(int(fault), values)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = self._start()
        if start is not None and start >= len(site.body):
            self._refuse(416, [])
            return
        self._answer(start, fault, values)

    def _start(self) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        fresh = self.headers.get("If-Range") in {None, self.site.etag}
        return int(match[1]) if match and fresh and self.site.knows_ranges else None

    def _refuse(self, status: int, retry_after: list[str]) -> None:
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", " ".join(retry_after))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, start: int | None, fault: str, values: list[str]) -> None:
        body = self.site.body[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            first = start + (fault == "shifted")
            total = len(self.site.body)
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        if self.site.etag:
            self.send_header("ETag", self.site.etag)
        if fault == "endless":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self._send(body, fault, values)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send(self, body: bytes, fault: str, values: list[str]) -> None:
        if fault == "cut":
            self.wfile.write(body[: int(values[0])])
            self.close_connection = True
        elif fault == "endless":
            while True:
                self.wfile.write(b"x" * 65536)
        elif fault == "slow":
            for offset in range(0, len(body), 4096):
                self.wfile.write(body[offset : offset + 4096])
                self.wfile.flush()
                time.sleep(0.02)
        else:
            self.wfile.write(body)


@pytest.fixture
def serve() -> Iterator[Callable[..., Site]]:
    """Starts servers on 127.0.0.1, each with one file."""
    servers: list[ThreadingHTTPServer] = []

    def start(body: bytes, **options: object) -> Site:
        site = Site(body, **options)  # type: ignore[arg-type]
        handler = type("Handler", (_Handler,), {"site": site})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        site.url = f"http://127.0.0.1:{server.server_port}/file"
        return site

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
