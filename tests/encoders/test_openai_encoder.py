from __future__ import annotations

import json
import logging
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed import secrets
from safe_embed.encoders import openai_transport
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.cache import CachedEncoder, EmbeddingCache, text_key
from safe_embed.encoders.openai_batches import MOST_BYTES, split
from safe_embed.encoders.openai_encoder import MODELS, OpenAIEncoder
from safe_embed.encoders.openai_transport import ATTEMPTS, ATTEMPTS_UNTIL_FIRST_ANSWER, Address
from safe_embed.errors import EncoderError, InputError, SafeEmbedError
from safe_embed.secrets import Secret
from tests.conftest import REPOSITORY, hear_interrupts
from tests.encoders.openai_server import DIMENSION, Api, Fault, serve, unit_of

KEY = "sk-proj-1234567890abcdef"
TEXTS = [f"text {number}" for number in range(10)]
SERVER_ERROR = Fault(status=500, body="out of luck")
Make = Callable[..., OpenAIEncoder]


@pytest.fixture
def api() -> Iterator[Api]:
    with serve() as running:
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which no test waits for."""
    monkeypatch.setattr(secrets, "_known", set())
    seen: list[float] = []
    monkeypatch.setattr(openai_transport, "_pause", lambda _stop, seconds: seen.append(seconds))
    return seen


@pytest.fixture
def make(api: Api) -> Make:
    def make_one(**options: Any) -> OpenAIEncoder:
        return OpenAIEncoder("maker/tiny-1", **{"base_url": api.url, "timeout_s": 5.0} | options)

    return make_one


def expected(texts: list[str], dimension: int = DIMENSION) -> np.ndarray[Any, Any]:
    return np.array([unit_of(text, dimension) for text in texts])


def openai(
    handler: Callable[[httpx2.Request], httpx2.Response], model: str, **options: Any
) -> OpenAIEncoder:
    """An encoder of api.openai.com, whose answers are written by the test."""
    options = {"key": Secret(KEY), "transport": httpx2.MockTransport(handler)} | options
    return OpenAIEncoder(model, **options)


def answer_of(api: Api) -> Callable[[httpx2.Request], httpx2.Response]:
    """Answers as the server does, without the network."""
    from tests.encoders.openai_server import Request

    def handler(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        asked = Request(body, request.headers.get("authorization"), request.url.path)
        api.requests.append(asked)
        return httpx2.Response(200, json=api.answer(asked))

    return handler


# What goes right.


def test_it_keeps_the_protocol_and_gives_unit_vectors_in_order(api: Api, make: Make) -> None:
    encoder = make(batch_size=3, published_average_similarity=0.1)
    vectors = encoder.encode(TEXTS)
    assert isinstance(encoder, Encoder)
    assert vectors.dtype == np.float32
    assert vectors.shape == (10, DIMENSION)
    np.testing.assert_allclose(vectors, expected(TEXTS), atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert sorted(len(request.texts) for request in api.requests) == [1, 3, 3, 3]
    assert encoder.name == "tiny-1"
    assert encoder.published_average_similarity == 0.1
    request = api.requests[0]
    assert request.path == "/v1/embeddings"
    assert request.authorization is None
    assert request.body.keys() == {"model", "input", "encoding_format"}
    assert (request.body["model"], request.body["encoding_format"]) == ("maker/tiny-1", "float")


def test_a_duplicate_is_asked_once(api: Api, make: Make) -> None:
    vectors = make().encode(["b", "a", "b", "b"])
    assert api.asked == ["b", "a"]
    np.testing.assert_allclose(vectors, expected(["b", "a", "b", "b"]), atol=1e-7)


def test_order_is_that_of_the_index(api: Api, make: Make) -> None:
    api.always = Fault(change=lambda answer: answer["data"].reverse())
    np.testing.assert_allclose(make().encode(TEXTS), expected(TEXTS), atol=1e-7)


def test_base64_and_floats_give_the_same_bits(api: Api, make: Make) -> None:
    floats = make().encode(TEXTS)

    def pack(answer: dict[str, Any]) -> None:
        answer["data"] = api.answer(
            type(api.requests[-1])({**api.requests[-1].body, "encoding_format": "base64"}, None, "")
        )["data"]

    api.always = Fault(change=pack)
    assert (make().encode(TEXTS) == floats).all()
    assert isinstance(api.answer(api.requests[-1])["data"][0]["embedding"], list)


def test_no_text_gives_no_rows_and_the_dimension_by_one_request(api: Api, make: Make) -> None:
    encoder = make()
    assert encoder.encode([]).shape == (0, DIMENSION)
    assert encoder.dimension == DIMENSION
    assert len(api.requests) == 1


def test_the_dimension_is_learned_from_any_answer(api: Api, make: Make) -> None:
    encoder = make()
    encoder.encode(["a"])
    assert encoder.dimension == DIMENSION
    assert len(api.requests) == 1


def test_threads_that_want_the_dimension_make_one_request(api: Api, make: Make) -> None:
    encoder = make()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: encoder.dimension, range(8)))
    assert found == [DIMENSION] * 8
    assert len(api.requests) == 1


def test_a_shortened_dimension_is_asked_for(api: Api, make: Make) -> None:
    encoder = make(dimension=4)
    assert (encoder.dimension, encoder.name) == (4, "tiny-1-4")
    assert not api.requests
    np.testing.assert_allclose(encoder.encode(TEXTS), expected(TEXTS, 4), atol=1e-7)
    assert api.requests[0].body["dimensions"] == 4


def test_requests_overlap_and_never_exceed_the_bound(api: Api, make: Make) -> None:
    api.meet = 3
    encoder = make(batch_size=1, concurrency=3)
    with ThreadPoolExecutor(2) as pool:  # the bound is for all threads together
        parts = list(pool.map(encoder.encode, (TEXTS, [text.upper() for text in TEXTS])))
    assert api.most_at_once == 3
    np.testing.assert_allclose(parts[0], expected(TEXTS), atol=1e-7)
    np.testing.assert_allclose(parts[1], expected([t.upper() for t in TEXTS]), atol=1e-7)


def test_a_proxy_of_the_environment_is_not_for_this_machine(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert make().encode(["a"]).shape == (1, DIMENSION)


# OpenAI itself.


def test_openai_is_asked_for_base64_with_the_key(api: Api) -> None:
    encoder = openai(answer_of(api), "text-embedding-3-small", dimension=4)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected(TEXTS, 4), atol=1e-7)
    (request,) = api.requests
    assert request.path == "/v1/embeddings"
    assert request.authorization == f"Bearer {KEY}"
    assert request.body["encoding_format"] == "base64"


@pytest.mark.parametrize("model", MODELS)
def test_the_dimension_of_openais_models_needs_no_request(api: Api, model: str) -> None:
    encoder = openai(answer_of(api), model)
    assert encoder.dimension == MODELS[model].dimension
    assert encoder.name == model
    same = openai(answer_of(api), model, dimension=MODELS[model].dimension)
    assert same.fingerprint == encoder.fingerprint
    assert same.name == model
    assert not api.requests
    with pytest.raises(EncoderError, match=f"8 values, expected {encoder.dimension}"):
        same.encode(["a"])
    assert "dimensions" not in api.requests[0].body


def test_openai_without_a_key_says_where_it_is_looked_for() -> None:
    with pytest.raises(InputError, match=r"OPENAI_API_KEY in the environment.*\.env"):
        OpenAIEncoder("text-embedding-3-small")


def test_the_estimate_is_of_distinct_texts_and_has_a_price_where_one_is_known(
    api: Api, make: Make
) -> None:
    texts = ["abcdef", "abcdef", "a", "\N{SNOWMAN}"]
    assert make().estimate(texts) == (4, None)
    n_tokens, usd = openai(answer_of(api), "text-embedding-3-large").estimate(texts * 2)
    assert n_tokens == 4
    assert usd == pytest.approx(4 * 0.13 / 1e6)
    assert not api.requests


def test_a_large_bill_is_reported_once_before_it_is_run_up(api: Api) -> None:
    reports: list[tuple[str, int]] = []

    def report(line: str) -> None:
        reports.append((line, len(api.requests)))

    encoder = openai(answer_of(api), "text-embedding-3-large", dimension=2, report=report)
    for number in range(5):
        encoder.encode([f"{number}" * 90_000])
    ((line, n_requests),) = reports
    assert n_requests == 3
    assert line == (
        "text-embedding-3-large-2 is sent over 100,000 tokens: about 120,000 so far, "
        "about $0.02 by the prices of 2024-01-25 (an estimate)"
    )


# Batches.


@given(
    st.lists(st.text(min_size=1, max_size=6).map(lambda text: text * 30_000), max_size=12),
    st.integers(1, 5),
)
def test_batches_keep_the_limits_and_the_order(texts: list[str], most: int) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    batches = split(texts, most)
    assert [text for batch in batches for text in batch] == texts
    for batch in batches:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or sum(len(text.encode()) for text in batch) <= MOST_BYTES


def too_many(limit: int) -> Callable[[list[str]], Fault | None]:
    """Refuses as text-embeddings-inference does."""
    body = {"error": f"batch size > maximum allowed batch size {limit}", "error_type": "Validation"}
    fault = Fault(status=413, body=json.dumps(body))
    return lambda texts: fault if len(texts) > limit else None


def test_a_batch_that_is_too_large_for_the_server_is_halved(api: Api, make: Make) -> None:
    api.refuse = too_many(2)
    np.testing.assert_allclose(make().encode(TEXTS), expected(TEXTS), atol=1e-7)
    assert sorted(api.answered) == TEXTS


LONG = "long " * 40
REFUSALS = [
    (400, "This model's maximum context length is 8192 tokens, however you requested 9000 tokens"),
    (400, "the input length exceeds the context length"),
    (400, "'$.input' is invalid."),
    (413, "`inputs` must have less than 512 tokens. Given: 900"),
    (422, "Input validation error"),
    (500, "input is too large to process. increase the physical batch size"),
    (429, "Request too large for text-embedding-3-large on tokens per min (TPM): Limit 40000"),
]


@pytest.mark.parametrize(("status", "message"), REFUSALS)
def test_a_text_that_is_too_long_is_named(
    api: Api, make: Make, status: int, message: str, waits: list[float]
) -> None:
    fault = Fault(status=status, body=json.dumps({"error": {"message": message, "type": "x"}}))
    api.refuse = lambda texts: fault if LONG in texts else None
    kept: list[str] = []
    encoder = make(on_batch=lambda texts, _vectors: kept.extend(texts), concurrency=1)
    with pytest.raises(InputError, match=r"^tiny-1 refuses the text 'long long .*shorten") as error:
        encoder.encode([*TEXTS[:5], LONG, *TEXTS[5:]])
    assert "200 characters" in str(error.value)
    assert message[:40] in str(error.value)
    assert kept == TEXTS[:5]  # which were asked with it, and had to be asked again without it
    assert len(api.requests) <= 6
    assert not waits


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u3000"])
def test_a_blank_text_is_refused_before_anything_is_sent(api: Api, make: Make, blank: str) -> None:
    with pytest.raises(InputError, match=r"texts\[1\] is empty or blank"):
        make().encode(["a", blank])
    assert not api.requests


def test_what_is_no_text_is_refused(api: Api, make: Make) -> None:
    with pytest.raises(InputError, match="must be a list"):
        make().encode("abc")
    with pytest.raises(InputError, match="lone surrogate"):
        make().encode(["\ud800"])
    assert not api.requests


# Failures that pass.


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_tried_again(
    api: Api, make: Make, status: int, waits: list[float]
) -> None:
    api.faults = [Fault(status=status, body="no"), Fault(status=status, body="no")]
    np.testing.assert_allclose(make().encode(TEXTS), expected(TEXTS), atol=1e-7)
    assert len(api.requests) == 3
    assert len(waits) == 2
    assert 0.5 <= waits[0] <= 1.5
    assert 1.0 <= waits[1] <= 2.0


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "7"}, 0.25),
        ({"Retry-After": formatdate(NOW + 20, usegmt=True)}, 20),
        ({"Retry-After": formatdate(NOW - 20, usegmt=True)}, 0),
        ({"Retry-After": "-3"}, 0),
    ],
)
def test_the_server_says_how_long_to_wait(
    api: Api, make: Make, headers: dict[str, str], wait_s: float, waits: list[float]
) -> None:
    api.faults = [Fault(status=429, headers=headers, body="slow down")]
    api.date = NOW  # a date counts by the server's own clock
    make().encode(TEXTS)
    assert waits == [pytest.approx(wait_s)]


@pytest.mark.parametrize("value", ["soon", "nan", "inf", "", "Mon, 99 Foo 2024"])
def test_a_wait_that_is_none_is_ours(api: Api, make: Make, value: str, waits: list[float]) -> None:
    api.faults = [Fault(status=429, headers={"Retry-After": value}, body="slow down")]
    make().encode(TEXTS)
    assert len(waits) == 1
    assert 0.5 <= waits[0] <= 1.5


def test_a_wait_beyond_the_budget_is_not_waited(api: Api, make: Make, waits: list[float]) -> None:
    api.always = Fault(status=429, headers={"Retry-After": "3600"}, body="quota of the day")
    with pytest.raises(EncoderError, match="asks to wait 3600 s; given up after 1 attempt:"):
        make().encode(TEXTS)
    assert not waits


def test_a_long_wait_is_reported(api: Api, make: Make) -> None:
    reports: list[str] = []
    api.faults = [Fault(status=429, headers={"Retry-After": "30"}, body="slow down")]
    make(report=reports.append).encode(TEXTS)
    assert len(reports) == 1
    assert "429 Too Many Requests: slow down; trying again in 30 s" in reports[0]


def test_it_gives_up_in_the_end_and_says_why(api: Api, make: Make, waits: list[float]) -> None:
    api.always = SERVER_ERROR
    with pytest.raises(EncoderError, match="500 Internal Server Error: out of luck; given up"):
        make().encode(TEXTS)
    assert len(api.requests) == ATTEMPTS
    assert waits == sorted(waits) or max(waits) <= 31
    assert sum(waits) <= openai_transport.BUDGET_S


def test_a_server_that_says_not_to_try_again_is_obeyed(api: Api, make: Make) -> None:
    api.always = Fault(status=503, headers={"x-should-retry": "false"}, body="gone")
    with pytest.raises(EncoderError, match="503"):
        make().encode(TEXTS)
    assert len(api.requests) == 1


def test_a_connection_that_is_cut_is_tried_again(api: Api, make: Make) -> None:
    api.faults = [Fault(cut=True)]
    np.testing.assert_allclose(make().encode(TEXTS), expected(TEXTS), atol=1e-7)
    api.always = Fault(cut=True)
    with pytest.raises(EncoderError, match=f"RemoteProtocolError.*after {ATTEMPTS} attempts"):
        make().encode(TEXTS)


def test_a_server_that_hangs_is_given_up(api: Api, make: Make) -> None:
    api.faults = [Fault(hang=True)]
    encoder = make(timeout_s=0.2)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected(TEXTS), atol=1e-7)
    api.always = Fault(hang=True)
    with pytest.raises(EncoderError, match=r"no answer within 0\.1 s"):
        make(timeout_s=0.1).encode(TEXTS)


def test_a_server_that_trickles_is_given_up(make: Make) -> None:
    class Trickle(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                time.sleep(0.02)
                yield b" "

    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, stream=Trickle()))
    with pytest.raises(EncoderError, match=r"no answer within 0\.05 s"):
        make(timeout_s=0.05, transport=transport).encode(["a"])


def test_a_server_that_is_not_there_is_told_soon(waits: list[float]) -> None:
    with serve() as gone:
        url = gone.url
    encoder = OpenAIEncoder("m", base_url=url)
    with pytest.raises(EncoderError, match=f"^{url}: ConnectError.*see that the server runs"):
        encoder.encode(["a"])
    assert len(waits) == ATTEMPTS_UNTIL_FIRST_ANSWER - 1


def test_an_address_that_the_client_refuses_is_told(waits: list[float]) -> None:
    with pytest.raises(EncoderError, match="InvalidURL"):
        OpenAIEncoder("m", base_url="http://h/v\x01").encode(["a"])
    assert not waits


# Failures that do not pass.


def data(answer: dict[str, Any]) -> Any:
    return answer["data"]


def put(value: object, key: str = "embedding") -> Fault:
    return Fault(change=lambda answer: data(answer)[1].__setitem__(key, value))


def body(value: object) -> Fault:
    return Fault(body=json.dumps(value))


HTML = "<!DOCTYPE html><html><head><title>502\n<b></title></head>" + "<p>x</p>" * 1000
FINAL: dict[str, tuple[Fault, str]] = {
    "too few": (Fault(change=lambda a: data(a).pop()), "10 texts gave 9 embeddings"),
    "too many": (Fault(change=lambda a: data(a).append(data(a)[0])), "10 texts gave 11"),
    "no index": (Fault(change=lambda a: data(a)[3].pop("index")), "index from 0 to 9 .* None"),
    "index twice": (put(0, "index"), "each index from 0 to 9 once, and has 0"),
    "index outside": (put(10, "index"), "and has 10"),
    "index is true": (put(value=True, key="index"), "and has True"),
    "an item that is no object": (Fault(change=lambda a: data(a).__setitem__(2, 5)), "each index"),
    "other dimension": (put([1.0, 2.0]), r"one answer has embeddings of \[2, 8\] values"),
    "nan": (put([float("nan")] * 8), "zero, NaN or infinity for the text 'text 1'"),
    "infinity": (put([1e300] * 8), "zero, NaN or infinity for the text 'text 1'"),
    "zero": (put([0] * 8), "zero, NaN or infinity for the text 'text 1'"),
    "text for numbers": (put(["1"] * 8), "must be a list of numbers or float32 in base64"),
    "null": (put(None), "must be a list of numbers"),
    "null within": (put([None] * 8), "must be a list of numbers"),
    "ragged": (put([[1], [1, 2]]), "must be a list of numbers"),
    "booleans": (put([True] * 8), "must be a list of numbers"),
    "empty": (put([]), "must be a list of numbers"),
    "no base64": (put("?!"), "must be a list of numbers"),
    "base64 cut": (put("AAAAAAA="), "must be a list of numbers"),
    "no data": (body({"object": "list"}), "no list `data`.*/v1"),
    "data is no list": (body({"data": {}}), "no list `data`"),
    "a list": (body([1]), "no list `data`"),
    "error with 200": (body({"error": {"message": "no such model"}}), "error: no such model"),
    "html": (Fault(body=HTML), r"not JSON but an HTML page \(502\); check base_url"),
    "text": (Fault(body="hello\x1b[31m\n there"), r"not JSON but hello \[31m there; check"),
    "nothing": (Fault(body=""), "not JSON but nothing"),
    "bytes": (Fault(body=b"\xff\xfe\x00"), "not JSON"),
    "deep": (Fault(body="[" * 200_000), "not JSON"),
    "400": (Fault(status=400, body='{"detail": "no"}'), "400 Bad Request: no$"),
    "401": (Fault(status=401, body=f"wrong: {KEY}"), r"401 .*set OPENAI_API_KEY.*\.env$"),
    "403": (Fault(status=403, body='{"message": "not you"}'), "403 .*not you; this key may not"),
    "404": (Fault(status=404, body=HTML), r"404 .*HTML page \(502\); check base_url.*model$"),
    "302": (Fault(status=302, headers={"Location": "/x"}, body=""), "302 .*sends elsewhere"),
    "204": (Fault(status=204, body=""), "204"),
    "no credit": (
        Fault(status=429, body='{"error": {"message": "You", "code": "insufficient_quota"}}'),
        "no credit left",
    ),
}


@pytest.mark.parametrize("name", FINAL)
def test_other_failures_are_told_at_once(
    api: Api, make: Make, name: str, waits: list[float]
) -> None:
    fault, message = FINAL[name]
    api.always = fault
    with pytest.raises(EncoderError, match=message) as error:
        make().encode(TEXTS)
    assert len(api.requests) == 1
    assert not waits
    said = str(error.value)
    assert len(said) < 600
    assert said.isprintable()


def test_another_dimension_in_the_second_answer_is_refused(api: Api, make: Make) -> None:
    def shorten(answer: dict[str, Any]) -> None:
        for item in data(answer):
            item["embedding"] = item["embedding"][:5]

    api.faults = [Fault(), Fault(change=shorten)]
    encoder = make(batch_size=5, concurrency=1)
    with pytest.raises(EncoderError, match="embeddings of 5 values, expected 8"):
        encoder.encode(TEXTS)


def test_an_answer_without_end_is_cut_off(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_transport, "MAX_ANSWER_BYTES", 100)
    with pytest.raises(EncoderError, match="sends over 100 bytes"):
        make().encode(TEXTS)


# What came is kept.


def cached(encoder_of: Make, cache: EmbeddingCache, **options: Any) -> CachedEncoder:
    """What the documentation tells users to write."""

    def keep(texts: list[str], vectors: np.ndarray[Any, Any]) -> None:
        cache.store(encoder.fingerprint, [text_key(text) for text in texts], vectors)

    encoder = encoder_of(on_batch=keep, **options)
    return CachedEncoder(encoder, cache)


def test_a_run_that_failed_goes_on_where_it_stopped(api: Api, make: Make, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    dead = Fault(status=401, body="no")
    api.faults = [Fault()] * 4  # one for the dimension, three batches; then it dies
    api.always = dead
    with pytest.raises(EncoderError, match="401"):
        cached(make, cache, batch_size=2, concurrency=1).encode(TEXTS)
    came = list(api.answered)
    assert len(came) == 7
    api.always = Fault()
    api.requests.clear()
    vectors = cached(make, cache, batch_size=2).encode(TEXTS)
    np.testing.assert_allclose(vectors, expected(TEXTS), atol=1e-7)
    assert sorted(api.asked) == sorted(["dimension", *(set(TEXTS) - set(came))])
    api.requests.clear()
    assert (cached(make, cache, dimension=None).encode(TEXTS) == vectors).all()
    assert api.asked == ["dimension"]


def test_what_was_on_its_way_when_another_batch_failed_is_kept(api: Api, make: Make) -> None:
    kept: list[str] = []
    api.meet = 3  # so that all three are there before one of them is refused
    fault = Fault(status=403, body="no")
    api.refuse = lambda texts: fault if "text 4" in texts else None
    encoder = make(batch_size=2, concurrency=3, on_batch=lambda texts, _vectors: kept.extend(texts))
    with pytest.raises(EncoderError, match="403"):
        encoder.encode(TEXTS)
    assert sorted(kept) == sorted(api.answered)
    assert set(TEXTS[:4]) <= set(kept)


def test_a_failure_ends_the_waits_of_the_other_batches(
    api: Api, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    began_s = time.monotonic()
    waiting = threading.Event()

    def pause(stop: threading.Event, _seconds: float) -> None:
        waiting.set()
        assert stop.wait(20)

    def refuse(texts: list[str]) -> Fault:
        if texts == ["text 0"]:
            return Fault(status=429, headers={"Retry-After": "60"}, body="slow down")
        waiting.wait(20)
        return Fault(status=403, body="no")

    monkeypatch.setattr(openai_transport, "_pause", pause)
    api.refuse = refuse
    with pytest.raises(EncoderError, match="403"):
        make(batch_size=1, concurrency=2).encode(TEXTS)
    assert time.monotonic() - began_s < 10
    assert len(api.requests) == 2


def test_the_hook_runs_in_the_calling_thread_and_its_error_is_the_calls(
    api: Api, make: Make
) -> None:
    threads: set[int] = set()

    def full(_texts: list[str], _vectors: object) -> None:
        threads.add(threading.get_ident())
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        make(batch_size=1, on_batch=full).encode(TEXTS)
    assert threads == {threading.get_ident()}


PROGRAM = """
import sys
from pathlib import Path
from safe_embed.encoders.cache import CachedEncoder, EmbeddingCache, text_key
from safe_embed.encoders.openai_encoder import OpenAIEncoder
cache = EmbeddingCache(Path(sys.argv[2]))
def keep(texts, vectors):
    cache.store(encoder.fingerprint, [text_key(text) for text in texts], vectors)
encoder = OpenAIEncoder(
    "maker/tiny-1", base_url=sys.argv[1], batch_size=2, concurrency=2, on_batch=keep
)
CachedEncoder(encoder, cache).encode([f"text {number}" for number in range(10)])
"""


def start(api: Api, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, api.url, str(directory)],
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY / "src"), "PATH": ""},
        preexec_fn=hear_interrupts,
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_stops_at_once_and_goes_on_where_it_stopped(
    api: Api, make: Make, tmp_path: Path, how: signal.Signals
) -> None:
    cache = EmbeddingCache(tmp_path)
    api.faults = [Fault()] * 4
    api.always = Fault(hang=True)
    fingerprint = make().fingerprint
    keys = [text_key(text) for text in TEXTS]
    with start(api, tmp_path) as process:
        until(lambda: len(cache.lookup(fingerprint, keys, DIMENSION)) == 6)
        until(lambda: len(api.requests) == 6)
        asked_s = time.monotonic()
        process.send_signal(how)
        error = process.communicate(timeout=20)[1]
    assert time.monotonic() - asked_s < 3  # and not the 60 s for which an answer is waited for
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in error) == (how is signal.SIGINT)
    came = set(api.answered)
    api.always = Fault()
    api.requests.clear()
    vectors = cached(make, cache, batch_size=2).encode(TEXTS)
    np.testing.assert_allclose(vectors, expected(TEXTS), atol=1e-7)
    assert not came & set(api.asked) - {"dimension"}


# Addresses, names and fingerprints.


def test_credentials_of_the_address_become_basic_authentication(api: Api, make: Make) -> None:
    url = api.url.replace("http://", "http://me:p%40ss-w0rd@")
    encoder = make(base_url=url, key=Secret(KEY))
    encoder.encode(["a"])
    assert api.requests[0].authorization == "Basic bWU6cEBzcy13MHJk"
    assert encoder.fingerprint == make().fingerprint


def test_a_key_for_another_machine_without_tls_is_reported() -> None:
    reports: list[str] = []
    for url in ("http://10.0.0.7/v1", "http://localhost:1/v1", "http://[::1]/v1", "https://a/v1"):
        OpenAIEncoder("m", base_url=url, key=Secret(KEY), report=reports.append)
    OpenAIEncoder("m", base_url="http://10.0.0.7/v1", report=reports.append)
    assert reports == ["http://10.0.0.7/v1 is not https: the key can be read on its way there"]


@pytest.mark.parametrize(
    ("base_url", "url", "host", "path"),
    [
        ("https://api.openai.com/v1/", "https://api.openai.com/v1", "api.openai.com", "/v1"),
        ("HTTPS://API.OpenAI.com:443/v1", "https://api.openai.com/v1", "api.openai.com", "/v1"),
        ("http://h:8080/v1/embeddings", "http://h:8080/v1", "h:8080", "/v1"),
        (" http://u:p@h:80 ", "http://h", "h", ""),
        ("http://[::1]:8080/a/b", "http://[::1]:8080/a/b", "[::1]:8080", "/a/b"),
    ],
)
def test_addresses(base_url: str, url: str, host: str, path: str) -> None:
    address = Address.parse(base_url)
    assert (address.url, address.host, address.path) == (url, host, path)


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        f"{KEY}@host/v1",
        f"ftp://{KEY}@host/v1",
        f"http://user:{KEY}@/v1",
        f"http://user:{KEY}@host:99999/v1",
        f"http://user:{KEY}@[::1/v1",
        f"http://user:{KEY}@a..b/v1",
        f"https://host/v1?api-key={KEY}",
        f"https://host/v1#{KEY}",
    ],
)
def test_an_address_that_is_none_is_refused_and_not_shown(base_url: str) -> None:
    with pytest.raises(InputError, match=r"base_url .*http://localhost:8080/v1") as error:
        OpenAIEncoder("m", base_url=base_url)
    assert KEY not in "".join(traceback.format_exception(error.value))


def test_the_fingerprint_is_of_all_that_decides_an_embedding(make: Make) -> None:
    base = make()
    others = [
        make(base_url="http://127.0.0.1:1/v1"),
        make(base_url="http://127.0.0.1:1/v2"),
        make(dimension=4),
        OpenAIEncoder("tiny-1", base_url="http://127.0.0.1:1/v1"),
    ]
    same = make(batch_size=7, concurrency=1, key=Secret(KEY), name="x", timeout_s=1)
    assert same.fingerprint == base.fingerprint
    prints = {encoder.fingerprint for encoder in (base, *others)}
    assert len(prints) == 5
    assert all(len(one) == 64 and int(one, 16) for one in prints)


@pytest.mark.parametrize(
    ("model", "name"),
    [("BAAI/bge-m3", "bge-m3"), ("nomic-embed:latest", "nomic-embed-latest"), ("//", "model")],
)
def test_the_name_is_fit_for_a_file(model: str, name: str) -> None:
    assert OpenAIEncoder(model, base_url="http://h").name == name
    assert OpenAIEncoder(model, base_url="http://h", name="mine").name == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": " "}, "model"),
        ({"dimension": 0}, "dimension must be 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"concurrency": 0}, "concurrency must be 1 or more"),
        ({"timeout_s": 0}, "timeout_s must be more than 0"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"key": Secret("two words")}, "printable ASCII"),
        ({"key": Secret("new\nline")}, "printable ASCII"),
        ({"key": Secret("k\N{LATIN SMALL LETTER E WITH ACUTE}y")}, "printable ASCII"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OpenAIEncoder(**{"model": "m", "base_url": "http://h"} | options)


def test_openai_takes_no_more_than_2048_texts(api: Api) -> None:
    with pytest.raises(InputError, match="from 1 to 2048, got 2049"):
        openai(answer_of(api), "m", batch_size=2049)


# Secrets.

ECHO = Fault(status=400, body=json.dumps({"error": {"message": f"you sent Bearer {KEY}"}}))
LEAKS: dict[str, Fault] = {
    **{name: fault for name, (fault, _message) in FINAL.items()},
    "echo 400": ECHO,
    "echo 500": Fault(status=500, body=f"Authorization: Bearer {KEY}"),
    "echo 200": Fault(body=f"<html><title>{KEY}</title>"),
    "echo far": Fault(status=403, body="x" * 290 + KEY),
    "echo of the input": Fault(status=413, body=f"tokens {KEY}"),
    "echo as embedding": Fault(change=lambda a: data(a)[0].__setitem__("embedding", KEY)),
    "echo as index": Fault(change=lambda a: data(a)[0].__setitem__("index", KEY)),
    "cut": Fault(cut=True),
    "hang": Fault(hang=True),
}


@pytest.mark.parametrize("name", LEAKS)
def test_the_key_shows_nowhere(
    api: Api,
    make: Make,
    name: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    reports: list[str] = []
    api.always = LEAKS[name]
    with_key: dict[str, Any] = {"key": Secret(KEY)}
    in_address = {"base_url": api.url.replace("http://", f"http://me:{KEY}@")}
    for options in (with_key, in_address):
        api.requests.clear()
        encoder = make(timeout_s=0.1 if name == "hang" else 5, report=reports.append, **options)
        with pytest.raises(SafeEmbedError) as error:
            encoder.encode(TEXTS[:2])
        assert api.requests[0].authorization is not None  # it was sent, and so could be shown
        shown = [*traceback.format_exception(error.value), repr(error.value), *reports]
        shown += [repr(encoder), str(vars(encoder)), caplog.text, *capfd.readouterr()]
        for secret in (KEY, api.requests[0].authorization.split()[1], KEY[:12]):
            assert not any(secret in text for text in shown)


def test_an_encoder_with_a_key_is_not_pickled(make: Make) -> None:
    with pytest.raises((TypeError, pickle.PicklingError)) as error:
        pickle.dumps(make(key=Secret(KEY), report=print))
    assert KEY not in str(error.value)
