from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from safe_embed.encoders import catalogue
from safe_embed.encoders.catalogue import DEFAULT_ENCODER, WEIGHTS_FILE, EncoderRow
from safe_embed.errors import UnknownNameError

LISTED = [row for row in catalogue.rows() if row.files and row.backend == "onnx"]
NEEDED_FILES = {
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    WEIGHTS_FILE,
}


def changed(**changes: object) -> dict[str, object]:
    return {**catalogue.row("minilm").model_dump(), **changes}


@pytest.mark.parametrize("row", LISTED, ids=lambda row: row.name)
def test_rows_that_list_files_take_all_that_an_encoder_is_made_of(row: EncoderRow) -> None:
    assert set(row.files) == NEEDED_FILES


@pytest.mark.parametrize("row", catalogue.rows(), ids=lambda row: row.name)
def test_every_row_is_complete(row: EncoderRow) -> None:
    assert row.description.endswith(".")
    assert len(row.description) < 90
    for digests in (row.files, row.pinned):
        if WEIGHTS_FILE in digests:
            assert list(digests)[-1] == WEIGHTS_FILE, "small files first: an error comes early"
    if row.backend == "openai":
        assert (row.repositories, row.size_mb) == ((), 0)
    else:
        assert row.parameters_million is not None
        # 2 to 4 bytes a parameter; the graph of a T5 is stored without its decoder.
        assert 0.9 <= row.size_mb / row.parameters_million <= 4.5


def test_names_repositories_and_digests_are_distinct() -> None:
    rows = catalogue.rows()
    own = [row for row in rows if row.base is None]  # the others share their base's
    repositories = [each for row in own for each in row.repositories]
    digests = [
        digest
        for row in own
        for digest in (row.digest(WEIGHTS_FILE), row.pickle_sha256)
        if digest is not None
    ]
    for things in ([row.name for row in rows], repositories, digests):
        assert len(set(map(str, things))) == len(things)


def test_what_the_paper_publishes_is_there() -> None:
    assert catalogue.row("sbert-all").published_average_similarity == 0.092
    assert catalogue.row("minilm").published_average_similarity is None
    assert DEFAULT_ENCODER in catalogue.names()
    assert sum(row.published_average_similarity is not None for row in catalogue.rows()) == 11


@pytest.mark.paper
def test_the_published_averages_are_the_paper_s(paper_figures: Path) -> None:
    published = json.loads((paper_figures / "published.json").read_text("utf-8"))
    ours = {row.name: row.published_average_similarity for row in catalogue.rows()}
    assert {name: ours[name] for name in published["encoders"]} == published["average_similarity"]


def test_prompts_end_where_the_text_begins() -> None:
    prompts = {row.name: row.prompt for row in catalogue.rows() if row.prompt}
    assert prompts["e5-base"] == prompts["multilingual-e5-base"] == "query: "
    assert all(prompt.endswith((": ", ":")) for prompt in prompts.values())
    assert all(not catalogue.row(name).prompt for name in ("bge-base", "gte-base", "arctic-m"))


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown encoder 'poton': did you mean potion\?"):
        catalogue.row("poton")
    assert catalogue.find("poton") is None
    assert catalogue.find("minilm") == catalogue.row("minilm")


def test_weights_tell_the_row() -> None:
    for row in catalogue.rows():
        if digest := row.digest(WEIGHTS_FILE):
            assert catalogue.row_for_weights(digest) is catalogue.row(row.base or row.name)
    assert catalogue.row_for_weights("0" * 64) is None


def test_rows_survive_json() -> None:
    for row in catalogue.rows():
        assert EncoderRow.model_validate_json(row.model_dump_json()) == row


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"},
        {"revision": "main"},
        {"revision": None},
        {"backend": "openai"},
        {"pooling": None},
        {"pooling": "last"},
        {"files": {}},  # its wheel would not be checked
        {"pinned": {WEIGHTS_FILE: "0" * 64}},
        {"adapters": [{"model_id": "a/b", "revision": "0" * 40}]},
        {"files": {}, "wheel": None, "adapters": [{"model_id": "a/b", "revision": "0" * 40}]},
        {"pickle_sha256": "0" * 64},
        {"base": "sbert-all"},
        {"adapter_files": {"adapter_config.json": "0" * 64}},
        {"base": "sbert-all", "adapter_files": {"../config.json": "0" * 64}},
        {"own_code_before": "five"},
        {"revision": "C" * 40},
        {"backend": "tensorflow"},
        {"pooling": "max"},
        {"dimension": 0},
        {"name": "../minilm"},
        {"name": "Mini LM"},
        {"published_average_similarity": 1.0},
        {"files": {"config.json": "0" * 64}},
        {"files": {WEIGHTS_FILE: "0" * 63}},
        {"files": {WEIGHTS_FILE: "0" * 64, "../config.json": "0" * 64}},
        {"files": {WEIGHTS_FILE: "0" * 64, "/etc/config.json": "0" * 64}},
        {"files": {WEIGHTS_FILE: "0" * 64, "a\\config.json": "0" * 64}},
        {"files": {WEIGHTS_FILE: "0" * 64, "": "0" * 64}},
        {"wheel": {"package": "--index-url=x", "version": "1", "path": "a"}},
        {"wheel": {"package": "a", "version": "1", "path": "a", "hash": "b"}},
    ],
    ids=str,
)
def test_wrong_rows_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EncoderRow.model_validate(changed(**wrong))


def test_rows_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        catalogue.row("minilm").dimension = 3  # type: ignore[misc]
