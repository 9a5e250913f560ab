"""Tiny random sentence encoders, written to disk as sentence-transformers writes real ones.

`write_model` needs no torch. `write_transformers_model` makes the weights with transformers itself,
so that names, shapes and settings are those of the reference.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

_SENTENCE = "how do i kill a an the process person python linux in bake cake bomb make safe query"
WORDS = _SENTENCE.split()
PROMPTS = [
    "How do I kill a process?",
    "How do I kill a person?",
    "bake the cake",
    "make a bomb in linux, python and zig",
    "",
    "  the process  ",
    "Straße, naïve café and 東京 🙂",
    "a",
]
HIDDEN, LAYERS, HEADS, INNER, POSITIONS = 32, 2, 4, 64, 200
BERT_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MPNET_MARKS = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
Tensors = dict[str, NDArray[np.float32]]


def wordpiece_tokenizer(marks: tuple[str, ...], *, lower_case: bool = True) -> Tokenizer:
    """Knows `WORDS` and single characters; writes `marks` (the padding first or second) around."""
    letters = string.ascii_letters + string.digits + string.punctuation
    pieces = [*marks, *letters, *(f"##{letter}" for letter in letters)]
    pieces += [word for word in WORDS if len(word) > 1]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _finish(tokenizer, marks, *(("[CLS]", "[SEP]") if "[CLS]" in marks else ("<s>", "</s>")))
    # Real files come with a length and a padding that must not be obeyed.
    tokenizer.enable_truncation(7)
    tokenizer.enable_padding(length=9)
    return tokenizer


def byte_pair_tokenizer() -> Tokenizer:
    """A byte-level BPE as of RoBERTa."""
    marks = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(marks),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(PROMPTS * 3, trainer)
    _finish(tokenizer, marks, "<s>", "</s>")
    return tokenizer


def unigram_tokenizer() -> Tokenizer:
    """A unigram model with metaspaces as of XLM-RoBERTa."""
    marks = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    pieces = ["▁", *string.ascii_letters, *(f"▁{word}" for word in WORDS)]
    scores = [(mark, 0.0) for mark in marks]
    scores += [(piece, -1.0 - index / 10) for index, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=3, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    _finish(tokenizer, marks, "<s>", "</s>")
    return tokenizer


def _finish(tokenizer: Tokenizer, marks: tuple[str, ...], start: str, end: str) -> None:
    tokenizer.add_special_tokens(list(marks))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in (start, end)],
    )


def write_model(
    directory: Path,
    model_type: str = "bert",
    *,
    seed: int = 0,
    change_tensors: Callable[[Tensors], Tensors] = lambda tensors: tensors,
    lower_case: bool = True,
    **config: Any,
) -> Path:
    """Writes a BERT or an MPNet with random weights, its tokenizer and its modules."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = wordpiece_tokenizer(
        BERT_MARKS if model_type == "bert" else MPNET_MARKS, lower_case=lower_case
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    settings: dict[str, Any] = {
        "model_type": model_type,
        "vocab_size": tokenizer.get_vocab_size(),
        "pad_token_id": 0 if model_type == "bert" else 1,
        "layer_norm_eps": 1e-12 if model_type == "bert" else 1e-5,
        "hidden_act": "gelu",
        **sizes(),
    }
    if model_type == "mpnet":
        settings["relative_attention_num_buckets"] = 32
    settings.update(config)
    write_json(directory / "config.json", settings)
    tensors = change_tensors(random_tensors(model_type, settings, seed))
    save_file(tensors, directory / "model.safetensors")
    write_modules(directory)
    return directory


def sizes() -> dict[str, int]:
    """The keys of config.json that shape a tiny model."""
    return {
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
    }


def write_modules(directory: Path, *, pooling: str = "mean", max_seq_length: int = 190) -> None:
    """Writes what sentence-transformers puts beside the transformer."""
    package = "sentence_transformers.models"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{package}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{package}.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{package}.Normalize"},
    ]
    write_json(directory / "modules.json", modules)
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": max_seq_length})
    write_json(
        directory / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": HIDDEN,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": pooling == "max",
        },
    )


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def random_tensors(model_type: str, config: Mapping[str, Any], seed: int) -> Tensors:
    """Tensors large enough that a wrong one shows in the embedding."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
    }
    dense: dict[str, tuple[int, int]] = {"pooler.dense": (HIDDEN, HIDDEN)}
    norms = ["embeddings.LayerNorm"]
    attention = (
        ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm")
        if model_type == "bert"
        else ("attn.q", "attn.k", "attn.v", "attn.o", "LayerNorm")
    )
    for layer in (f"encoder.layer.{index}" for index in range(LAYERS)):
        dense |= {f"{layer}.attention.{name}": (HIDDEN, HIDDEN) for name in attention[:4]}
        dense |= {f"{layer}.intermediate.dense": (INNER, HIDDEN)}
        dense |= {f"{layer}.output.dense": (HIDDEN, INNER)}
        norms += [f"{layer}.attention.{attention[4]}", f"{layer}.output.LayerNorm"]
    for name, shape in dense.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (HIDDEN,), f"{name}.bias": (HIDDEN,)}
    if model_type == "bert":
        shapes["embeddings.token_type_embeddings.weight"] = (2, HIDDEN)
    else:
        shapes["encoder.relative_attention_bias.weight"] = (32, HEADS)
    return {name: _random(rng, name, shape) for name, shape in shapes.items()}


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = 0.4 * rng.standard_normal(shape)
    return (values + (name.endswith("LayerNorm.weight"))).astype(np.float32)


def write_transformers_model(directory: Path, model_type: str, *, pooling: str = "mean") -> Path:
    """Writes a random model that transformers made; needs torch."""
    import torch

    transformers: Any = import_module("transformers")

    tokenizer = {
        "mpnet": lambda: wordpiece_tokenizer(MPNET_MARKS),
        "roberta": byte_pair_tokenizer,
        "xlm-roberta": unigram_tokenizer,
    }.get(model_type, lambda: wordpiece_tokenizer(BERT_MARKS))()
    padding = "<pad>" if model_type in ("mpnet", "roberta", "xlm-roberta") else "[PAD]"
    config = transformers.AutoConfig.for_model(
        model_type,
        vocab_size=tokenizer.get_vocab_size(),
        pad_token_id=tokenizer.token_to_id(padding),
        initializer_range=0.4,
        **sizes(),
    )
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():  # fresh biases are 0, so that a forgotten one would not show
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.4)
    model.save_pretrained(directory)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=padding
    ).save_pretrained(directory)
    write_modules(directory, pooling=pooling)
    return directory
