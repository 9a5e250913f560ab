"""Whole runs against a server over a socket, with all that goes wrong there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from safe_embed.contrast.budget import Budget
from safe_embed.contrast.editing import EditSettings
from safe_embed.contrast.generate import Generation
from safe_embed.contrast.judge import Judge
from safe_embed.contrast.outcome import journal_path
from safe_embed.contrast.template import edit_template
from safe_embed.datasets import load_records
from safe_embed.errors import DataError, InputError
from tests.contrast.chat_server import MODEL, ChatServer, Fault, Request
from tests.contrast.conftest import KEY, Chat, Run, prompt_text, read_lines, write_prompts

TO_SAFE = EditSettings(template=edit_template("to-safe"))


def only(prompt: int, fault: Fault):
    """A fault of the requests for one prompt."""
    return lambda request: fault if request.prompt == prompt_text(prompt) else None


def test_writes_sets_that_a_suite_loads_and_where_they_come_from(run: Run, server: ChatServer):
    summary = run(5)
    assert (summary.n, summary.accepted, summary.rejected, summary.left) == (5, 5, {}, 0)
    sets = load_records(run.out, "contrast sets").contrast_sets
    assert [one.id for one in sets] == [f"p{i}" for i in range(5)]
    assert all(len(set(one.edits)) == 5 for one in sets)
    provenance = run.sets[0]["provenance"]
    assert provenance["model"] == MODEL
    assert provenance["asked_model"] == "asked-model"
    assert provenance["template_sha256"] == edit_template("to-safe").digest
    assert provenance["usage"] == {"prompt_tokens": 100, "completion_tokens": 50}
    assert provenance["parameters"]["temperature"] == 0
    assert provenance["attempts"] == 1
    assert provenance["time"]
    assert summary.spent.tokens == 5 * 150
    task = server.requests[0].task
    assert task["category"] == "Assisting illegal activities"
    assert "law" in task["explanation"]
    assert task["n"] == 5


FAULTS = {
    "refusal": Fault(text="I'm sorry, but I can't help with that."),
    "not JSON": Fault(text="Here are some ideas: paint it, draw it"),
    "wrong count": Fault(text='{"edits": ["How do I paint a garden gnome?"]}'),
    "duplicate edit": Fault(text=json.dumps({"edits": ["How do I paint a gnome?"] * 5})),
    "unchanged": Fault(text=json.dumps({"edits": [prompt_text(1), "a", "b", "c", "d"]})),
    "other prompt": Fault(
        text=json.dumps({"id": "somebody else", "edits": ["a b", "b", "c", "d", "e"]})
    ),
    "empty": Fault(text=" "),
    "content filter": Fault(
        change=lambda answer: answer["choices"][0].update(finish_reason="content_filter")
    ),
    "server error": Fault(status=500, body='{"error": {"message": "out of memory"}}'),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_one_bad_answer_is_a_record_and_not_the_end(reason: str, run: Run, server: ChatServer):
    server.refuse = only(1, FAULTS[reason])
    summary = run(4)
    assert [one["id"] for one in run.sets] == ["p0", "p2", "p3"]
    (record,) = run.rejected
    assert (record["id"], record["reason"]) == ("p1", reason)
    assert record["original"] == prompt_text(1)
    assert record["detail"]
    assert record["attempts"] >= 1
    if FAULTS[reason].text is not None:
        assert record["raw"] == FAULTS[reason].text
    assert summary.rejected == {reason: 1}


def test_an_edit_that_is_too_large_is_rejected(run: Run, server: ChatServer):
    texts = [f"Sing {word} songs for us all please" for word in ("one", "two", "red", "big", "sad")]
    server.refuse = only(1, Fault(text=json.dumps({"edits": texts})))
    run(3, settings=replace(TO_SAFE, max_edit=0.5))
    assert [(one["id"], one["reason"]) for one in run.rejected] == [("p1", "edit too large")]


def test_a_refusal_in_its_own_field(run: Run, server: ChatServer):
    def refuse(answer):
        answer["choices"][0]["message"] = {"content": None, "refusal": "I must decline."}

    server.refuse = only(0, Fault(change=refuse))
    run(2)
    (record,) = run.rejected
    assert (record["reason"], record["raw"]) == ("refusal", "I must decline.")


def test_the_order_is_that_of_the_prompts_and_not_of_the_answers(run: Run, server: ChatServer):
    server.refuse = only(0, Fault(drip_s=0.0005))
    run(20, concurrency=8)
    (slow,) = (one.task["id"] for one in server.requests if one.prompt == prompt_text(0))
    ended = [line["task"] for line in read_lines(journal_path(run.out))[1:]]
    assert ended.index(slow) > 0
    assert [one["id"] for one in run.sets] == [f"p{i}" for i in range(20)]


def test_requests_go_side_by_side_and_no_more_than_allowed(run: Run, server: ChatServer):
    server.latency_s = 0.05
    run(12, concurrency=3)
    assert server.most_at_once == 3


def test_resume_asks_only_for_what_has_not_ended(run: Run, server: ChatServer):
    server.refuse = only(2, Fault(text="no"))
    run(3)
    before = run.sets
    server.requests.clear()
    summary = run(5, resume=True)
    assert set(server.asked) == {prompt_text(3), prompt_text(4)}
    assert len(server.asked) == 2
    assert run.sets[:2] == before
    assert (summary.accepted, summary.rejected) == (4, {"not JSON": 1})


def test_without_resume_a_journal_is_not_touched(run: Run, server: ChatServer):
    run(2)
    journal = journal_path(run.out).read_bytes()
    with pytest.raises(InputError, match="--resume"):
        run(2)
    assert journal_path(run.out).read_bytes() == journal
    assert len(server.requests) == 2


def test_resume_with_other_settings_is_refused(run: Run):
    run(2)
    with pytest.raises(InputError, match="run with temperature"):
        run(2, resume=True, settings=replace(TO_SAFE, temperature=0.5))


def test_retry_failed_asks_again_where_the_server_failed(run: Run, server: ChatServer):
    server.refuse = lambda request: {
        prompt_text(1): Fault(status=500),
        prompt_text(2): Fault(text="no"),
    }.get(request.prompt)
    run(4)
    assert [one["reason"] for one in run.rejected] == ["server error", "not JSON"]
    server.refuse = lambda _request: None
    server.requests.clear()
    run(4, resume=True)
    assert not server.requests
    run(4, resume=True, retry_failed=True)
    assert server.asked == [prompt_text(1)]
    assert [one["id"] for one in run.sets] == ["p0", "p1", "p3"]


@pytest.mark.parametrize(
    ("limit", "asked"),
    [({"max_requests": 3}, 3), ({"max_tokens": 1000}, 3)],
)
def test_a_budget_stops_new_requests_and_resume_goes_on(
    limit: dict[str, int], asked: int, run: Run, server: ChatServer
):
    summary = run(8, budget=Budget(**limit), concurrency=2)
    assert summary.exhausted in limit
    assert summary.left == 8 - summary.accepted > 0
    assert summary.spent.requests == len(server.requests)
    assert len(server.requests) == asked
    assert {one["reason"] for one in run.rejected} == {"budget"}
    assert run(8, resume=True).accepted == 8
    assert sorted(server.asked) == sorted(prompt_text(i) for i in range(8))


def test_failed_attempts_count_as_requests(run: Run, server: ChatServer):
    server.always = Fault(status=503)
    summary = run(4, budget=Budget(max_requests=3), concurrency=1)
    assert len(server.requests) == 3
    assert summary.left == 4


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_address_ends_the_run(status: int, run: Run, server: ChatServer):
    server.always = Fault(status=status, body=f'{{"error": {{"message": "no {KEY} here"}}}}')
    with pytest.raises(InputError) as caught:
        run(30)
    assert str(status) in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(server.requests) <= 4
    assert not run.out.exists()


def test_a_wrong_key_in_the_middle_saves_what_is_there(run: Run, server: ChatServer):
    server.refuse = only(3, Fault(status=401))
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        run(8, concurrency=1)
    server.refuse = lambda _request: None
    assert run(8, resume=True).accepted == 8
    assert len(server.answered) == len(set(server.answered)) == 8


def test_a_server_that_is_down_ends_the_run(run: Run, server: ChatServer):
    server.faults = [Fault()] * 2
    server.always = Fault(status=502)
    with pytest.raises(InputError, match="--retry-failed"):
        run(200, concurrency=4)
    assert len(server.requests) < 200
    server.always = Fault()
    assert run(200, resume=True, retry_failed=True).accepted == 200


def test_the_judge_rejects_what_most_votes_call_unsafe(run: Run, server: ChatServer, chat: Chat):
    votes = iter(["unsafe", "safe", "unsafe"])

    def vote(request: Request):
        if request.judges and "number 1" in request.prompt:
            task_id = request.task["id"]
            if task_id.endswith("-2"):
                return Fault(text=json.dumps({"id": task_id, "verdict": next(votes)}))
        return None

    server.refuse = vote
    summary = run(3, judge=Judge(chat=chat(), votes=3), concurrency=1)
    assert summary.rejected == {"judge says unsafe": 1}
    (record,) = run.rejected
    assert record["id"] == "p1"
    assert record["judge"]["votes"][1] == ["unsafe", "safe", "unsafe"]
    assert run.sets[0]["judge"]["votes"] == [["safe", "safe"]] * 5


def test_a_draft_and_its_votes_are_not_paid_twice(run: Run, server: ChatServer, chat: Chat):
    budget = Budget(max_requests=4)
    judge = Judge(chat=chat(budget), votes=1)
    run(1, budget=budget, judge=judge, concurrency=1)
    assert len(server.requests) == 4
    assert run(1, resume=True, judge=Judge(chat=chat(), votes=1)).accepted == 1
    assert len(server.requests) == 6  # one draft, five votes
    assert len({request.task["id"] for request in server.requests}) == 6


def test_an_interrupt_waits_for_what_is_on_its_way(run: Run, server: ChatServer):
    server.latency_s = 0.3

    def interrupt(done: int, _total: int | None) -> None:
        if done >= 4 and server.latency_s < 0.6:  # once
            server.latency_s = 0.6
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(40, progress=interrupt)
    assert len(server.answered) == len(server.requests) < 40
    assert any("stopping" in line for line in run.reports)
    assert not run.out.exists()
    server.latency_s = 0
    assert run(40, resume=True).accepted == 40
    assert len(server.answered) == 40


def test_an_interrupt_does_not_wait_forever(run: Run, server: ChatServer):
    server.faults = [Fault()]
    server.always = Fault(hang=True)

    def interrupt(done: int, _total: int | None) -> None:
        if done == 1 and not run.reports:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(8, progress=interrupt, timeout_s=60, grace_s=0.3)
    assert time.monotonic() - began < 30  # a request may take 60 s


SCRIPT = """
import sys
from pathlib import Path
from safe_embed.contrast.api import Api
from safe_embed.contrast.budget import Budget
from safe_embed.contrast.chat import OpenAIChat
from safe_embed.contrast.editing import EditSettings
from safe_embed.contrast.generate import Generation, generate
from safe_embed.contrast.source import PromptSource
from safe_embed.contrast.template import edit_template

url, prompts, out = sys.argv[1:]
budget = Budget()
generation = Generation(
    source=PromptSource(Path(prompts), "to-safe"),
    settings=EditSettings(template=edit_template("to-safe")),
    chat=OpenAIChat("asked-model", Api(url, key=None, connections=8), budget=budget),
    budget=budget,
    concurrency=8,
)
generate(generation, Path(out), resume=True)
"""


def test_kill_in_the_middle_and_resume_asks_nothing_twice(run: Run, server: ChatServer):
    write_prompts(run.prompts, 60)
    finished = threading.Event()

    def hang_after_20(_request: Request):
        if finished.is_set() or len(server.requests) <= 20:
            return None
        return Fault(hang=True)

    server.refuse = hang_after_20
    arguments = [sys.executable, "-c", SCRIPT, server.url, run.prompts, run.out]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE)
    journal = journal_path(run.out)
    paid = 0
    deadline = time.monotonic() + 30
    assert process.stderr is not None
    while paid < 20 and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
        paid = max(0, len(journal.read_bytes().splitlines()) - 1) if journal.exists() else 0
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert paid == len(server.answered) == 20
    assert not run.out.exists()
    with journal.open("ab") as file:  # what a kill in the middle of a line leaves
        file.write(b'{"task": "0123456789ab", "step": "acce')
    finished.set()
    assert run(60, resume=True).accepted == 60
    assert len(server.answered) == len(set(server.answered)) == 60
    assert [one["id"] for one in run.sets] == [f"p{i}" for i in range(60)]


def test_the_key_is_in_nothing_that_is_written(run: Run, server: ChatServer):
    echo = f"my key is {KEY}, sir"
    server.refuse = lambda request: {
        prompt_text(0): Fault(text=echo),
        prompt_text(1): Fault(text=json.dumps({"edits": [f"{echo} {i}" for i in range(5)]})),
        prompt_text(2): Fault(status=500, body=echo),
        prompt_text(3): Fault(status=400, body=json.dumps({"error": {"message": echo}})),
        prompt_text(4): Fault(change=lambda answer: answer.update(model=echo)),
        prompt_text(5): Fault(
            change=lambda answer: answer["choices"][0]["message"].update(refusal=echo)
        ),
        prompt_text(6): Fault(change=lambda answer: answer.update(choices=echo)),
    }.get(request.prompt)
    run(8)
    assert server.requests[0].authorization == f"Bearer {KEY}"
    written = [path for path in run.out.parent.iterdir() if path.is_file()]
    assert len(written) >= 4
    for path in written:
        assert KEY not in path.read_text("utf-8"), path
    assert not any(KEY in line for line in run.reports)
    assert "***" in run.rejected[0]["raw"]


def test_pairs_come_of_the_other_direction(run: Run, server: ChatServer):
    run.prompts.write_text('{"id": "q", "text": "How do I bake bread?", "label": "safe"}\n')
    server.always = Fault(text='{"edits": ["How do I steal bread?"]}')
    settings = EditSettings(template=edit_template("to-unsafe"), direction="to-unsafe", n=1)
    write, run.prompts = run.prompts, run.prompts.with_name("other.jsonl")
    from safe_embed.contrast.generate import generate
    from safe_embed.contrast.source import PromptSource

    budget = Budget()
    generation = Generation(
        source=PromptSource(write, "to-unsafe"),
        settings=settings,
        chat=run._chat(budget),
        budget=budget,
    )
    generate(generation, run.out)
    (pair,) = load_records(run.out, "pairs").pairs
    assert (pair.unsafe, pair.safe) == ("How do I steal bread?", "How do I bake bread?")


def test_settings_that_cannot_be(run: Run, chat: Chat):
    with pytest.raises(InputError, match="n must be 1 for to-unsafe"):
        EditSettings(template=edit_template("to-unsafe"), direction="to-unsafe", n=2)
    with pytest.raises(InputError, match="odd"):
        Judge(chat=chat(), votes=2)
    with pytest.raises(InputError, match="concurrency"):
        run(1, concurrency=0)


def test_prompts_are_checked_before_anything_is_asked(run: Run, server: ChatServer, tmp_path: Path):
    from safe_embed.contrast.source import PromptSource

    path = tmp_path / "bad.jsonl"
    good = '{"id": "a", "text": "How do I rob a bank?", "label": "unsafe"}\n'
    for bad, message in [
        ('{"id": "b", "text": " "}\n', "row 2"),
        (good, "row 2"),
        ("{\n", "row 2"),
    ]:
        path.write_text(good + bad)
        with pytest.raises(DataError, match=message):
            PromptSource(path, "to-safe")
    path.write_text(good.replace("unsafe", "safe"))
    with pytest.raises(DataError, match="no prompts to edit"):
        PromptSource(path, "to-safe")
    path.write_text('{"original": "x", "edits": ["y"]}\n')
    with pytest.raises(DataError, match="no column text"):
        PromptSource(path, "to-safe")
    again = good.replace('"a"', '"b"').replace("rob a", "ROB  a")
    path.write_text(good + again)
    source = PromptSource(path, "to-safe")
    assert (source.n, sum(source.skipped.values())) == (1, 1)


def test_a_half_open_connection_is_given_up_and_asked_again(run: Run, server: ChatServer):
    server.faults = [Fault(hang=True)]
    assert run(3, timeout_s=0.3).accepted == 3
    assert len(server.requests) == 4
