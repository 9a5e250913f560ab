from __future__ import annotations

import pytest
from pydantic import ValidationError

from safe_embed.encoders import catalogue
from safe_embed.encoders.catalogue import DEFAULT_ENCODER, WEIGHTS_FILE, EncoderRow
from safe_embed.errors import UnknownNameError

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


@pytest.mark.parametrize("row", catalogue.rows(), ids=lambda row: row.name)
def test_rows_take_all_that_an_encoder_is_made_of(row: EncoderRow) -> None:
    assert set(row.files) == NEEDED_FILES
    assert list(row.files)[-1] == WEIGHTS_FILE, "small files first, so that an error comes early"
    assert row.description.endswith(".")
    assert len(row.description) < 90


def test_names_revisions_and_weights_are_distinct() -> None:
    rows = catalogue.rows()
    assert len({row.name for row in rows}) == len(rows)
    assert len({row.revision for row in rows}) == len(rows)
    assert len({row.files[WEIGHTS_FILE] for row in rows}) == len(rows)


def test_what_the_paper_publishes_is_there() -> None:
    assert catalogue.row("sbert-all").published_average_similarity == 0.092
    assert catalogue.row("minilm").published_average_similarity is None
    assert DEFAULT_ENCODER in catalogue.names()


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown encoder 'minilmm': did you mean minilm\?"):
        catalogue.row("minilmm")
    assert catalogue.find("minilmm") is None
    assert catalogue.find("minilm") == catalogue.row("minilm")


def test_weights_tell_the_row() -> None:
    for row in catalogue.rows():
        assert catalogue.row_for_weights(row.files[WEIGHTS_FILE]) is row
    assert catalogue.row_for_weights("0" * 64) is None


def test_rows_survive_json() -> None:
    for row in catalogue.rows():
        assert EncoderRow.model_validate_json(row.model_dump_json()) == row


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"},
        {"revision": "main"},
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
