"""A small stand-in for the model hub on 127.0.0.1, with faults on request.

It answers `/{model_id}/resolve/{revision}/{file}` with ETag, X-Repo-Commit and byte ranges, and
`/api/models/{model_id}/revision/{revision}` with the list of files. Like the hub it redirects
weights to another host, which must not see the user's token.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import close_session, constants


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one request."""

    status: int | None = None  # answer with this status and no file
    cut_after: int | None = None  # close the connection after so many bytes of the body
    hang: bool = False  # accept the request and answer nothing
    ignore_range: bool = False  # send the whole file with status 200
    body: bytes | None = None  # send this in place of the file
    block_pause_s: float = 0.0  # wait between blocks of 1 kB


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    file: str
    range: str | None
    authorization: str | None
    redirected: bool
    model_id: str = ""


@dataclass
class Hub:
    """A running server: what it serves, what goes wrong, and what it was asked."""

    model_id: str
    revision: str
    files: dict[str, bytes]
    others: dict[str, tuple[str, dict[str, bytes]]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    lie_about: set[str] = field(default_factory=set)  # files of another SHA-256 than is listed
    listings: list[str] = field(default_factory=list)
    port: int = 0
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def repositories(self) -> dict[str, tuple[str, dict[str, bytes]]]:
        return {self.model_id: (self.revision, self.files), **self.others}

    def asked(self, file: str) -> list[Request]:
        return [request for request in self.requests if request.file == file]

    def next_fault(self, file: str) -> Fault:
        queue = self.faults.get(file, [])
        return queue.pop(0) if queue else Fault()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        hub = self.hub
        if self.path.startswith("/api/models/"):
            self._list(self.path.removeprefix("/api/models/").partition("?")[0])
            return
        redirected = self.path.startswith("/storage/")
        path = self.path.removeprefix("/storage/").removeprefix("/")
        model_id = next((each for each in hub.repositories if path.startswith(f"{each}/")), "")
        revision, files = hub.repositories.get(model_id, ("", {}))
        name = path.removeprefix(f"{model_id}/resolve/{revision}/")
        authorization = self.headers["authorization"]
        hub.requests.append(
            Request(name, self.headers["range"], authorization, redirected, model_id)
        )
        if model_id in hub.gated and not redirected and authorization is None:
            self._refuse(401, "GatedRepo")
        elif name not in files:
            self._refuse(404, "EntryNotFound")
        elif name.endswith(".safetensors") and not redirected:
            self.send_response(302)
            self.send_header("location", f"http://localhost:{hub.port}/storage/{path}")
            self.send_header("x-repo-commit", revision)
            self.send_header("content-length", "0")
            self.end_headers()
        else:
            self._send(files[name], hub.next_fault(name))

    def _list(self, wanted: str) -> None:
        hub = self.hub
        model_id, _, asked = wanted.partition("/revision/")
        hub.listings.append(wanted)
        revision, files = hub.repositories.get(model_id, ("", {}))
        if asked not in (revision, "main") or not revision:
            self._refuse(404, "RepoNotFound")
            return
        siblings = [
            {"rfilename": name, "size": len(content)}
            | ({"lfs": {"sha256": self._stated(name, content)}} if len(content) > 1000 else {})
            for name, content in files.items()
        ]
        body = json.dumps({"id": model_id, "sha": revision, "siblings": siblings}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stated(self, name: str, content: bytes) -> str:
        return "0" * 64 if name in self.hub.lie_about else hashlib.sha256(content).hexdigest()

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("x-error-code", code)
        self.send_header("content-length", "0")
        self.end_headers()

    def _send(self, content: bytes, fault: Fault) -> None:
        if fault.hang:
            self.close_connection = True
            self.hub.stopping.wait(60)
            return
        if fault.status is not None:
            self._refuse(fault.status, "Fault")
            return
        content = content if fault.body is None else fault.body
        start = 0
        if (wanted := self.headers["range"]) and not fault.ignore_range:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self._refuse(416, "RangeNotSatisfiable")
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("content-range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("etag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("x-repo-commit", self.hub.revision)
        self.send_header("content-length", str(len(content) - start))
        self.end_headers()
        self._write(content[start:], fault)

    def _write(self, body: bytes, fault: Fault) -> None:
        if fault.cut_after is not None:
            body = body[: fault.cut_after]
            self.close_connection = True
        try:
            for start in range(0, len(body), 1024):
                self.wfile.write(body[start : start + 1024])
                self.wfile.flush()
                time.sleep(fault.block_pause_s)
        except OSError:  # the client was killed
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@contextmanager
def serve(model_id: str, revision: str, files: dict[str, bytes]) -> Iterator[Hub]:
    """Runs a hub with one model until the block ends."""
    hub = Hub(model_id, revision, dict(files))
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


def point_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Does what HF_ENDPOINT does before huggingface_hub is imported."""
    close_session()
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent/token")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
