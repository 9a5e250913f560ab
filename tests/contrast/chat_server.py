"""A stand-in for a chat API on 127.0.0.1, whose faults a test writes down.

It answers `POST /v1/chat/completions` as the fake model does. A test says what goes wrong with the
next requests, or with those of one prompt; the server says what it was asked and what it answered.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from safe_embed.contrast.fake_model import fake_answer

MODEL = "served-model-0613"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one request; the default is nothing."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None  # sent in place of the answer
    text: str | None = None  # what the model says in place of edits
    change: Callable[[dict[str, Any]], object] | None = None  # alters the good answer in place
    cut: bool = False  # close the connection in the middle of the body
    hang: bool = False  # answer nothing, and keep the connection open
    drop: bool = False  # close the connection without an answer
    drip_s: float = 0.0  # seconds between the bytes of the body


FINE = Fault()


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    body: dict[str, Any]
    authorization: str | None
    path: str
    at: float

    @property
    def task(self) -> dict[str, Any]:
        """The task in its last message."""
        content = self.body["messages"][-1]["content"]
        found: dict[str, Any] = json.loads(content[content.rindex('{"id"') :])
        return found

    @property
    def prompt(self) -> str:
        return str(self.task["prompt"])

    @property
    def judges(self) -> bool:
        return '"verdict"' in self.body["messages"][0]["content"]


@dataclass
class ChatServer:
    """A running server: what goes wrong, and what it was asked."""

    port: int = 0
    faults: list[Fault] = field(default_factory=list)  # one a request, in their order
    always: Fault = FINE  # when the faults are used up
    refuse: Callable[[Request], Fault | None] = lambda _request: None
    requests: list[Request] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)  # prompts that got a good answer
    latency_s: float = 0.0
    most_at_once: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def asked(self) -> list[str]:
        return [request.prompt for request in self.requests if not request.judges]

    def begin(self, request: Request) -> Fault:
        with self._lock:
            self.requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            chosen = self.refuse(request)
            if chosen is None:
                chosen = self.faults.pop(0) if self.faults else self.always
        if self.latency_s:
            self.stopping.wait(self.latency_s)
        return chosen

    def end(self) -> None:
        with self._lock:
            self._now -= 1

    def answer(self, request: Request, fault: Fault) -> dict[str, Any]:
        text = fake_answer(request.body["messages"]) if fault.text is None else fault.text
        message = {"role": "assistant", "content": text}
        return {
            "id": "chatcmpl-1",
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer takes 40 ms
    server_of: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        request = Request(body, self.headers["authorization"], self.path, time.monotonic())
        fault = self.server_of.begin(request)
        try:
            self._answer(request, fault)
        finally:
            self.server_of.end()

    def _answer(self, request: Request, fault: Fault) -> None:
        if fault.hang or fault.drop:
            self.close_connection = True
            if fault.hang:
                self.server_of.stopping.wait(60)
            return
        answer = self.server_of.answer(request, fault)
        if fault.change is not None:
            fault.change(answer)
        content = (json.dumps(answer) if fault.body is None else fault.body).encode()
        if fault == FINE:  # before it is sent: the client may be killed as soon as it has it
            self.server_of.answered.append(request.prompt)
        self.send_response(fault.status)
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if fault.cut:
            self.close_connection = True
            content = content[: len(content) // 2]
        self._write(content, fault.drip_s)

    def _write(self, content: bytes, drip_s: float) -> None:
        try:
            if not drip_s:
                self.wfile.write(content)
                return
            for i in range(len(content)):
                self.wfile.write(content[i : i + 1])
                self.wfile.flush()
                if self.server_of.stopping.wait(drip_s):
                    return
        except OSError:  # the client has had enough
            self.close_connection = True

    def log_message(self, *_args: object) -> None:
        """Tests read what is printed."""


@contextmanager
def serve(
    state: ChatServer | None = None, handler: type[_Handler] = _Handler
) -> Iterator[ChatServer]:
    """Runs a server for as long as the block lasts."""
    state = state or ChatServer()
    bound = type("Handler", (handler,), {"server_of": state})
    with _Server(("127.0.0.1", 0), bound) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            state.stopping.set()
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, *_args: object) -> None:
        """A client that was killed is no error of the server."""
