"""`safe-embed contrast generate` and `batch`, as a user calls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import hear_interrupts
from tests.contrast.chat_server import ChatServer, Fault, serve
from tests.contrast.conftest import KEY, prompt_text, read_lines, write_prompts
from tests.e2e.conftest import Cli, assert_refused


@pytest.fixture
def server():
    with serve() as running:
        yield running


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_prompts(tmp_path / "prompts.jsonl", 6)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def test_generate_then_measure_with_the_fake_model(cli: Cli, prompts: Path):
    done = cli(
        "contrast", "generate", prompts, "--out", "suite/contrast_sets.jsonl", "--model", "fake"
    )
    assert (done.code, "accepted" in done.out) == (0, True)
    done = cli("data", "check", "suite/contrast_sets.jsonl")
    assert done.code == 0
    done = cli("run", "--suite", "suite", "--encoder", "fake", "--output", "run.json")
    assert done.code == 0
    assert "Safety-Contrast" in done.out


def test_generate_over_http_with_a_judge(cli: Cli, prompts: Path, server: ChatServer):
    arguments = ("contrast", "generate", prompts, "--out", "sets.jsonl", "--model", "m", "--json")
    options = ("--base-url", server.url, "--judge-model", "j", "--votes", "1", "--price", "1/2")
    done = cli(*arguments, *options)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["accepted"] == told["prompts"] == 6
    assert told["requests"] == 6 + 6 * 5
    assert told["tokens"] == 36 * 150
    assert told["cost"] == pytest.approx(6 * 200 / 1e6)
    assert KEY not in done.out + done.err
    assert {request.authorization for request in server.requests} == {f"Bearer {KEY}"}


def test_a_limit_exits_with_1_and_resume_goes_on(cli: Cli, prompts: Path, server: ChatServer):
    arguments = ("contrast", "generate", prompts, "--out", "sets.jsonl", "--model", "m")
    options = ("--base-url", server.url)
    done = cli(*arguments, *options, "--max-requests", "2")
    assert done.code == 1
    assert "4 prompts were not asked because of --max-requests" in done.err
    assert "--resume" in done.err
    reasons = [one["reason"] for one in read_lines(Path("sets.rejected.jsonl"))]
    assert reasons == ["budget"] * 4
    assert_refused(cli(*arguments, *options), "--resume")
    assert cli(*arguments, *options, "--resume").code == 0
    assert len(server.requests) == 6
    assert read_lines(Path("sets.rejected.jsonl")) == []


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--model", "m"), ("needs a key",)),
        (("--model", "fake", "--direction", "to-unsafe"), ("safe edits only",)),
        (("--model", "fake", "--retry-failed"), ("--resume",)),
        (("--model", "fake", "--max-cost", "1"), ("--price",)),
        (("--model", "fake", "--judge-model", "fake", "--votes", "2"), ("odd",)),
        (("--model", "fake", "--template", "none.txt"), ("none.txt", "cannot be read")),
        (("--model", "m", "--base-url", "localhost:80"), ("http://",)),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    options: tuple[str, ...], parts: tuple[str, ...], cli: Cli, prompts: Path, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert_refused(cli("contrast", "generate", prompts, "--out", "o.jsonl", *options), *parts)
    assert not Path("o.journal.jsonl").exists()


def test_a_wrong_key_is_one_line_without_it(cli: Cli, prompts: Path, server: ChatServer):
    server.always = Fault(status=401, body=f'{{"error": "{KEY}"}}')
    arguments = ("contrast", "generate", prompts, "--out", "o.jsonl", "--model", "m")
    done = cli(*arguments, "--base-url", server.url)
    assert_refused(done, "401", "OPENAI_API_KEY")
    assert KEY not in done.err


def test_an_unexpected_traceback_does_not_show_the_key(
    cli: Cli, prompts: Path, server: ChatServer, tmp_path: Path
):
    server.always = Fault(status=403, body=f'{{"error": "{KEY}"}}')
    command = [sys.executable, "-m", "safe_embed", "--debug", "contrast", "generate", prompts]
    command += ["--out", tmp_path / "o.jsonl", "--model", "m", "--base-url", server.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr
    assert KEY not in done.stdout + done.stderr


def test_ctrl_c_says_how_to_go_on(prompts: Path, server: ChatServer, tmp_path: Path):
    write_prompts(prompts, 200)
    server.latency_s = 0.1
    command = [sys.executable, "-m", "safe_embed", "contrast", "generate", prompts]
    command += ["--out", tmp_path / "o.jsonl", "--model", "m", "--base-url", server.url]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
        preexec_fn=hear_interrupts,
    )
    while process.poll() is None and len(server.answered) < 10:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping: waiting" in err
    assert "the same command with --resume goes on from" in err
    assert "Traceback" not in err
    assert 10 <= len(server.answered) < 200
    server.latency_s = 0
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(server.answered) == sorted(prompt_text(i) for i in range(200))
    assert len(read_lines(tmp_path / "o.jsonl")) == 200


def test_batch_asks_for_its_state(cli: Cli):
    for verb in ("status", "collect"):
        assert_refused(cli("contrast", "batch", verb, "sets.jsonl"), "sets.batch.json", "submit")
