"""A stand-in for an embeddings API on 127.0.0.1, whose faults a test writes down.

It answers `POST /v1/embeddings`, in floats or base64 as it is asked, with vectors that depend on
the text only and are not of length 1.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSION = 8


def vector_of(text: str, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """What the server says of a text: whole numbers, of length far from 1."""
    digest = hashlib.sha256(text.encode()).digest()
    return np.frombuffer(digest, np.uint8)[:dimension].astype(np.float32) - 99.5


def unit_of(text: str, dimension: int = DIMENSION) -> NDArray[np.float32]:
    vector = vector_of(text, dimension).astype(np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one request; the default is nothing."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | bytes | None = None  # sent in place of the answer
    change: Callable[[dict[str, Any]], object] | None = None  # alters the good answer in place
    cut: bool = False  # close the connection in the middle of the body
    hang: bool = False  # answer nothing


FINE = Fault()


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    body: dict[str, Any]
    authorization: str | None
    path: str

    @property
    def texts(self) -> list[str]:
        return list(self.body["input"])


@dataclass
class Api:
    """A running server: what goes wrong, and what it was asked."""

    port: int = 0
    faults: list[Fault] = field(default_factory=list)  # one a request, in their order
    always: Fault = FINE  # when the faults are used up
    refuse: Callable[[list[str]], Fault | None] = lambda _texts: None
    requests: list[Request] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)  # texts that got a good answer
    date: float | None = None  # what its clock says, where it is wrong
    meet: int = 1  # a request waits until so many have been on their way at once
    most_at_once: int = 0
    _now: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def asked(self) -> list[str]:
        return [text for request in self.requests for text in request.texts]

    def begin(self, request: Request) -> Fault:
        with self._changed:
            self.requests.append(request)
            fault = self.faults.pop(0) if self.faults else self.always
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most_at_once >= self.meet, timeout=5)
        if self.meet > 1:
            self.stopping.wait(0.05)  # the time in which one too many would come
        return self.refuse(request.texts) or fault

    def end(self) -> None:
        with self._changed:
            self._now -= 1

    def answer(self, request: Request) -> dict[str, Any]:
        dimension = request.body.get("dimensions", DIMENSION)
        data = []
        for index, text in enumerate(request.texts):
            vector = vector_of(text, dimension)
            embedding: object = vector.tolist()
            if request.body.get("encoding_format") == "base64":
                embedding = base64.b64encode(vector.astype("<f4").tobytes()).decode()
            data.append({"object": "embedding", "index": index, "embedding": embedding})
        return {"object": "list", "data": data, "model": request.body["model"]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer takes 40 ms
    api: Api

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        request = Request(body, self.headers["authorization"], self.path)
        fault = self.api.begin(request)
        try:
            self._answer(request, fault)
        finally:
            self.api.end()

    def _answer(self, request: Request, fault: Fault) -> None:
        if fault.hang:
            self.close_connection = True
            self.api.stopping.wait(60)
            return
        answer = self.api.answer(request)
        if fault.change is not None:
            fault.change(answer)
        content = json.dumps(answer) if fault.body is None else fault.body
        content = content.encode() if isinstance(content, str) else content
        if fault == FINE:  # before it is sent: the client may be killed as soon as it has it
            self.api.answered += request.texts
        self.send_response(fault.status)
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if fault.cut:
            self.close_connection = True
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(timestamp or self.api.date)  # type: ignore[arg-type]

    def log_message(self, *_args: object) -> None:
        """Tests read what is printed."""


@contextmanager
def serve() -> Iterator[Api]:
    api = Api()
    handler = type("Handler", (_Handler,), {"api": api})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        api.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield api
        finally:
            api.stopping.set()
            server.shutdown()
            thread.join()
