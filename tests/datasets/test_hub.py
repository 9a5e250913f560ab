"""Splits of the hub: names, layouts of files, the download, and a hub that misbehaves."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from safe_embed.datasets import write_parquet
from safe_embed.datasets.hub import fetch_split
from safe_embed.datasets.hub_splits import HubFile, HubListing, HubName, choose_split
from safe_embed.datasets.named_texts import iterate_named_texts
from safe_embed.datasets.sources import SourceReader, labelled_prompts, records_of
from safe_embed.errors import DownloadError, InputError
from tests.encoders.hub_server import point_to

CONVERTED = "refs/convert/parquet"
COMMIT = "c" * 40
OTHER = "d" * 40


@dataclass
class Hub:
    """Repository `org/set` by revision, and what goes wrong."""

    revisions: dict[str, tuple[str, dict[str, bytes]]] = field(default_factory=dict)
    list_status: tuple[int, str] | None = None
    list_body: bytes | None = None
    file_status: list[int] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)
    stated: str | None = ""
    """Digest in the list in place of the true one; None for none at all."""
    listings: list[str] = field(default_factory=list)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """Path, authorization and range of each request for a file."""
    port: int = 0

    def at(self, commit: str) -> dict[str, bytes]:
        return next((files for sha, files in self.revisions.values() if sha == commit), {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/api/datasets/"):
            self._list(unquote(path.removeprefix("/api/datasets/org/set/revision/")))
        else:
            self._file(path)

    def _list(self, revision: str) -> None:
        hub = self.hub
        hub.listings.append(revision)
        known = dict(hub.revisions) | {one[0]: one for one in hub.revisions.values()}
        if hub.list_status:
            self._answer(hub.list_status[0], b"", {"X-Error-Code": hub.list_status[1]})
        elif revision not in known:
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        else:
            sha, files = known[revision]
            siblings = [{"rfilename": name} | self._stated(body) for name, body in files.items()]
            listing = {"id": "org/set", "sha": sha, "siblings": siblings}
            body = hub.list_body or json.dumps(listing).encode()
            self._answer(200, body, {"Content-Type": "application/json"})

    def _stated(self, body: bytes) -> dict[str, object]:
        if self.hub.stated is None:
            return {"size": len(body)}
        sha256 = self.hub.stated or hashlib.sha256(body).hexdigest()
        lfs = {"size": len(body), "sha256": sha256, "pointerSize": 130}
        return {"size": len(body), "blobId": "0" * 40, "lfs": lfs}

    def _file(self, path: str) -> None:
        hub = self.hub
        hub.asked.append((path, self.headers["Authorization"], self.headers["Range"]))
        if hub.file_status:
            self._answer(hub.file_status.pop(0), b"", {"X-Error-Code": "GatedRepo"})
            return
        if not path.startswith("/storage/"):  # as the hub does with large files
            location = f"http://localhost:{hub.port}/storage{path}"
            self._answer(302, b"", {"Location": location})
            return
        commit, _, name = path.removeprefix("/storage/datasets/org/set/resolve/").partition("/")
        body = hub.at(commit)[unquote(name)]
        start = int((self.headers["Range"] or "bytes=0-")[6:-1])
        total = len(body)
        headers = {"ETag": '"x"'}
        if start:
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        cut = hub.cut_after.pop(0) if hub.cut_after else None
        self._answer(206 if start else 200, body[start:], headers, cut)

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        self.close_connection = cut is not None

    def log_message(self, *_args: object) -> None:
        pass


@contextmanager
def running(hub: Hub) -> Iterator[str]:
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{hub.port}"
    finally:
        server.shutdown()
        server.server_close()


def parquet(directory: Path, **columns: list[object]) -> bytes:
    path = directory / "made.parquet"
    write_parquet(path, columns)
    return path.read_bytes()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("SAFE_EMBED_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("safe_embed.datasets.download._wait_s", lambda _state: 0)
    files = {
        "default/train/0000.parquet": parquet(tmp_path, prompt=["a", "b"], is_safe=[True, False]),
        "default/train/0001.parquet": parquet(tmp_path, prompt=["c"], is_safe=[True]),
        "default/test/0000.parquet": parquet(tmp_path, prompt=["d"] * 500, is_safe=[True] * 500),
        "default/test/index.duckdb": b"not asked for",
    }
    made = Hub({CONVERTED: (COMMIT, files)})
    with running(made) as url:
        point_to(url, monkeypatch)
        yield made


def fetch(name: str) -> tuple[str, list[Path], list[str]]:
    told: list[str] = []
    split = fetch_split(HubName.parse(name), report=told.append)
    return split.name, list(split.paths), told


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hub:a/b", HubName("a/b")),
        ("hub:a/b:train", HubName("a/b", split="train")),
        ("hub:a/b:x/train", HubName("a/b", config="x", split="train")),
        ("hub:a/b@refs/pr/1:x/y/train", HubName("a/b", "refs/pr/1", "x/y", "train")),
        ("hub:a.b/c-d@v1", HubName("a.b/c-d", "v1")),
    ],
)
def test_names(text: str, name: HubName):
    assert HubName.parse(text) == name


@pytest.mark.parametrize("text", ["hub:", "hub:a", "hub:a/b/c", "hub:a/b:", "hub:a/b:c:d", "a/b"])
def test_what_is_no_name(text: str):
    with pytest.raises(InputError, match=r"hub:ORG/NAME\[@REVISION\]"):
        HubName.parse(text)


def test_layouts_of_files():
    paths = {
        "default/train/0000.parquet": "default/train",
        "x y/partial-train/0000.parquet": "x y/partial-train",
        "data/train-00000-of-00002.parquet": "default/train",
        "train-00001-of-00002-0a1b.parquet": "default/train",
        "sub/set/test.parquet": "sub/set/test",
        "30k_train.parquet": "default/30k_train",
    }
    for path, wanted in paths.items():
        file = HubFile(path=path, sha256=None, size=None)
        listing = HubListing(commit=COMMIT, files=(file,))
        config, split, files = choose_split(HubName("a/b"), listing)
        assert f"{config}/{split}" == wanted
        assert files == [file]


def test_a_split_in_its_files_and_the_name_that_finds_it_again(hub: Hub):
    name, paths, told = fetch("hub:org/set:train")
    assert name == f"hub:org/set@{COMMIT}:default/train"
    assert told == [f"hub:org/set is taken as {name}"]
    assert [path.name for path in paths] == ["0000.parquet", "0001.parquet"]
    n = len(hub.asked)
    assert fetch("hub:org/set:train")[1] == paths
    assert len(hub.asked) == n  # the files are there
    n = len(hub.listings)
    assert fetch(name) == (name, paths, [])
    assert len(hub.listings) == n  # and so is the list of a commit


def test_the_token_stays_with_the_hub(hub: Hub):
    fetch("hub:org/set:train")
    for path, authorization, _ in hub.asked:
        assert authorization == (None if path.startswith("/storage/") else "Bearer hf_secret")


def test_labelled_prompts_and_records(hub: Hub):
    sources = SourceReader().read(["hub:org/set:train"])
    found = labelled_prompts(sources)
    assert [(one.text, one.label, one.id) for one in found] == [
        ("a", "safe", None),
        ("b", "unsafe", None),
        ("c", "safe", None),
    ]
    assert found[2].source == f"hub:org/set@{COMMIT}:default/train, file 2"
    assert len({one.id for one in records_of(sources)}) == 3
    assert [row.text for row in iterate_named_texts("hub:org/set:train")] == ["a", "b", "c"]


def test_a_split_must_be_named_where_there_are_several(hub: Hub):
    with pytest.raises(InputError, match=r"several splits: .*hub:org/set:default/test \(it has"):
        fetch("hub:org/set")
    with pytest.raises(InputError, match=r"no split 'dev': .*default/test, default/train"):
        fetch("hub:org/set:dev")
    assert not hub.asked


def test_what_nothing_converts_is_looked_for_in_the_repository(hub: Hub, tmp_path: Path):
    body = parquet(tmp_path, text=["e"], label=["safe"])
    hub.revisions = {"main": (OTHER, {"data/test-00000-of-00001.parquet": body, "a.csv": b"x"})}
    name, _, _ = fetch("hub:org/set")
    assert name == f"hub:org/set@{OTHER}:default/test"
    assert hub.listings == [CONVERTED, "main"]


def test_no_parquet_at_all(hub: Hub):
    hub.revisions = {"main": (OTHER, {"a.csv": b"x", "../up.parquet": b"x", ".a/b.parquet": b"x"})}
    with pytest.raises(InputError, match="has no Parquet files on the hub; download a file"):
        fetch("hub:org/set:train")


def test_a_revision(hub: Hub):
    with pytest.raises(DownloadError, match="org/set has no revision 'v9'"):
        fetch("hub:org/set@v9:train")
    assert hub.listings == ["v9"]
    hub.revisions["v1"] = (OTHER, {"test.parquet": hub.at(COMMIT)["default/test/0000.parquet"]})
    assert fetch("hub:org/set@v1")[0] == f"hub:org/set@{OTHER}:default/test"


@pytest.mark.parametrize(
    ("status", "code", "parts"),
    [
        (404, "RepoNotFound", "answered 404 for the data set org/set: check its name"),
        (401, "GatedRepo", "answered 401.*HF_TOKEN"),
        (403, "GatedRepo", "answered 403.*HF_TOKEN"),
        (500, "", "answered 500"),
    ],
)
def test_a_hub_that_refuses(hub: Hub, status: int, code: str, parts: str):
    hub.list_status = (status, code)
    with pytest.raises(DownloadError, match=parts):
        fetch("hub:org/set:train")


def test_files_for_those_only_who_accept_a_licence(hub: Hub, tmp_path: Path):
    hub.file_status = [403]
    with pytest.raises(DownloadError, match=r"answered 403.*accept a licence.*org/set.*HF_TOKEN"):
        fetch("hub:org/set:train")
    assert not list((tmp_path / "data").rglob("0*.parquet"))


def test_a_line_that_is_cut_goes_on(hub: Hub):
    hub.cut_after = [100, 50]
    _, (path,), _ = fetch("hub:org/set:test")
    assert path.read_bytes() == hub.at(COMMIT)["default/test/0000.parquet"]
    ranges = [range_ for name, _, range_ in hub.asked if name.startswith("/storage/")]
    assert ranges == [None, "bytes=100-", "bytes=150-"]


def test_a_line_that_is_always_cut(hub: Hub, tmp_path: Path):
    hub.cut_after = [1] * 20
    with pytest.raises(DownloadError, match=r"cannot fetch .*0000.parquet.*try again"):
        fetch("hub:org/set:test")
    assert not list((tmp_path / "data").rglob("0*.parquet"))


def test_a_file_that_is_not_what_the_list_says(hub: Hub, tmp_path: Path):
    hub.stated = "0" * 64
    with pytest.raises(DownloadError, match="must be 0000"):
        fetch("hub:org/set:test")
    assert not list((tmp_path / "data").rglob("0*.parquet"))
    hub.stated = None
    with pytest.raises(DownloadError, match="states no SHA-256 for default/test/0000"):
        fetch("hub:org/set:test")


@pytest.mark.parametrize("body", [b"<html>", b'{"id": "org/set", "sha": null, "siblings": []}'])
def test_an_answer_that_is_no_list(hub: Hub, body: bytes):
    hub.list_body = body
    with pytest.raises(DownloadError, match="the hub"):
        fetch("hub:org/set:train")


def test_a_hub_that_is_away(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    point_to("http://user:word@127.0.0.1:9", monkeypatch)
    with pytest.raises(DownloadError, match=r"hub at http://127.0.0.1:9 cannot be reached"):
        fetch("hub:org/set:train")


def test_a_hub_that_must_not_be_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import close_session, constants

    name, paths, _ = fetch("hub:org/set:train")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        fetch("hub:org/set:train")
    assert fetch(name)[1] == paths


def test_a_damaged_list_is_asked_for_again(hub: Hub, tmp_path: Path):
    name, paths, _ = fetch("hub:org/set:train")
    (kept,) = (tmp_path / "data").rglob("listing.json")
    kept.write_text("{")
    assert fetch(name)[1] == paths
    assert hub.listings[-1] == COMMIT
