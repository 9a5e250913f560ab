"""The journal: whole lines, found again; what a kill or another process leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed.contrast.journal import Journal
from safe_embed.errors import DataError, InputError, StorageError

SETTINGS = {"model": "m", "n": 5}


def opened(path: Path, **options) -> Journal:
    return Journal(path, options.pop("settings", SETTINGS), **{"resume": True, **options})


def test_gives_back_how_prompts_ended(tmp_path: Path):
    path = tmp_path / "new" / "j.jsonl"
    with opened(path) as journal:
        journal.add("draft", "a", {"edits": ["x"]})
        journal.add("vote", "a", {"edit": 0, "vote": "safe"})
        journal.add("accepted", "b", {"edits": ["é\ud800"]})
        journal.sync()
        assert journal.end_of("b") == {"task": "b", "step": "accepted", "edits": ["é\ud800"]}
    with opened(path) as journal:
        assert (len(journal), journal.ended("b"), journal.ended("a")) == (1, True, False)
        assert [part["step"] for part in journal.parts_of("a")] == ["draft", "vote"]
        journal.add("rejected", "a", {"reason": "timeout"})
        assert journal.end_of("a")["reason"] == "timeout"
    with opened(path, forget=("timeout",)) as journal:
        assert not journal.ended("a")
        assert len(journal.parts_of("a")) == 2
    with opened(path) as journal:
        assert journal.ended("a")
        assert journal.end_of("nobody") is None


@given(cut=st.integers(min_value=0, max_value=400))
def test_a_file_cut_anywhere_keeps_its_whole_lines(tmp_path_factory, cut: int):
    path = tmp_path_factory.mktemp("cut") / "j.jsonl"
    with opened(path) as journal:
        for name in "abcd":
            journal.add("accepted", name, {"edits": [name * 20]})
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    whole = max(0, content[:cut].count(b"\n") - 1)
    with opened(path) as journal:
        assert len(journal) == whole
        journal.add("accepted", "e", {})
        assert journal.ended("e")
    with opened(path) as journal:
        assert len(journal) == whole + 1
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_refuses_a_file_that_is_there_and_other_settings(tmp_path: Path):
    path = tmp_path / "j.jsonl"
    opened(path).close()
    with pytest.raises(InputError, match="add --resume"):
        opened(path, resume=False)
    with pytest.raises(InputError, match="n 5, and now it is 4"):
        opened(path, settings={"model": "m", "n": 4})
    opened(path).close()


def test_refuses_a_damaged_file_and_names_the_row(tmp_path: Path):
    path = tmp_path / "j.jsonl"
    with opened(path) as journal:
        journal.add("accepted", "a", {})
    path.write_bytes(path.read_bytes() + b"\0\0\0\n")
    with pytest.raises(DataError, match="row 3"):
        opened(path)
    path.write_text("[]\n")
    with pytest.raises(DataError, match="row 1"):
        opened(path)


def test_refuses_a_file_that_another_process_writes(tmp_path: Path):
    path = tmp_path / "j.jsonl"
    script = (
        "import sys\nfrom pathlib import Path\nfrom safe_embed.contrast.journal import Journal\n"
        f"kept = Journal(Path({str(path)!r}), {{}}, resume=True)\n"
        "print(1, flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(InputError, match="another process"):
            opened(path)
        process.kill()
    opened(path, settings={}).close()


def test_a_full_disk_is_told_and_nothing_is_written_after_it(tmp_path: Path):
    with opened(tmp_path / "j.jsonl") as journal:
        whole = journal._file

        class Full:
            closed = False

            def __getattr__(self, name):
                return getattr(whole, name)

            def write(self, content):
                return whole.write(content[: len(content) // 2])

        journal._file = Full()  # type: ignore[assignment]
        with pytest.raises(StorageError, match="disk is full"):
            journal.add("accepted", "a", {})
        journal._file = whole
        with pytest.raises(StorageError, match="--resume"):
            journal.add("accepted", "b", {})
    with opened(tmp_path / "j.jsonl") as journal:
        assert len(journal) == 0


def test_a_directory_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        opened(tmp_path / "file" / "j.jsonl")
