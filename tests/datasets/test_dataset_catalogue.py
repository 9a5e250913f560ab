from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from pydantic import ValidationError

from safe_embed.datasets import catalogue
from safe_embed.datasets.catalogue import DataSet, datasheet, fetch, load, locate, row, rows
from safe_embed.errors import DataError, InputError, UnknownNameError

Serve: TypeAlias = Callable[..., Any]  # the fixture of conftest.py
BODY = b'{"text": "a", "label": "safe"}\n'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data directory."""
    directory = tmp_path / "home"
    monkeypatch.setenv("SAFE_EMBED_DATA_DIR", str(directory))
    return directory


def pinned(url: str = "http://127.0.0.1:9/a") -> DataSet:
    return DataSet(
        name="mine",
        title="Mine",
        description="",
        kind="prompts",
        file="a.jsonl",
        license="CC0-1.0",
        source="me",
        url=url,
        commit="0" * 40,
        size_bytes=len(BODY),
        sha256=hashlib.sha256(BODY).hexdigest(),
    )


def test_the_rows() -> None:
    names = [one.name for one in rows()]
    assert names == [
        "xstest-aug",
        "do-not-answer",
        "contrast-sets",
        "contrast-sets-raw",
        "beavertails-30k",
        "safe-embed-core",
        "safe-embed-core-train",
        "catqa",
        "harmfulqa",
        "dangerousqa",
        "adversarialqa",
        "malicious-instructions",
        "i-alpaca",
        "self-instruct-user",
        "self-instruct-seed",
        "mt-bench",
        "vicuna-bench",
    ]
    assert [row(name) for name in names] == list(rows())


@pytest.mark.parametrize("one", rows(), ids=lambda one: one.name)
def test_each_row_is_whole(one: DataSet) -> None:
    assert one.title
    assert one.description == " ".join(one.description.split())
    assert one.license
    if one.fetchable:
        assert one.url is not None
        assert one.commit is not None
        assert one.url == (
            f"https://raw.githubusercontent.com/JwdanielJung/Safe-Embed/{one.commit}/"
            + one.url.split(f"/{one.commit}/")[1]
        )
        assert one.url.endswith(f"/{one.file}")
    else:
        assert one.sha256 is None


def test_an_unknown_name() -> None:
    with pytest.raises(
        UnknownNameError, match="unknown data set 'xstest': did you mean xstest-aug"
    ):
        row("xstest")


@pytest.mark.parametrize(
    "change",
    [{"sha256": None}, {"commit": None}, {"size_bytes": None}, {"bundled": True}, {"sha256": "0"}],
)
def test_a_row_with_a_url_is_pinned(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DataSet.model_validate(pinned().model_dump() | change)


def test_the_given_directory_comes_before_the_users(tmp_path: Path, home: Path) -> None:
    assert locate(pinned()) is None
    home.mkdir()
    (home / "a.jsonl").write_bytes(BODY)
    other = tmp_path / "other"
    other.mkdir()
    assert locate(pinned()) == home / "a.jsonl"
    assert locate(pinned(), other) == home / "a.jsonl"
    (other / "a.jsonl").write_bytes(BODY)
    assert locate(pinned(), other) == other / "a.jsonl"


def test_loads_the_pinned_file_and_no_other(home: Path) -> None:
    home.mkdir()
    (home / "a.jsonl").write_bytes(BODY)
    assert load(pinned()).prompts[0].text == "a"
    (home / "a.jsonl").write_bytes(BODY + b" ")
    with pytest.raises(
        DataError, match=r"is not the pinned file of data set 'mine'.*data fetch mine"
    ):
        load(pinned())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "xstest-aug",
            "'xstest-aug' is not there; fetch it with `safe-embed data fetch xstest-aug`",
        ),
        ("beavertails-30k", "Get it from the hub, data set PKU-Alignment/BeaverTails"),
    ],
)
def test_what_is_absent_says_how_to_get_it(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(name)


def test_raw_text_has_no_records() -> None:
    with pytest.raises(InputError, match="no records"):
        load("contrast-sets-raw")


def test_a_file_of_beavertails_is_read_as_it_is_published(home: Path) -> None:
    home.mkdir()
    line = '{"prompt":"a","response":"b","category":{"animal_abuse":false},"is_safe":true}\n'
    (home / "beavertails_30k_train.jsonl").write_text(line * 2, "utf-8")
    file = load("beavertails-30k")
    assert [(prompt.id, prompt.label) for prompt in file.prompts] == [
        ("row 1", "safe"),
        ("row 2", "safe"),
    ]


def test_the_label_of_a_data_set_and_its_categories_by_our_names(home: Path) -> None:
    (home / "red-instruct").mkdir(parents=True)
    content = (
        '{"Illegal Activity": {"Theft": ["a"]}, "Physical Harm": {"Unsafe practices": ["b"], '
        '"Other": ["c"]}, "Gossip": ["d"]}'
    )
    (home / "red-instruct" / "catqa_english.json").write_text(content)
    prompts = load("catqa").prompts
    assert {one.label for one in prompts} == {"unsafe"}
    assert [one.category for one in prompts] == [
        "Assisting illegal activities",
        "Nudging or advising users to perform unethical or unsafe actions",
        None,
        None,
    ]


def test_a_topic_is_no_category_of_harm(home: Path) -> None:
    (home / "mt-bench").mkdir(parents=True)
    line = '{"question_id": 1, "category": "writing", "turns": ["a", "b"]}\n'
    (home / "mt-bench" / "question.jsonl").write_text(line)
    (prompt,) = load("mt-bench").prompts
    assert (prompt.text, prompt.label, prompt.category) == ("a", "safe", None)


def test_a_category_that_is_none_of_ours_is_no_row() -> None:
    fields = pinned().model_dump() | {"categories": {"a": "Gossip"}}
    with pytest.raises(ValidationError, match="'Gossip' is no category of harm"):
        DataSet.model_validate(fields)


def test_the_papers_sets_are_test_sets_and_the_permissive_ones_are_not() -> None:
    tests = {one.name for one in rows() if one.test_set}
    assert tests == {"xstest-aug", "do-not-answer", "contrast-sets"}


def test_fetches_once(serve: Serve, home: Path) -> None:
    site = serve(BODY)
    for _ in range(2):
        assert fetch(pinned(site.url)) == home / "a.jsonl"
    assert len(site.requests) == 1
    assert load(pinned(site.url)).records


def test_fetches_by_name_into_a_directory(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "rows", lambda: (pinned(serve(BODY).url),))
    seen: list[int] = []
    path = fetch("mine", tmp_path / "x", progress=lambda done, _total: seen.append(done))
    assert path == tmp_path / "x" / "a.jsonl"
    assert seen[-1] == len(BODY)


@pytest.mark.parametrize("name", ["beavertails-30k", "safe-embed-core"])
def test_what_is_not_fetched_says_so(name: str) -> None:
    with pytest.raises(InputError, match="is not fetched"):
        fetch(name)


@pytest.mark.parametrize("name", [one.name for one in rows() if one.bundled])
def test_bundled_files_load_and_have_a_datasheet(name: str) -> None:
    assert len(load(name).records) >= 1000
    assert datasheet(row(name)).startswith("# Datasheet")


def test_other_data_sets_have_none() -> None:
    with pytest.raises(InputError, match="has no datasheet"):
        datasheet(row("xstest-aug"))
