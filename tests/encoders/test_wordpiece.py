"""The tokenizer made of a BERT's vocab.txt is transformers' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from safe_embed.encoders.wordpiece import write_tokenizer
from safe_embed.errors import EncoderError
from tests.encoders.tiny_models import BERT_MARKS, PROMPTS, wordpiece_tokenizer

TEXTS = [*PROMPTS, "RÉSUMÉ of [MASK] and [SEP]", "中文字 mixed", "a\u0301 b\tc\nd", "x" * 120]


def write_vocabulary(directory: Path, **settings: Any) -> Path:
    vocabulary = wordpiece_tokenizer(BERT_MARKS).get_vocab()
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    directory.mkdir(exist_ok=True)
    (directory / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (directory / "config.json").write_text('{"model_type": "bert"}')
    if settings:
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return directory


@pytest.mark.torch
@pytest.mark.parametrize("lower_case", [True, False])
def test_ids_are_those_of_transformers(tmp_path: Path, *, lower_case: bool):
    transformers: Any = pytest.importorskip("transformers", reason="needs the extra torch")
    directory = write_vocabulary(tmp_path, do_lower_case=lower_case)
    theirs = transformers.BertTokenizer(str(directory / "vocab.txt"), do_lower_case=lower_case)
    write_tokenizer(directory)
    ours = Tokenizer.from_file(str(directory / "tokenizer.json"))
    for text in TEXTS:
        assert ours.encode(text).ids == theirs(text)["input_ids"], text


def test_text_is_marked_at_both_ends(tmp_path: Path):
    write_tokenizer(write_vocabulary(tmp_path))
    encoding = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("Bake the CAKE zz")
    assert encoding.tokens == ["[CLS]", "bake", "the", "cake", "z", "##z", "[SEP]"]


def test_special_tokens_may_have_other_names_and_be_objects(tmp_path: Path):
    mark = {"content": "[SEP]", "lstrip": False}
    write_tokenizer(write_vocabulary(tmp_path, cls_token="[MASK]", sep_token=mark))
    tokens = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("a").tokens
    assert tokens == ["[MASK]", "a", "[SEP]"]


def test_other_architectures_are_left_alone(tmp_path: Path):
    write_vocabulary(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mpnet"}')
    write_tokenizer(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()


def test_vocabulary_without_a_special_token_is_refused(tmp_path: Path):
    write_vocabulary(tmp_path, cls_token="[FIRST]")
    with pytest.raises(EncoderError, match=r"vocab\.txt: lacks \[FIRST\]"):
        write_tokenizer(tmp_path)
