"""The `tokenizer.json` of a BERT that has only a `vocab.txt`, as older repositories do."""

from __future__ import annotations

import json
from pathlib import Path

from safe_embed.errors import EncoderError

__all__ = ["write_tokenizer"]

_MARKS = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}


def write_tokenizer(directory: Path) -> None:
    """Writes `tokenizer.json` into a BERT's directory; does nothing for another architecture.

    The ids are those of transformers' `BertTokenizer` with the settings of `tokenizer_config.json`.

    Args:
        directory: holds `config.json` and `vocab.txt`, and `tokenizer_config.json` if it has one.

    Raises:
        EncoderError: the vocabulary lacks a special token.
    """
    if _read(directory / "config.json").get("model_type") != "bert":
        return
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    settings = _read(directory / "tokenizer_config.json")
    marks = {key: _text(settings.get(key), default) for key, default in _MARKS.items()}
    words = (directory / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = {word.rstrip("\r"): index for index, word in enumerate(words) if word}
    if missing := [mark for mark in marks.values() if mark not in vocabulary]:
        raise EncoderError(f"{directory / 'vocab.txt'}: lacks {', '.join(missing)}; fetch it again")
    strip = settings.get("strip_accents")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=marks["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=bool(settings.get("do_lower_case", True)),
        strip_accents=strip if isinstance(strip, bool) else None,
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = [mark for mark in (*marks.values(), "[MASK]") if mark in vocabulary]
    tokenizer.add_special_tokens(special)
    start, end = marks["cls_token"], marks["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(mark, vocabulary[mark]) for mark in (start, end)],
    )
    tokenizer.save(str(directory / "tokenizer.json"))


def _read(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(f"{path}: damaged JSON ({error}); fetch the model again") from error
    return value if isinstance(value, dict) else {}


def _text(value: object, default: str) -> str:
    """A special token: text, or an object that holds it."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else default
