"""A download that is killed, and two at once."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import filelock
import pytest

from safe_embed.datasets.download import download
from safe_embed.errors import DownloadError

BODY = bytes(range(256)) * 1200
DIGEST = hashlib.sha256(BODY).hexdigest()
Serve: TypeAlias = Callable[..., Any]  # the fixture of conftest.py


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.bin"


def part_of(target: Path) -> Path:
    return target.with_name("file.bin.part")


def assert_whole(target: Path) -> None:
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


PROGRAM = """
import sys
from pathlib import Path
from safe_embed.datasets.download import download
download(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
"""


def start_process(url: str, target: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, str(target), DIGEST], env=dict(os.environ)
    )


@pytest.mark.timeout(120)
def test_goes_on_after_kill_9(serve: Serve, target: Path) -> None:
    site = serve(BODY, faults=["slow"])
    process = start_process(site.url, target)
    while not (part_of(target).exists() and part_of(target).stat().st_size > 30_000):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()

    download(site.url, target, DIGEST)

    assert_whole(target)
    assert int(site.requests[1]["Range"].removeprefix("bytes=")[:-1]) > 0


@pytest.mark.timeout(120)
def test_two_processes_fetch_once(serve: Serve, target: Path) -> None:
    site = serve(BODY, faults=["slow", "slow"])
    processes = [start_process(site.url, target) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert_whole(target)
    assert len(site.requests) == 1


def test_two_threads_fetch_once(serve: Serve, target: Path) -> None:
    site = serve(BODY, faults=["slow", "slow"])
    threads = [threading.Thread(target=download, args=(site.url, target, DIGEST)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_whole(target)
    assert len(site.requests) == 1


def test_does_not_wait_for_ever_for_another(
    serve: Serve, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safe_embed.datasets.download.LOCK_TIMEOUT_S", 0.05)
    target.parent.mkdir()
    with (
        filelock.FileLock(target.with_name(".file.bin.lock")),
        pytest.raises(DownloadError, match="fetched by another process"),
    ):
        download(serve(BODY).url, target, DIGEST)
