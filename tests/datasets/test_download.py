from __future__ import annotations

import hashlib
import resource
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import pytest

from safe_embed.datasets.download import ATTEMPTS, download
from safe_embed.errors import DownloadError, StorageError

BODY = bytes(range(256)) * 1200
DIGEST = hashlib.sha256(BODY).hexdigest()
Serve: TypeAlias = Callable[..., Any]  # the fixture of conftest.py


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "file.bin"


def part_of(target: Path) -> Path:
    return target.with_name("file.bin.part")


def leave_part(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(content)


def assert_whole(target: Path) -> None:
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_fetches_into_a_new_directory_and_reports_progress(serve: Serve, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    site = serve(BODY)

    assert download(site.url, target, DIGEST, progress=lambda *now: seen.append(now)) == target

    assert_whole(target)
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_file_that_is_there_is_not_fetched_again(serve: Serve, target: Path) -> None:
    site = serve(BODY)
    download(site.url, target, DIGEST)
    download(site.url, target, DIGEST)
    assert len(site.requests) == 1


def test_another_file_of_that_name_is_replaced(serve: Serve, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"old")
    download(serve(BODY).url, target, DIGEST)
    assert_whole(target)


def test_follows_a_redirect(serve: Serve, target: Path) -> None:
    site = serve(BODY)
    download(site.url.replace("/file", "/moved"), target, DIGEST)
    assert_whole(target)


def test_uses_the_client_it_is_given_and_leaves_it_open(serve: Serve, target: Path) -> None:
    with httpx2.Client(headers={"X-Mine": "yes"}) as client:
        site = serve(BODY)
        download(site.url, target, DIGEST, client=client)
        assert site.requests[0]["X-Mine"] == "yes"
        assert not client.is_closed


def test_a_connection_that_breaks_is_resumed_where_it_broke(serve: Serve, target: Path) -> None:
    waits: list[float] = []
    site = serve(BODY, faults=["cut 100000", "cut 50000"])

    download(site.url, target, DIGEST, sleep=waits.append)

    assert_whole(target)
    assert "Range" not in site.requests[0]
    offsets = [int(request["Range"].removeprefix("bytes=")[:-1]) for request in site.requests[1:]]
    assert offsets == [100_000, 150_000]
    assert {request["If-Range"] for request in site.requests[1:]} == {'"v1"'}
    assert waits == [1.0, 2.0]


def test_a_part_of_an_earlier_process_is_resumed(serve: Serve, target: Path) -> None:
    leave_part(target, BODY[:123_456])
    seen: list[tuple[int, int | None]] = []
    site = serve(BODY)

    download(site.url, target, DIGEST, progress=lambda *now: seen.append(now))

    assert_whole(target)
    assert site.requests[0]["Range"] == "bytes=123456-"
    assert seen[0] == (123_456, len(BODY))


def test_a_part_that_is_whole_needs_no_request(serve: Serve, target: Path) -> None:
    leave_part(target, BODY)
    site = serve(BODY)
    download(site.url, target, DIGEST)
    assert_whole(target)
    assert not site.requests


@pytest.mark.parametrize(
    "part", [b"z" * 1000, b"z" * len(BODY), b"z" * (len(BODY) + 5), BODY + b"more"]
)
def test_a_part_of_another_file_is_thrown_away(serve: Serve, target: Path, part: bytes) -> None:
    leave_part(target, part)
    download(serve(BODY).url, target, DIGEST, sleep=lambda _: None)
    assert_whole(target)


@pytest.mark.parametrize("options", [{"knows_ranges": False}, {"etag": None}, {"etag": 'W/"v1"'}])
def test_servers_without_ranges_or_strong_etags(
    serve: Serve, target: Path, options: dict[str, object]
) -> None:
    site = serve(BODY, faults=["cut 70000"], **options)
    download(site.url, target, DIGEST, sleep=lambda _: None)
    assert_whole(target)
    assert site.requests[1]["Range"] == "bytes=70000-"
    assert ("If-Range" in site.requests[1]) == (options == {"knows_ranges": False})


def test_a_file_that_changes_between_attempts_is_fetched_anew(serve: Serve, target: Path) -> None:
    site = serve(b"o" * len(BODY), faults=["cut 70000"])

    def change(_: float) -> None:
        site.body, site.etag = BODY, '"v2"'

    download(site.url, target, DIGEST, sleep=change)
    assert_whole(target)


def test_a_range_that_was_not_asked_for_is_not_used(serve: Serve, target: Path) -> None:
    leave_part(target, BODY[:1000])
    download(serve(BODY, faults=["shifted"]).url, target, DIGEST, sleep=lambda _: None)
    assert_whole(target)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_passing_faults_are_tried_again(serve: Serve, target: Path, status: int) -> None:
    site = serve(BODY, faults=[str(status)] * (ATTEMPTS - 1))
    download(site.url, target, DIGEST, sleep=lambda _: None)
    assert_whole(target)


def test_gives_up_after_some_attempts_and_says_what_to_do(serve: Serve, target: Path) -> None:
    site = serve(BODY, faults=["503"] * 10)
    with pytest.raises(DownloadError, match=r"503 Service Unavailable; check the network"):
        download(site.url, target, DIGEST, sleep=lambda _: None)
    assert len(site.requests) == ATTEMPTS
    assert not target.exists()


def test_waits_as_long_as_the_server_asks(serve: Serve, target: Path) -> None:
    waits: list[float] = []
    date = formatdate(time.time() + 20, usegmt=True)
    site = serve(BODY, faults=["429 7", f"503 {date}", "503 99999"])
    download(site.url, target, DIGEST, sleep=waits.append)
    assert waits[0] == 7
    assert 15 < waits[1] <= 20
    assert waits[2] == 60


def test_nonsense_in_retry_after_is_passed_over(serve: Serve, target: Path) -> None:
    waits: list[float] = []
    download(serve(BODY, faults=["429 soon"]).url, target, DIGEST, sleep=waits.append)
    assert waits == [1.0]


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_lasting_refusals_are_not_tried_again(serve: Serve, target: Path, status: int) -> None:
    site = serve(BODY, faults=[str(status)])
    with pytest.raises(DownloadError, match=f"the server answered {status}.*file.bin"):
        download(site.url, target, DIGEST)
    assert len(site.requests) == 1


def test_a_wrong_digest_leaves_nothing_behind(serve: Serve, target: Path) -> None:
    site = serve(b"something else")
    with pytest.raises(DownloadError, match=f"SHA-256 .* must be {DIGEST}"):
        download(site.url, target, DIGEST)
    assert not target.exists()
    assert not part_of(target).exists()
    assert len(site.requests) == 1


@pytest.mark.timeout(60)
def test_a_server_that_never_ends_is_cut_off(serve: Serve, target: Path) -> None:
    with pytest.raises(DownloadError, match=r"sends over 307,200 bytes"):
        download(serve(BODY, faults=["endless"]).url, target, DIGEST, size=len(BODY))
    assert not part_of(target).exists()


def test_nobody_listens(target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
    waits: list[float] = []
    with pytest.raises(DownloadError, match="ConnectError"):
        download(url, target, DIGEST, sleep=waits.append)
    assert waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "no-url", "http://127.0.0.1:x/"])
def test_an_address_that_is_none(url: str, target: Path) -> None:
    with pytest.raises(DownloadError, match="cannot fetch"):
        download(url, target, DIGEST, sleep=lambda _: pytest.fail("tried again"))


def test_a_full_disk_is_told_and_what_arrived_is_kept(serve: Serve, target: Path) -> None:
    site = serve(BODY)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match=r"file\.bin: File too large; make room"):
            download(site.url, target, DIGEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    download(site.url, target, DIGEST)
    assert_whole(target)


@pytest.mark.parametrize("kind", ["file for a directory", "directory for a file"])
def test_a_destination_that_cannot_be(serve: Serve, tmp_path: Path, kind: str) -> None:
    if kind == "file for a directory":
        (tmp_path / "a").write_text("")
    else:
        (tmp_path / "a" / "file.bin").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot write"):
        download(serve(BODY).url, tmp_path / "a" / "file.bin", DIGEST)
