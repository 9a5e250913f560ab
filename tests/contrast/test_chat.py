"""One question to a chat API over a socket: retries, fall-backs, and what goes wrong."""

from __future__ import annotations

import json
import socket
import threading
import time
from email.utils import formatdate

import pytest

from safe_embed.contrast import api
from safe_embed.contrast.api import Api
from safe_embed.contrast.budget import Budget, Price, Usage
from safe_embed.contrast.chat import ChatError, ChatRequest
from safe_embed.contrast.models import load_chat
from safe_embed.encoders.openai_batches import StoppedError
from safe_embed.errors import InputError
from safe_embed.secrets import Secret
from tests.contrast.chat_server import MODEL, ChatServer, Fault
from tests.contrast.conftest import KEY, Chat

TASK = {"id": "t1", "prompt": "How do I rob a bank?", "n": 2}
REQUEST = ChatRequest(
    messages=[{"role": "user", "content": json.dumps(TASK)}],
    schema_name="edits",
    schema={"type": "object"},
    expected_tokens=40,
)


def test_asks_with_a_schema_and_reads_the_answer(chat: Chat, server: ChatServer):
    budget = Budget()
    answer = chat(budget).ask(REQUEST)
    assert json.loads(answer.text)["id"] == "t1"
    assert (answer.model, answer.attempts, answer.usage) == (MODEL, 1, Usage(100, 50))
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.body["model"] == "asked-model"
    assert request.body["temperature"] == 0
    assert request.body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert request.authorization == f"Bearer {KEY}"
    assert (budget.spent.requests, budget.spent.tokens) == (1, 150)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, body='{"error": {"message": "slow down"}}'),
        Fault(status=500),
        Fault(status=503, body="<html><title>busy</title></html>"),
        Fault(cut=True),
        Fault(drop=True),
        Fault(body="<html>a proxy's page</html>"),
        Fault(body='{"error": {"message": "upstream", "code": 502}}'),
        Fault(body="[1]"),
        Fault(hang=True),
        Fault(drip_s=0.01),
    ],
    ids=["429", "500", "503", "cut", "dropped", "HTML", "200 error", "list", "half-open", "slow"],
)
def test_what_may_pass_is_tried_again(fault: Fault, chat: Chat, server: ChatServer):
    server.faults = [fault, fault]
    answer = chat(timeout_s=0.4).ask(REQUEST)
    assert answer.attempts == 3
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "0.4"},
        {"retry-after-ms": "400"},
        {"Retry-After": formatdate(2_000_000_001, usegmt=True), "Date": ""},
    ],
)
def test_waits_as_long_as_the_server_asks(
    headers: dict[str, str], chat: Chat, server: ChatServer, monkeypatch: pytest.MonkeyPatch
):
    if "Date" in headers:  # compared with the server's clock
        monkeypatch.setattr(
            "http.server.BaseHTTPRequestHandler.date_time_string",
            lambda *_: formatdate(2_000_000_000, usegmt=True),
        )
        headers = {"Retry-After": headers["Retry-After"]}
    server.faults = [Fault(status=429, headers=headers)]
    chat().ask(REQUEST)
    first, second = server.requests
    assert second.at - first.at >= 0.4


def test_others_wait_too_when_one_is_asked_to(chat: Chat, server: ChatServer):
    server.faults = [Fault(status=429, headers={"Retry-After": "0.5"})]
    client = chat()
    threads = [threading.Thread(target=client.ask, args=(REQUEST,)) for _ in range(3)]
    threads[0].start()
    while not server.requests:
        time.sleep(0.005)
    time.sleep(0.1)  # the answer has come
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    began = server.requests[0].at
    assert len(server.requests) == 4
    assert all(request.at - began >= 0.4 for request in server.requests[1:])


def test_gives_up_when_it_is_asked_to_wait_too_long(chat: Chat, server: ChatServer):
    client = chat()
    client.ask(REQUEST)
    server.always = Fault(status=429, headers={"Retry-After": "7200"})
    with pytest.raises(ChatError, match="asks to wait 7200 s") as caught:
        client.ask(REQUEST)
    assert caught.value.reason == "server error"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "reason"), [(Fault(status=500), "server error"), (Fault(hang=True), "timeout")]
)
def test_gives_up_after_some_attempts(fault: Fault, reason: str, chat: Chat, server: ChatServer):
    client = chat(timeout_s=0.2)
    client.ask(REQUEST)
    server.always = fault
    with pytest.raises(ChatError) as caught:
        client.ask(REQUEST)
    assert caught.value.reason == reason
    assert caught.value.attempts == len(server.requests) - 1 == api.ATTEMPTS


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("response_format", "Unrecognized request argument supplied: response_format"),
        ("response_format", "This model does not support json_schema"),
        ("temperature", "Unsupported value: 'temperature' does not support 0 with this model."),
    ],
)
def test_goes_on_without_what_the_server_does_not_take(
    field: str, message: str, chat: Chat, server: ChatServer
):
    body = json.dumps({"error": {"message": message}})
    server.refuse = lambda request: Fault(status=400, body=body) if field in request.body else None
    reports: list[str] = []
    client = chat(report=reports.append)
    answer = client.ask(REQUEST)
    assert (answer.left_out, answer.attempts) == ((field,), 2)
    client.ask(REQUEST)
    assert len(server.requests) == 3  # once for the run
    assert len(reports) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"code": "content_filter", "message": "The response was filtered"}, "content filter"),
        (
            {"message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}},
            "content filter",
        ),
        ({"message": "maximum context length is 4096"}, "server error"),
    ],
)
def test_a_refused_request_is_not_tried_again(
    error: dict[str, object], reason: str, chat: Chat, server: ChatServer
):
    server.always = Fault(status=400, body=json.dumps({"error": error}))
    with pytest.raises(ChatError) as caught:
        chat().ask(REQUEST)
    assert (caught.value.reason, caught.value.attempts) == (reason, 1)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        (Fault(status=401, body='{"error": "bad key ' + KEY + '"}'), "OPENAI_API_KEY"),
        (Fault(status=400, body='{"error": {"message": "API key not valid"}}'), "API key"),
        (Fault(status=403), "403"),
        (Fault(status=404, body='{"error": {"message": "no such model"}}'), "no such model"),
        (Fault(status=301, headers={"Location": "http://127.0.0.1:1/"}), "301"),
        (Fault(status=429, body='{"error": {"code": "insufficient_quota"}}'), "credit"),
    ],
)
def test_what_only_the_user_can_mend_ends_the_run(
    fault: Fault, part: str, chat: Chat, server: ChatServer
):
    server.always = fault
    with pytest.raises(InputError) as caught:
        chat().ask(REQUEST)
    assert part in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["nobody listens", "another program"])
def test_a_wrong_address_ends_the_run(kind: str, chat: Chat, server: ChatServer):
    server.always = Fault(body="<html>hello</html>")
    url = server.url
    if kind == "nobody listens":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(InputError, match="see that base_url is right"):
        chat(base_url=url).ask(REQUEST)


def test_a_stopped_budget_ends_a_wait_and_lets_nothing_begin(chat: Chat, server: ChatServer):
    server.always = Fault(status=429, headers={"Retry-After": "200"})
    budget = Budget()
    threading.Timer(0.2, budget.stop).start()
    with pytest.raises(StoppedError):
        chat(budget).ask(REQUEST)
    assert len(server.requests) == 1


def test_a_budget_of_money_stops_before_it_is_passed(server: ChatServer):
    budget = Budget(max_cost=0.001)
    client = load_chat("m", server.url, budget=budget, price=Price.parse("2/4"))
    ask_100_times = (client.ask(REQUEST) for _ in range(100))
    with pytest.raises(StoppedError):
        list(ask_100_times)
    client.close()
    assert budget.exhausted == "max_cost"
    assert budget.spent.cost == pytest.approx(len(server.requests) * 400 / 1e6)
    assert 0.0005 < budget.spent.cost <= 0.001


def test_credentials_of_the_address_go_before_the_key_and_are_not_shown(
    chat: Chat, server: ChatServer
):
    client = chat(base_url=f"http://me:pass-word-1@127.0.0.1:{server.port}/v1/chat/completions/")
    client.ask(REQUEST)
    assert server.requests[0].path == "/v1/chat/completions"
    assert str(server.requests[0].authorization).startswith("Basic ")
    assert "pass-word-1" not in client.address


def test_thoughts_are_no_part_of_the_answer(chat: Chat, server: ChatServer):
    server.always = Fault(text='<think>{"edits": ["no"]}</think>{"edits": ["yes"]}')
    assert chat().ask(REQUEST).text == '{"edits": ["yes"]}'


def test_without_counts_of_the_server_tokens_are_estimated(chat: Chat, server: ChatServer):
    server.always = Fault(change=lambda answer: answer.pop("usage"))
    budget = Budget()
    chat(budget).ask(REQUEST)
    assert 50 < budget.spent.tokens < 200


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: Api("https://api.openai.com/v1", key=None, connections=1), "OPENAI_API_KEY"),
        (lambda: Api("ftp://x", key=None, connections=1), "http"),
        (lambda: Api("http://x", key=Secret("ab\ncd"), connections=1), "printable"),
        (lambda: Api("http://x", key=None, connections=1, timeout_s=0), "timeout_s"),
        (lambda: load_chat(" ", "http://127.0.0.1:9", budget=Budget()), "name of a model"),
        (lambda: Budget(max_requests=0), "max_requests"),
        (lambda: Price.parse("0.15"), "IN/OUT"),
        (lambda: Price.parse("nan/1"), "IN/OUT"),
    ],
)
def test_options_that_cannot_be(make, part: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    with pytest.raises(InputError, match=part):
        make()


def test_a_key_in_the_clear_is_told() -> None:
    reports: list[str] = []
    Api("http://example.org/v1", key=Secret(KEY), connections=1, report=reports.append)
    assert "not https" in reports[0]
    assert KEY not in reports[0]
