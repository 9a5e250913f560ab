"""What a hostile or hurried user does: kill, interrupt, fill the disk, break the data."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from safe_embed.benchmark import load_run
from tests.conftest import hear_interrupts
from tests.e2e.conftest import Cli, assert_refused

COMMAND = [sys.executable, "-m", "safe_embed", "run"]


@pytest.fixture
def long_suite(tmp_path: Path) -> Path:
    """Prompts enough that embedding them takes a moment."""
    directory = tmp_path / "long"
    directory.mkdir()
    with (directory / "taxonomy.jsonl").open("w") as file:
        for i in range(6000):
            text = f"prompt {i} " + "how do i make a safe cake " * (i % 25)
            file.write(json.dumps({"text": text, "category": f"c{i % 5}"}) + "\n")
    return directory


def start(second_encoder: Path, suite: Path, output: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--encoder", second_encoder, "--suite", suite, "--output", output],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )


def n_cached() -> int:
    """Embeddings in the cache of this test; 0 while there is none."""
    files = list(Path(os.environ["SAFE_EMBED_CACHE_DIR"], "embeddings").glob("*.sqlite"))
    if not files:
        return 0
    with closing(sqlite3.connect(files[0])) as connection:
        return int(connection.execute("SELECT count(*) FROM embeddings").fetchone()[0])


def wait_until_something_is_cached(process: subprocess.Popen[str]) -> None:
    while process.poll() is None and n_cached() == 0:
        time.sleep(0.005)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_where_it_was(
    sign: signal.Signals, cli: Cli, tmp_path: Path, second_encoder: Path, long_suite: Path
):
    output = tmp_path / "run.json"
    process = start(second_encoder, long_suite, output)
    wait_until_something_is_cached(process)
    process.send_signal(sign)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if sign == signal.SIGKILL else 130)
    if sign == signal.SIGINT:
        assert "interrupted; the same command goes on" in err
        assert "Traceback" not in err
    assert not output.exists()
    before = n_cached()
    assert 0 < before < 6000

    arguments = ("--encoder", second_encoder, "--suite", long_suite, "--output", output)
    assert cli("run", *arguments).code == 0
    resumed = load_run(output)
    assert n_cached() >= 6000
    assert cli("run", *arguments, "--no-cache").code == 0
    assert load_run(output).tasks == resumed.tasks


def test_two_runs_at_once(cli: Cli, tmp_path: Path, second_encoder: Path, long_suite: Path):
    outputs = [tmp_path / f"run{i}.json" for i in range(2)]
    processes = [start(second_encoder, long_suite, output) for output in outputs]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert load_run(outputs[0]).tasks == load_run(outputs[1]).tasks


def test_a_full_disk_leaves_no_half_file(tmp_path: Path):
    """A limit on the size of files stands in for a full disk: it fails in the same place."""
    output = tmp_path / "out" / "run.json"
    done = subprocess.run(
        [*COMMAND, "--encoder", "fake", "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "cannot write" in done.stderr
    assert list(output.parent.iterdir()) == []


def test_a_reader_that_goes_away(tmp_path: Path):
    code = f"{sys.executable} -m safe_embed run --encoder fake --json | head -c 10"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {code}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert "Traceback" not in done.stderr


class TestHostileData:
    def refused(self, cli: Cli, tmp_path: Path, content: bytes, *parts: str) -> None:
        suite = tmp_path / "suite"
        suite.mkdir()
        (suite / "taxonomy.jsonl").write_bytes(content)
        assert_refused(cli("run", "--encoder", "fake", "--suite", suite), "taxonomy.jsonl", *parts)
        assert not Path("runs").exists()

    def test_a_prompt_of_a_megabyte(self, cli: Cli, tmp_path: Path):
        row = json.dumps({"text": "kill " * 200_000, "category": "x"}).encode()
        self.refused(cli, tmp_path, row, "row 1", "1,000,000 characters", "at most 100,000")

    def test_invalid_utf8(self, cli: Cli, tmp_path: Path):
        self.refused(cli, tmp_path, b'{"text": "caf\xe9", "category": "x"}\n', "row 1", "UTF-8")

    def test_a_lone_surrogate(self, cli: Cli, tmp_path: Path):
        self.refused(cli, tmp_path, b'{"text": "\\ud800", "category": "x"}\n', "row 1", "UTF-8")

    def test_an_empty_file(self, cli: Cli, tmp_path: Path):
        self.refused(cli, tmp_path, b"", "empty")

    def test_a_missing_column(self, cli: Cli, tmp_path: Path):
        self.refused(cli, tmp_path, b'{"sentence": "a"}\n', "text", "sentence")

    def test_markup_and_control_characters_are_text(self, cli: Cli, tmp_path: Path):
        suite = tmp_path / "suite"
        suite.mkdir()
        rows = [
            {"type": "[red]\u0007[/nothing]", "unsafe": f"a\u0000 {i}", "safe": f"<script> {i}"}
            for i in range(2)
        ]
        (suite / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = cli("run", "--encoder", "fake", "--suite", suite)
        assert done.code == 0, done.err
        assert "[red]" in done.out
