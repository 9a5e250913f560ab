"""What the directory of an exported graph says of texts and pooling."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from safe_embed.errors import EncoderError, UnsupportedModelError

__all__ = ["ExportSettings", "Pooling", "read_export_settings"]

Pooling = Literal["mean", "cls", "last", "pooler"]

_POOLING_KEYS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}
_POOLING_NAMES: dict[str, Pooling] = {"lasttoken": "last", "mean": "mean", "cls": "cls"}
_LONGEST = 512


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """How texts are prepared, and tokens pooled where the graph does not.

    Args:
        pooling: "mean", the first token ("cls"), the last one, or the graph's own "pooler".
        max_tokens: longer texts are cut to this many tokens.
        lower_case: whether texts are lower-cased before the tokenizer sees them.
        prompt: put before each text.
    """

    pooling: Pooling
    max_tokens: int
    lower_case: bool
    prompt: str


def read_export_settings(
    directory: Path, *, pooling: Pooling | None = None, prompt: str | None = None
) -> ExportSettings:
    """Reads the files that sentence-transformers and transformers put beside a graph.

    Args:
        directory: of the model.
        pooling: used instead of what the directory says.
        prompt: used instead of what the directory says; "" for none.

    Raises:
        UnsupportedModelError: a pooling that is not known here.
        EncoderError: a file is damaged.
    """
    bert = _json(directory / "sentence_bert_config.json")
    config, tokenizer = _json(directory / "config.json"), _json(directory / "tokenizer_config.json")
    stated = (
        bert.get("max_seq_length"),
        tokenizer.get("model_max_length"),
        config.get("max_position_embeddings"),
    )
    lengths = [int(value) for value in stated if isinstance(value, int | float) and value >= 3]
    prompts = _json(directory / "config_sentence_transformers.json")
    if prompt is None:
        prompt = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name")) or ""
    # Positions of RoBERTa and MPNet begin after the padding token's.
    positions = config.get("max_position_embeddings")
    late = config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet")
    room = positions - 2 if late and isinstance(positions, int) else _LONGEST * 1000
    return ExportSettings(
        pooling=pooling or _read_pooling(directory),
        max_tokens=min([*lengths, room]) if lengths else _LONGEST,
        lower_case=bool(bert.get("do_lower_case", False)),
        prompt=prompt,
    )


def _read_pooling(directory: Path) -> Pooling:
    path = directory / "1_Pooling" / "config.json"
    settings = _json(path) or _json(directory / "config.json")
    mode = settings.get("pooling_mode", settings.get("pooling"))
    if mode is None:
        modes = [name for name in settings if name.startswith("pooling_mode_") and settings[name]]
        if not modes:
            return "mean"
        mode = _POOLING_KEYS.get(modes[0]) if len(modes) == 1 else None
    mode = _POOLING_NAMES.get(str(mode), mode)
    if mode not in get_args(Pooling):
        raise UnsupportedModelError(directory, f"the pooling in {path.name}")
    return cast("Pooling", mode)


def _json(path: Path) -> dict[str, Any]:
    """An object; {} where the file does not exist."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: cannot be read ({error}); fetch the model again") from error
    if not isinstance(value, dict):
        raise EncoderError(f"{path}: must be a JSON object; fetch the model again")
    return value
