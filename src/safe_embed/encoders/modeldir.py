"""What a sentence encoder's directory says about itself, before any tensor is read.

The layout is the one that sentence-transformers saves:

    config.json                  architecture and sizes of the transformer
    model.safetensors            its weights
    tokenizer.json               the whole tokenizer
    modules.json                 which modules follow; absent: a plain transformer, mean pooling
    sentence_bert_config.json    max_seq_length, do_lower_case
    1_Pooling/config.json        how token vectors become one vector
    config_sentence_transformers.json   a prompt that is put before each text
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from safe_embed.errors import EncoderError, UnsupportedModelError
from safe_embed.files import sha256_of

if TYPE_CHECKING:
    from safe_embed.encoders.lora import LoraAdapter

__all__ = [
    "ModelDir",
    "Pooling",
    "padding_id",
    "read_model_dir",
    "whole_number",
]

Pooling = Literal["mean", "cls", "pooler"]

_OTHER_NAMES_OF_HIDDEN_SIZE = frozenset({"dim", "d_model", "n_embd"})  # DistilBERT, T5, GPT-2

# In the order of sentence-transformers; only the first two are pooled by the engine.
_OLD_POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# These architectures number positions from the padding id + 1 on.
_OFFSET_TYPES = frozenset({"roberta", "xlm-roberta", "mpnet"})
_LONGEST = 10**9
_SHORTEST = 3  # the two special tokens and one more


@dataclass(frozen=True, kw_only=True)
class ModelDir:
    """Settings of one encoder; change one with `dataclasses.replace`.

    Args:
        path: the directory.
        config: config.json as it is.
        model_type: architecture, e.g. "bert".
        dimension: values in one embedding.
        pooling: "mean" of the token vectors, the first one ("cls"), or "pooler": a dense tanh
            layer over the first one.
        max_tokens: longer texts are cut to this many tokens, special ones included.
        lower_case: whether texts are lower-cased before the tokenizer sees them.
        prompt: put before each text.
        weights_digest: SHA-256 of model.safetensors.
        tokenizer_digest: SHA-256 of tokenizer.json.
        adapter: merged into the weights when they are read; None for the model as it is.
    """

    path: Path
    config: Mapping[str, Any]
    model_type: str
    dimension: int
    pooling: Pooling
    max_tokens: int
    lower_case: bool
    prompt: str
    weights_digest: str
    tokenizer_digest: str
    adapter: LoraAdapter | None = None

    @property
    def weights_path(self) -> Path:
        """The tensors."""
        return self.path / "model.safetensors"

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer."""
        return self.path / "tokenizer.json"


def read_model_dir(
    path: Path,
    *,
    pooling: Pooling | None = None,
    prompt: str | None = None,
    weights_digest: str | None = None,
) -> ModelDir:
    """Reads the settings of a directory and digests its files.

    Args:
        path: a directory as sentence-transformers or transformers saves it.
        pooling: used instead of what the directory says.
        prompt: used instead of what the directory says; "" for none.
        weights_digest: SHA-256 of model.safetensors where the caller has just computed it.

    Raises:
        UnsupportedModelError: a module, pooling or file format that only sentence-transformers has.
        EncoderError: no sentence encoder, or a damaged one; names the file.
    """
    pooling_folder = _check_modules(path)
    config = _read_config(path)
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise EncoderError(f"{path / 'config.json'}: model_type must be a name, got {model_type!r}")
    if not _OTHER_NAMES_OF_HIDDEN_SIZE.isdisjoint(config):
        raise UnsupportedModelError(path, f"the architecture {model_type!r}")
    _require_files(path)
    return ModelDir(
        path=path,
        config=config,
        model_type=model_type,
        dimension=whole_number(config, "hidden_size", path),
        pooling=pooling or _read_pooling(path, pooling_folder),
        max_tokens=_read_max_tokens(path, config, model_type),
        lower_case=bool(_read_json(path / "sentence_bert_config.json").get("do_lower_case", False)),
        prompt=_read_prompt(path) if prompt is None else prompt,
        weights_digest=weights_digest or _digest(path / "model.safetensors"),
        tokenizer_digest=_digest(path / "tokenizer.json"),
    )


def _position_offset(config: Mapping[str, Any], model_type: str) -> int:
    """Row of the position table that belongs to a text's first token."""
    if model_type not in _OFFSET_TYPES:
        return 0
    return padding_id(config, model_type) + 1


def padding_id(config: Mapping[str, Any], model_type: str) -> int:
    """Id of the padding token; MPNet has it fixed, whatever its config says."""
    value = config.get("pad_token_id")
    return value if isinstance(value, int) and model_type != "mpnet" else 1


def whole_number(config: Mapping[str, Any], key: str, path: Path) -> int:
    """A size of config.json.

    Raises:
        EncoderError: it is missing, or no whole number above 0.
    """
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise EncoderError(
            f"{path / 'config.json'}: {key} must be a whole number above 0, got {value!r}"
        )
    return value


def _read_config(path: Path) -> dict[str, Any]:
    if not (path / "config.json").is_file():
        what = "has no config.json" if path.is_dir() else "is not a directory"
        raise EncoderError(
            f"no sentence encoder: {path} {what}; "
            "give a directory that sentence-transformers or transformers saved"
        )
    return _read_json(path / "config.json")


def _require_files(path: Path) -> None:
    if not (path / "model.safetensors").is_file():
        if (path / "model.safetensors.index.json").is_file():
            raise UnsupportedModelError(path, "weights in several files")
        if (path / "pytorch_model.bin").is_file():
            raise EncoderError(
                f"{path}: only safetensors weights are loaded, and it has only pytorch_model.bin, "
                "which can run code; save the model again with safe_serialization=True"
            )
        raise EncoderError(f"{path}: model.safetensors is missing; fetch the model again")
    if not (path / "tokenizer.json").is_file():
        raise UnsupportedModelError(path, "a tokenizer without tokenizer.json")


def _check_modules(path: Path) -> str | None:
    """Returns the folder of the pooling module; None for a plain transformer."""
    if not (path / "modules.json").is_file():
        return None
    modules = _parse_json(path / "modules.json")
    try:
        names = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
        folders = [str(module["path"]) for module in modules]
    except (TypeError, KeyError) as error:
        raise EncoderError(
            f"{path / 'modules.json'}: must be a list of modules with type and path"
        ) from error
    if names[:2] != ["Transformer", "Pooling"] or names[2:] not in ([], ["Normalize"]):
        raise UnsupportedModelError(path, f"the module list {', '.join(names) or '(empty)'}")
    if folders[0]:
        raise UnsupportedModelError(path, f"a transformer in the folder {folders[0]}")
    return folders[1]


def _read_pooling(path: Path, folder: str | None) -> Pooling:
    if folder is None:
        return "mean"
    file = path / folder / "config.json"
    if not file.is_file():
        raise EncoderError(f"{file} is missing, and modules.json names it; fetch the model again")
    settings = _read_json(file)
    mode = settings.get("pooling_mode")
    if mode is None:
        mode = [name for key, name in _OLD_POOLING_KEYS.items() if settings.get(key)] or "mean"
    if isinstance(mode, list) and len(mode) == 1:
        mode = mode[0]
    if mode not in get_args(Pooling):
        raise UnsupportedModelError(path, f"the pooling {mode!r}")
    if not settings.get("include_prompt", True):
        raise UnsupportedModelError(path, "pooling that leaves the prompt out")
    return cast("Pooling", mode)


def _read_max_tokens(path: Path, config: Mapping[str, Any], model_type: str) -> int:
    """The length that sentence-transformers cuts at, and never more than there are positions."""
    stated = _read_json(path / "sentence_bert_config.json").get("max_seq_length")
    if stated is None:
        stated = _read_json(path / "tokenizer_config.json").get("model_max_length")
    if stated is None:
        stated = _LONGEST
    positions = whole_number(config, "max_position_embeddings", path)
    room = positions - _position_offset(config, model_type)
    if not isinstance(stated, int | float) or min(stated, room) < _SHORTEST:
        raise EncoderError(
            f"{path}: a text must be allowed {_SHORTEST} tokens or more, got max_seq_length "
            f"{stated!r} and max_position_embeddings {positions}"
        )
    return int(min(stated, room))


def _read_prompt(path: Path) -> str:
    settings = _read_json(path / "config_sentence_transformers.json")
    name = settings.get("default_prompt_name")
    if name is None:
        return ""
    prompt = (settings.get("prompts") or {}).get(name)
    if not isinstance(prompt, str):
        raise EncoderError(
            f"{path / 'config_sentence_transformers.json'}: default_prompt_name is {name!r}, "
            "and prompts has no such prompt"
        )
    return prompt


def _read_json(file: Path) -> dict[str, Any]:
    """An object; {} where the file does not exist."""
    if not file.is_file():
        return {}
    value = _parse_json(file)
    if not isinstance(value, dict):
        raise EncoderError(f"{file}: must be a JSON object; fetch the model again")
    return value


def _parse_json(file: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise EncoderError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise EncoderError(f"{file}: damaged JSON ({error}); fetch the model again") from error


def _digest(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        raise EncoderError(f"{file}: cannot be read: {error.strerror}") from error
