"""Jobs of a Batch API over a socket: submitted once, collected in part and as a whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from safe_embed.contrast import batch_api, batch_jobs
from safe_embed.contrast.api import Api
from safe_embed.contrast.batch_state import load_state, state_path
from safe_embed.contrast.editing import EditSettings
from safe_embed.contrast.fake_model import fake_answer
from safe_embed.contrast.source import PromptSource
from safe_embed.contrast.template import edit_template
from safe_embed.datasets import load_records
from safe_embed.errors import DataError, InputError
from safe_embed.secrets import Secret
from tests.contrast.chat_server import ChatServer, _Handler, serve
from tests.contrast.conftest import KEY, Run, prompt_text, read_lines, write_prompts

SETTINGS = EditSettings(template=edit_template("to-safe"))


@dataclass
class BatchServer(ChatServer):
    """Files and jobs; the answers to a job are made when a test says so."""

    files: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    fail_after: Callable[[str], int | None] = lambda _call: None
    """Status to answer to a call, after the call had its effect."""

    def finish(
        self, job_id: str, change: Callable[[str, dict[str, Any]], str | None] | None = None
    ) -> None:
        """Answers a job; `change` gets the prompt and a line, and says which file it goes to."""
        job = self.jobs[job_id]
        lines: dict[str, list[str]] = {"output": [], "error": []}
        for line in reversed(self.files[job["input_file_id"]].splitlines()):  # any order
            request = json.loads(line)
            message = {"content": fake_answer(request["body"]["messages"])}
            body = {
                "model": "served-model",
                "choices": [{"message": message}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 50},
            }
            response = {"status_code": 200, "body": body}
            answer = {"custom_id": request["custom_id"], "response": response, "error": None}
            content = request["body"]["messages"][-1]["content"]
            prompt = json.loads(content[content.index("{") :])["prompt"]
            where = "output" if change is None else change(prompt, answer)
            if where is not None:
                lines[where].append(json.dumps(answer))
        job["status"] = "completed"
        for name, found in lines.items():
            if found:
                job[f"{name}_file_id"] = f"{job_id}-{name}"
                self.files[f"{job_id}-{name}"] = ("\n".join(found) + "\n").encode()


class BatchHandler(_Handler):
    def do_GET(self) -> None:  # noqa: N802 - the name is the base class's
        state = self._called()
        if match := re.fullmatch(r"/v1/files/(.+)/content", self.path):
            self._send(200, state.files[match[1]])
        elif self.path.startswith("/v1/batches?"):
            self._reply({"data": list(state.jobs.values())})
        else:
            self._reply(state.jobs[self.path.rpartition("/")[2]])

    def do_POST(self) -> None:  # noqa: N802
        if self.path.endswith("/completions"):
            super().do_POST()
            return
        state = self._called()
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/files":
            assert b'name="purpose"\r\n\r\nbatch\r\n' in body
            name = f"file-{len(state.files)}"
            state.files[name] = body.partition(b"application/jsonl\r\n\r\n")[2].rpartition(
                b"\r\n--"
            )[0]
            self._reply({"id": name})
        else:
            name = f"batch-{len(state.jobs)}"
            job = json.loads(body) | {"id": name, "status": "in_progress"}
            state.jobs[name] = job | {"request_counts": {"total": 4, "completed": 1, "failed": 0}}
            self._reply(state.jobs[name])

    def _called(self) -> BatchServer:
        state = self.server_of
        assert isinstance(state, BatchServer)
        assert self.headers["authorization"] == f"Bearer {KEY}"
        state.calls.append(f"{self.command} {self.path.partition('?')[0]}")
        return state

    def _reply(self, answer: dict[str, Any]) -> None:
        state = self.server_of
        assert isinstance(state, BatchServer)
        status = state.fail_after(state.calls[-1])
        self._send(status or 200, json.dumps(answer).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with serve(BatchServer(), BatchHandler) as running:
        assert isinstance(running, BatchServer)
        yield running


@pytest.fixture
def api(server: BatchServer) -> Iterator[Api]:
    made = Api(server.url, key=Secret(KEY), connections=2, timeout_s=5)
    yield made
    made.close()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_prompts(tmp_path / "prompts.jsonl", 4)
    return tmp_path / "sets.jsonl"


def submit(api: Api, out: Path, settings: EditSettings = SETTINGS) -> list[str]:
    reports: list[str] = []
    source = PromptSource(out.with_name("prompts.jsonl"), "to-safe")
    batch_api.submit(source, settings, "asked-model", api, out, report=reports.append)
    return reports


def test_submits_and_collects(api: Api, out: Path, server: BatchServer):
    assert submit(api, out) == ["batch-0: 4 prompts"]
    lines = [json.loads(line) for line in server.files["file-0"].splitlines()]
    assert len({line["custom_id"] for line in lines}) == 4
    assert lines[0]["url"] == "/v1/chat/completions"
    assert lines[0]["body"]["model"] == "asked-model"
    (job,) = batch_api.status(load_state(out), api)
    assert (job.status, job.total, job.completed, job.over) == ("in_progress", 4, 1, False)
    reports: list[str] = []
    assert batch_api.collect(api, out, report=reports.append).left == 4
    assert reports == ["batch-0: in_progress, 1 of 4 done"]
    server.finish("batch-0")
    summary = batch_api.collect(api, out)
    assert (summary.accepted, summary.left, summary.spent.tokens) == (4, 0, 600)
    assert [one.id for one in load_records(out).contrast_sets] == ["p0", "p1", "p2", "p3"]
    assert read_lines(out)[0]["provenance"]["model"] == "served-model"
    again = batch_api.collect(api, out)
    assert (again.accepted, again.spent.requests) == (4, 0)


def test_partial_failures_are_records(api: Api, out: Path, server: BatchServer):
    submit(api, out)

    def change(prompt: str, line: dict[str, Any]) -> str | None:
        if prompt == prompt_text(0):
            line["error"] = {"code": "batch_expired", "message": "too late"}
            line["response"] = None
            return "error"
        if prompt == prompt_text(1):
            error = {"error": {"code": "content_filter", "message": "filtered"}}
            line["response"] = {"status_code": 400, "body": error}
            return "error"
        if prompt == prompt_text(2):
            line["response"]["body"]["choices"][0]["message"]["content"] = f"no {KEY}"
        return "output"

    server.finish("batch-0", change)
    server.files["batch-0-output"] += b"{damaged\n"
    reports: list[str] = []
    summary = batch_api.collect(api, out, report=reports.append)
    assert summary.rejected == {"timeout": 1, "content filter": 1, "not JSON": 1}
    assert summary.accepted == 1
    assert any("1 lines of output_file_id cannot be read" in line for line in reports)
    for path in out.parent.iterdir():
        assert KEY not in path.read_text("utf-8"), path


def test_what_is_left_is_asked_for_by_generate(run: Run, api: Api, out: Path, server: BatchServer):
    submit(api, out)
    server.finish("batch-0", lambda prompt, _: None if prompt == prompt_text(2) else "output")
    assert batch_api.collect(api, out).left == 1
    assert run(4, resume=True).accepted == 4
    assert server.asked == [prompt_text(2)]


def test_parts_are_submitted_once_after_an_interrupt(
    api: Api, out: Path, server: BatchServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batch_jobs, "MAX_REQUESTS", 2)
    real, calls = batch_api.create_job, []

    def killed(*arguments):
        calls.append(arguments)
        found = real(*arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt  # the job was made, and nobody wrote it down
        return found

    monkeypatch.setattr(batch_api, "create_job", killed)
    with pytest.raises(KeyboardInterrupt):
        submit(api, out)
    assert load_state(out).parts[1].batch_id is None
    monkeypatch.setattr(batch_api, "create_job", real)
    submit(api, out)
    assert len(server.jobs) == 2
    assert len(server.files) == 2
    for job_id in server.jobs:
        server.finish(job_id)
    assert batch_api.collect(api, out).accepted == 4


def test_a_job_whose_answer_was_lost_is_not_made_twice(api: Api, out: Path, server: BatchServer):
    lost = iter([500])
    server.fail_after = lambda call: next(lost, None) if call == "POST /v1/batches" else None
    submit(api, out)
    assert server.calls.count("POST /v1/batches") == 1
    assert len(server.jobs) == 1


def test_submitting_again_or_otherwise_is_refused(api: Api, out: Path, server: BatchServer):
    submit(api, out)
    with pytest.raises(InputError, match="submitted before"):
        submit(api, out)
    with pytest.raises(InputError, match="submission with n 5"):
        submit(api, out, EditSettings(template=SETTINGS.template, n=3))
    write_prompts(out.with_name("prompts.jsonl"), 3)
    with pytest.raises(InputError, match="has changed"):
        submit(api, out)
    assert len(server.jobs) == 1


def test_a_job_that_fails_as_a_whole_is_told(api: Api, out: Path, server: BatchServer):
    submit(api, out)
    errors = {"data": [{"code": "token_limit_exceeded", "message": "over the limit"}]}
    server.jobs["batch-0"] |= {"status": "failed", "errors": errors}
    reports: list[str] = []
    assert batch_api.collect(api, out, report=reports.append).left == 4
    assert reports == ["batch-0: failed: token_limit_exceeded: over the limit"]


def test_a_state_that_is_absent_or_damaged(out: Path):
    with pytest.raises(DataError, match="batch submit"):
        load_state(out)
    state_path(out).write_text('{"run_id": 1}')
    with pytest.raises(DataError, match="fetch a whole copy"):
        load_state(out)
