"""In what the supported transformers differ: names of tensors, and how positions enter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from safe_embed.encoders.modeldir import ModelDir, padding_id, whole_number
from safe_embed.errors import EncoderError, UnsupportedModelError

__all__ = ["ARCHITECTURES", "GRAPH_VERSION", "Architecture", "Sizes", "architecture_of", "sizes_of"]

GRAPH_VERSION = 2
"""Counted up whenever `build_graph` makes another graph of the same model."""

_RELATIVE_BUCKETS = 32  # the only number that the reference implementation computes with


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Where a family of transformers keeps its tensors; layer names follow `encoder.layer.<i>.`.

    Args:
        prefix: before every name when the weights were saved with a task head.
        query: queries; `key` and `value` likewise.
        attention_output: dense layer after the heads are joined.
        attention_norm: layer norm after attention.
        relative_bias: table of the relative position bias, if there is one.
        numbering: "plain": positions 0, 1, 2, ...; "after_padding": padding id + 1, ..., where a
            padding token written in the text itself takes no number.
    """

    prefix: str
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attention_output: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    relative_bias: str | None = None
    numbering: Literal["plain", "after_padding"] = "after_padding"


ARCHITECTURES = {
    "bert": Architecture(prefix="bert.", numbering="plain"),
    "roberta": Architecture(prefix="roberta."),
    "xlm-roberta": Architecture(prefix="roberta."),
    "mpnet": Architecture(
        prefix="mpnet.",
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        attention_output="attention.attn.o",
        attention_norm="attention.LayerNorm",
        relative_bias="encoder.relative_attention_bias.weight",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The numbers of config.json that shape the graph."""

    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    token_types: int
    relative_buckets: int
    padding: int
    norm_epsilon: float
    activation: str


def architecture_of(model: ModelDir) -> Architecture:
    """Looks up the architecture.

    Raises:
        UnsupportedModelError: it is none of `ARCHITECTURES`, or a variant that the graph lacks.
    """
    config = model.config
    if model.model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UnsupportedModelError(
            model.path, f"the architecture {model.model_type!r} (known: {known})"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UnsupportedModelError(
            model.path, f"position_embedding_type {config['position_embedding_type']!r}"
        )
    if config.get("is_decoder"):
        raise UnsupportedModelError(model.path, "a decoder")
    if config.get("relative_attention_num_buckets", _RELATIVE_BUCKETS) != _RELATIVE_BUCKETS:
        raise UnsupportedModelError(
            model.path, f"a relative_attention_num_buckets other than {_RELATIVE_BUCKETS}"
        )
    return ARCHITECTURES[model.model_type]


def sizes_of(model: ModelDir) -> Sizes:
    """Reads the sizes.

    Raises:
        EncoderError: one is missing or impossible; names config.json and the key.
    """
    config, path = model.config, model.path
    hidden = whole_number(config, "hidden_size", path)
    heads = whole_number(config, "num_attention_heads", path)
    if hidden % heads:
        raise EncoderError(
            f"{path / 'config.json'}: hidden_size {hidden} must be a multiple of "
            f"num_attention_heads {heads}"
        )
    epsilon = config.get("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise EncoderError(
            f"{path / 'config.json'}: layer_norm_eps must be between 0 and 1, got {epsilon!r}"
        )
    return Sizes(
        hidden=hidden,
        heads=heads,
        layers=whole_number(config, "num_hidden_layers", path),
        inner=whole_number(config, "intermediate_size", path),
        vocabulary=whole_number(config, "vocab_size", path),
        positions=whole_number(config, "max_position_embeddings", path),
        token_types=whole_number({"type_vocab_size": 2, **config}, "type_vocab_size", path),
        relative_buckets=_RELATIVE_BUCKETS,
        padding=padding_id(config, model.model_type),
        norm_epsilon=epsilon,
        activation=str(config.get("hidden_act", "gelu")),
    )
