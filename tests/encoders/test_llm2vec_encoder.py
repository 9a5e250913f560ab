"""LLM2Vec on tiny random decoders, against a forward in NumPy that was written for these tests."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from safe_embed.encoders import decoder_weights
from safe_embed.encoders.llm2vec_encoder import LLM2VecEncoder
from safe_embed.encoders.load import load_encoder
from safe_embed.errors import EncoderError, InputError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="needs the extra torch")
transformers = pytest.importorskip("transformers", reason="needs the extra torch")

HIDDEN, HEADS, KV_HEADS, LAYERS, INNER, RANK, ALPHA = 32, 4, 2, 2, 48, 4, 8
WORDS = "how do i kill a person process python ? [INST] [/INST] user be safe".split()  # noqa: SIM905
TEXTS = ["how do i kill a person ?", "how do i kill a python process ?", "python"]
Tensors = dict[str, NDArray[np.float32]]


def write_decoder(directory: Path, model_type: str) -> Path:
    """A random decoder with grouped heads, and a word tokenizer that begins with <s>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate(["<s>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    config = transformers.AutoConfig.for_model(
        model_type,
        vocab_size=len(vocabulary),
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=600,
        initializer_range=0.3,
        rms_norm_eps=1e-5,
    )
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(directory)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(directory)
    return directory


def write_adapter(directory: Path, seed: int, **changes: Any) -> Path:
    """A random LoRA adapter as PEFT lays it out."""
    directory.mkdir()
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", **changes}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(seed)
    tensors: Tensors = {}
    sizes = {"q_proj": HIDDEN, "v_proj": HIDDEN * KV_HEADS // HEADS}
    for layer in range(LAYERS):
        for name, size in sizes.items():
            key = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{key}.lora_A.weight"] = rng.standard_normal((RANK, HIDDEN)).astype("f4") * 0.2
            tensors[f"{key}.lora_B.weight"] = rng.standard_normal((size, RANK)).astype("f4") * 0.2
    save_file(tensors, directory / "adapter_model.safetensors")
    return directory


@pytest.fixture(params=["mistral", "llama"])
def model_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def parts(tmp_path: Path, model_type: str) -> tuple[Path, list[Path]]:
    base = write_decoder(tmp_path / "base", model_type)
    return base, [write_adapter(tmp_path / f"adapter{i}", i) for i in range(2)]


def merged_weights(base: Path, adapters: list[Path]) -> Tensors:
    """W + (alpha / r) B A, adapter by adapter."""
    weights = load_file(base / "model.safetensors")
    weights = {name.removeprefix("model."): value for name, value in weights.items()}
    for adapter in adapters:
        lora = load_file(adapter / "adapter_model.safetensors")
        for name, down in lora.items():
            if name.endswith("lora_A.weight"):
                up = lora[name.replace("lora_A", "lora_B")]
                target = name.removeprefix("base_model.model.model.").replace(".lora_A", "")
                weights[target] = weights[target] + ALPHA / RANK * (up @ down)
    return weights


def slow_states(
    weights: Tensors, ids: list[int], *, theta: float, causal: bool = False
) -> NDArray[np.float64]:
    """Last states of one text: RMS norms, rotary positions, grouped heads, SwiGLU."""

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5) * weights[f"{name}.weight"]

    def rotated(x: NDArray[np.float64]) -> NDArray[np.float64]:  # (length, heads, head)
        head = x.shape[2]
        angles = np.arange(len(ids))[:, None] * theta ** (-np.arange(0, head, 2) / head)
        cos, sin = (np.concatenate([f(angles)] * 2, axis=1)[:, None, :] for f in (np.cos, np.sin))
        turned = np.concatenate([-x[..., head // 2 :], x[..., : head // 2]], axis=2)
        return x * cos + turned * sin

    x = weights["embed_tokens.weight"][ids].astype(np.float64)
    head = HIDDEN // HEADS
    for i in range(LAYERS):
        at = f"layers.{i}.self_attn"
        h = norm(x, f"layers.{i}.input_layernorm")
        q = rotated((h @ weights[f"{at}.q_proj.weight"].T).reshape(len(ids), HEADS, head))
        k = rotated((h @ weights[f"{at}.k_proj.weight"].T).reshape(len(ids), KV_HEADS, head))
        v = (h @ weights[f"{at}.v_proj.weight"].T).reshape(len(ids), KV_HEADS, head)
        k, v = (np.repeat(one, HEADS // KV_HEADS, axis=1) for one in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(head)
        if causal:
            scores += np.triu(np.full((len(ids), len(ids)), -1e30), 1)
        scores = np.exp(scores - scores.max(axis=2, keepdims=True))
        scores /= scores.sum(axis=2, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", scores, v).reshape(len(ids), HIDDEN)
        x = x + mixed @ weights[f"{at}.o_proj.weight"].T
        h = norm(x, f"layers.{i}.post_attention_layernorm")
        gate = h @ weights[f"layers.{i}.mlp.gate_proj.weight"].T
        up = h @ weights[f"layers.{i}.mlp.up_proj.weight"].T
        down = weights[f"layers.{i}.mlp.down_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ down
    return norm(x, "norm")


def theta_of(base: Path) -> float:
    config = json.loads((base / "config.json").read_text())
    return float(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])


def slow_embedding(
    base: Path, adapters: list[Path], ids: list[int], own: int, *, causal: bool = False
) -> NDArray[np.float64]:
    weights = merged_weights(base, adapters)
    mean = slow_states(weights, ids, theta=theta_of(base), causal=causal)[-own:].mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def test_agrees_with_an_independent_forward(parts: tuple[Path, list[Path]]):
    base, adapters = parts
    encoder = LLM2VecEncoder(base, adapters=adapters, name="tiny")
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids, own = encoder._token_ids(text)
        assert np.abs(slow_embedding(base, adapters, ids, own) - vector).max() < 1e-5


def test_the_plain_causal_model_gives_something_else(parts: tuple[Path, list[Path]]):
    base, adapters = parts
    encoder = LLM2VecEncoder(base, adapters=adapters, name="tiny")
    ids, own = encoder._token_ids(TEXTS[0])
    causal = slow_embedding(base, adapters, ids, own, causal=True)
    assert np.abs(causal - encoder.encode(TEXTS[:1])[0]).max() > 0.01


def test_the_first_state_depends_on_the_last_token(parts: tuple[Path, list[Path]]):
    encoder = LLM2VecEncoder(parts[0], name="tiny")
    first, second = encoder.token_states([[0, 3, 4, 5], [0, 3, 4, 9]])
    assert float((first[0] - second[0]).abs().max()) > 1e-3


def test_neighbors_in_the_batch_change_nothing(parts: tuple[Path, list[Path]]):
    encoder = LLM2VecEncoder(parts[0], adapters=parts[1], name="tiny")
    texts = [*TEXTS, *(f"{word} do i" for word in WORDS)]
    together = encoder.encode(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], vector, atol=1e-6)
    small = LLM2VecEncoder(parts[0], adapters=parts[1], name="tiny", batch_size=1)
    np.testing.assert_allclose(small.encode(texts), together, atol=1e-6)


def test_each_adapter_counts(parts: tuple[Path, list[Path]]):
    base, adapters = parts
    encoders = [
        LLM2VecEncoder(base, adapters=some, name="tiny") for some in ([], adapters[:1], adapters)
    ]
    vectors = [encoder.encode(TEXTS[:1])[0] for encoder in encoders]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert np.abs(vectors[1] - vectors[2]).max() > 1e-3
    assert len({encoder.fingerprint for encoder in encoders}) == 3


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_merging_is_that_of_peft(parts: tuple[Path, list[Path]]):
    peft = pytest.importorskip("peft", reason="the reference for its own format")
    base, adapters = parts
    model = transformers.AutoModel.from_pretrained(base)
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "v_proj"])
    reference = peft.get_peft_model(model, config)
    lora = load_file(adapters[0] / "adapter_model.safetensors")
    state = {
        name.replace("model.model.", "model.").replace(".weight", ".default.weight"): torch.tensor(
            value
        )
        for name, value in lora.items()
    }
    missing = reference.load_state_dict(state, strict=False).unexpected_keys
    assert missing == []
    expected = reference.merge_and_unload().state_dict()
    ours = LLM2VecEncoder(base, adapters=adapters[:1], name="tiny")._model.state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-6, rtol=0)


def test_the_instruction_is_read_but_not_averaged(parts: tuple[Path, list[Path]]):
    base, _ = parts
    plain = LLM2VecEncoder(base, name="tiny")
    told = LLM2VecEncoder(base, name="tiny", instruction="be safe")
    (ids, own), (told_ids, told_own) = plain._token_ids("python"), told._token_ids("python")
    assert own == told_own
    assert len(told_ids) == len(ids) + 2
    assert np.abs(plain.encode(["python"]) - told.encode(["python"])).max() > 1e-4
    vector = slow_embedding(base, [], told_ids, told_own)
    assert np.abs(vector - told.encode(["python"])[0]).max() < 1e-5


def test_long_texts_are_cut(parts: tuple[Path, list[Path]]):
    encoder = LLM2VecEncoder(parts[0], name="tiny")
    ids, own = encoder._token_ids("python " * 2000)
    assert own <= 401
    assert len(ids) <= 512
    assert encoder.encode(["python " * 2000]).shape == (1, HIDDEN)
    assert encoder.encode([]).shape == (0, HIDDEN)


def test_a_batch_that_does_not_fit_is_halved(
    parts: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch
):
    encoder = LLM2VecEncoder(parts[0], name="tiny")
    expected = encoder.encode(["python do"] * 7 + TEXTS)
    real, sizes = LLM2VecEncoder._encode_batch, []

    def fail_for_many(self: LLM2VecEncoder, batch: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return real(self, batch)

    monkeypatch.setattr(LLM2VecEncoder, "_encode_batch", fail_for_many)
    np.testing.assert_allclose(encoder.encode(["python do"] * 7 + TEXTS), expected, atol=1e-6)
    assert max(sizes) == 7
    monkeypatch.setattr(
        LLM2VecEncoder, "_encode_batch", lambda *_: (_ for _ in ()).throw(MemoryError())
    )
    with pytest.raises(EncoderError, match="does not fit into memory"):
        encoder.encode(["python"])


def test_too_little_memory_is_told_before_loading(
    parts: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(decoder_weights, "_free_memory", lambda _device: 1000.0)
    with pytest.raises(EncoderError, match=r"needs about 0\.0 GB of memory as float32"):
        LLM2VecEncoder(parts[0], name="tiny")


def test_too_little_memory_is_told_before_fetching(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoder_weights, "_free_memory", lambda _device: 4e9)
    with pytest.raises(EncoderError, match=r"llm2vec-mistral needs about 1[4-9]\.\d GB"):
        load_encoder("llm2vec-mistral")  # no test may reach the network


def test_the_limit_of_a_container_counts(tmp_path: Path):
    assert decoder_weights._free_in_container(tmp_path) == np.inf
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 50\n")
    assert decoder_weights._free_in_container(tmp_path) == 350
    (tmp_path / "memory.max").write_text("max\n")
    assert decoder_weights._free_in_container(tmp_path) == np.inf


def test_bfloat16_is_close(parts: tuple[Path, list[Path]]):
    exact = LLM2VecEncoder(parts[0], adapters=parts[1], name="tiny").encode(TEXTS)
    rounded = LLM2VecEncoder(parts[0], adapters=parts[1], name="t", dtype="bfloat16").encode(TEXTS)
    assert (exact * rounded).sum(axis=1).min() > 0.99


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "must be LORA"),
        ({"use_dora": True}, "use_dora is not supported"),
        ({"bias": "all"}, "bias is not supported"),
        ({"r": 0}, "r must be a whole number and lora_alpha a number above 0"),
        ({"r": RANK * 2}, "is not of rank 8, as r says"),
        ({"target_modules": ["q_proj", "o_proj"]}, r"no weights for layers\.0\.self_attn\.o_proj"),
    ],
)
def test_other_adapters_are_refused(tmp_path: Path, changes: dict[str, Any], message: str):
    base = write_decoder(tmp_path / "base", "llama")
    adapter = write_adapter(tmp_path / "adapter", 0, **changes)
    with pytest.raises(EncoderError, match=message):
        LLM2VecEncoder(base, adapters=[adapter], name="tiny")


def test_an_adapter_without_weights_is_refused(tmp_path: Path):
    base = write_decoder(tmp_path / "base", "llama")
    adapter = write_adapter(tmp_path / "adapter", 0)
    save_file({}, adapter / "adapter_model.safetensors")
    with pytest.raises(EncoderError, match="has no weights; get"):
        LLM2VecEncoder(base, adapters=[adapter], name="tiny")


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path):
    base = write_decoder(tmp_path / "base", "llama")
    tensors = load_file(base / "model.safetensors")
    del tensors["layers.1.mlp.up_proj.weight"]
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"1 weights are missing.*layers\.1\.mlp\.up_proj"):
        LLM2VecEncoder(base, name="tiny")
    (base / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(EncoderError, match="transformers cannot load it"):
        LLM2VecEncoder(base, name="tiny")


def test_loading_is_silent(parts: tuple[Path, list[Path]]):
    tensors = load_file(parts[0] / "model.safetensors")
    tensors["lm_head.weight"] = np.ones((2, HIDDEN), np.float32)  # every real base has one
    save_file(tensors, parts[0] / "model.safetensors", metadata={"format": "pt"})
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")  # its records do not propagate
    logger.addHandler(handler)
    try:
        LLM2VecEncoder(parts[0], name="tiny")
    finally:
        logger.removeHandler(handler)
    assert said == []


def test_the_cut_leaves_the_instruction_out_of_the_mean(parts: tuple[Path, list[Path]]):
    encoder = LLM2VecEncoder(parts[0], name="tiny", instruction="be safe", max_tokens=16)
    before = len(encoder._tokenizer(encoder._prefix())["input_ids"])
    ids, own = encoder._token_ids("python " * 50)
    assert (len(ids), own) == (16, 16 - before)
    with pytest.raises(InputError, match=f"more than the {before} tokens that are put before"):
        LLM2VecEncoder(parts[0], name="tiny", instruction="be safe", max_tokens=before)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_agrees_with_the_documented_switch_under_padding(
    parts: tuple[Path, list[Path]], side: str, implementation: str
):
    """transformers 5 has `config.is_causal`; it gives the same states, padded on either side."""
    encoder = LLM2VecEncoder(parts[0], adapters=parts[1], name="tiny")
    ids, _ = encoder._token_ids(TEXTS[0])
    expected = encoder.token_states([ids])[0]
    model, padding = encoder._model, [1] * 3
    model.set_attn_implementation(implementation)
    model.config.is_causal = False
    for layer in model.layers:
        layer.self_attn.is_causal = False
    padded = padding + ids if side == "left" else ids + padding
    real = [0] * 3 + [1] * len(ids) if side == "left" else [1] * len(ids) + [0] * 3
    with torch.inference_mode():
        states = model(
            input_ids=torch.tensor([padded]), attention_mask=torch.tensor([real]), use_cache=False
        ).last_hidden_state[0]
    torch.testing.assert_close(states[torch.tensor(real) == 1], expected, atol=1e-5, rtol=0)


def test_the_attention_implementation_changes_nothing(parts: tuple[Path, list[Path]]):
    encoder = LLM2VecEncoder(parts[0], adapters=parts[1], name="tiny")
    expected = encoder.encode(TEXTS)
    encoder._model.set_attn_implementation("eager")
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-6)


def test_other_errors_are_no_lack_of_memory(
    parts: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    encoder = LLM2VecEncoder(parts[0], name="tiny")
    monkeypatch.setattr(encoder, "_encode_batch", fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        encoder.encode(TEXTS)


def test_what_cannot_be_loaded(tmp_path: Path):
    base = write_decoder(tmp_path / "base", "llama")
    with pytest.raises(EncoderError, match=r"no adapter: .* has no adapter_config\.json"):
        LLM2VecEncoder(base, adapters=[tmp_path], name="tiny")
    with pytest.raises(InputError, match="dtype must be float32 or bfloat16"):
        LLM2VecEncoder(base, name="tiny", dtype="int8")
    with pytest.raises(InputError, match="device must be one of cpu, cuda, got 'tpu'"):
        LLM2VecEncoder(base, name="tiny", device="tpu")
    with pytest.raises(EncoderError, match=r"config\.json: cannot be read"):
        LLM2VecEncoder(tmp_path / "none", name="tiny")
    (base / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="transformers cannot load it"):
        LLM2VecEncoder(base, name="tiny")
