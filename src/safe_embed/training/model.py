"""The encoder that is trained: a transformer whose upper layers carry a LoRA adapter."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn import functional

from safe_embed.encoders.base import Encoder
from safe_embed.encoders.cache import uncached
from safe_embed.encoders.decoder_weights import quiet_transformers
from safe_embed.encoders.modeldir import ModelDir, padding_id
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.errors import EncoderError, InputError
from safe_embed.files import atomic_file
from safe_embed.training.recipe import Recipe

if TYPE_CHECKING:
    from peft import LoraConfig

__all__ = ["States", "TunedModel", "base_model_dir"]

States = list[torch.Tensor]
"""For each text the states of its tokens, of shape (tokens, d)."""

_ADAPTER = "default"
_TOKENS_AT_ONCE = 4096
_LENGTH_GROUPS = 4


def base_model_dir(encoder: Encoder) -> ModelDir:
    """The directory of an encoder that can be trained.

    Raises:
        InputError: it has no weights here, is adapted already, or pools in a way that training
            does not know.
    """
    model = getattr(uncached(encoder), "model", None)
    if not isinstance(model, ModelDir):
        raise InputError(
            f"{encoder.name!r} has no weights that can be trained; use an encoder that the engine "
            "runs, such as minilm or sbert-all"
        )
    if model.adapter is not None:
        raise InputError(
            f"{encoder.name!r} is adapted already; train its base, with the data of both trainings"
        )
    if model.pooling == "pooler":
        raise InputError(f"{encoder.name!r} pools by a dense layer; training knows mean and cls")
    return model


class TunedModel:
    """A base with an adapter that is not merged yet.

    The layers below the adapted ones never change, so `lower` computes their states once and
    `upper` goes on from there.

    Args:
        encoder: the base, as the engine runs it; its tokenizer is used.
        recipe: says which layers are adapted.
        device: `cpu` or `cuda`.
        seed: of the adapter's random start.
    """

    def __init__(self, encoder: Encoder, recipe: Recipe, *, device: str, seed: int) -> None:
        self._directory = base_model_dir(encoder)
        self._name = encoder.name
        self._device = device
        shorter = min(recipe.max_tokens, self._directory.max_tokens)
        self._tokens = OnnxEncoder(replace(self._directory, max_tokens=shorter), name=self._name)
        torch.manual_seed(seed)
        self._model = _adapted(_load(self._directory.path), recipe)
        self._model.to(device).eval()  # no dropout: twins must differ by their words only
        self._inner = cast("Any", self._model).base_model.model
        self._layers = list(self._inner.encoder.layer)
        self._embed = self._inner.embeddings
        self._n_lower = len(self._layers) - recipe.layers
        self._autocast = _has_fast_bfloat16(device)
        self._alpha = recipe.alpha
        self._config: LoraConfig = cast("Any", self._model).peft_config[_ADAPTER]

    @property
    def device(self) -> str:
        """Where it is trained."""
        return self._device

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The adapter's, which are trained."""
        return [one for one in self._model.parameters() if one.requires_grad]

    @property
    def number_format(self) -> str:
        """In what the matrix products are computed."""
        return "bfloat16" if self._autocast else "float32"

    def lower(self, texts: Sequence[str]) -> States:
        """States below the adapted layers, kept on the CPU in the format they are computed in."""
        ids = [self._tokens.token_ids(text)[0] for text in texts]
        states: States = [torch.empty(0)] * len(texts)
        self._use(self._layers[: self._n_lower], self._embed)
        padding = padding_id(self._directory.config, self._directory.model_type)
        for rows in _batches([len(one) for one in ids]):
            length = max(len(ids[row]) for row in rows)
            tokens = torch.full((len(rows), length), padding)
            mask = torch.zeros((len(rows), length), dtype=torch.long)
            for number, row in enumerate(rows):
                tokens[number, : len(ids[row])] = torch.from_numpy(ids[row])
                mask[number, : len(ids[row])] = 1
            with torch.no_grad(), self._precision():
                found = self._inner(
                    input_ids=tokens.to(self._device), attention_mask=mask.to(self._device)
                ).last_hidden_state
            kept = torch.bfloat16 if self._autocast else torch.float32
            for number, row in enumerate(rows):
                states[row] = found[number, : len(ids[row])].to("cpu", kept).clone()
        return states

    def upper(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings of shape (n, d), float32, rows of length 1; with gradients.

        Texts of like length go through the layers together, so that little is padded: in one piece
        half of a batch of prompts would be padding.
        """
        self._use(self._layers[self._n_lower :], _Given())
        order = sorted(range(len(states)), key=lambda row: len(states[row]))
        size = -(-len(order) // _LENGTH_GROUPS)
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        found = torch.cat([self._upper([states[row] for row in group]) for group in groups])
        return found[torch.tensor(order, device=self._device).argsort()]

    def embed(self, states: States) -> torch.Tensor:
        """Embeddings of shape (n, d) on the CPU, without gradients."""
        found = torch.empty((len(states), self._directory.dimension))
        with torch.no_grad():
            for rows in _batches([len(one) for one in states]):
                found[rows] = self.upper([states[row] for row in rows]).cpu()
        return found

    def state(self) -> dict[str, torch.Tensor]:
        """The adapter's tensors by PEFT's names, copied to the CPU."""
        from peft import get_peft_model_state_dict

        self._use(self._layers, self._embed)
        found = get_peft_model_state_dict(cast("Any", self._model), save_embedding_layers=False)
        return {name: tensor.detach().cpu().clone() for name, tensor in found.items()}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Takes the tensors of `state`."""
        from peft import set_peft_model_state_dict

        self._use(self._layers, self._embed)
        set_peft_model_state_dict(cast("Any", self._model), state)

    def set_strength(self, strength: float) -> None:
        """Multiplies the change that the adapter makes to the weights; 1 is as it was trained."""
        from peft.tuners.lora import LoraLayer

        self._use(self._layers, self._embed)
        for module in self._model.modules():
            if isinstance(module, LoraLayer):
                module.set_scale(_ADAPTER, strength)
        self._config.lora_alpha = cast("int", self._alpha * strength)

    def save(self, directory: Path) -> None:
        """Writes `adapter_config.json` and `adapter_model.safetensors`, in float16."""
        from safetensors.torch import save_file

        config = self._config
        config.inference_mode = True
        modules = cast("set[str]", config.target_modules)
        config.target_modules = sorted(modules)  # PEFT's set has no order
        config.base_model_name_or_path = self._name
        config.save_pretrained(str(directory))
        halves = {name: one.half().contiguous() for name, one in self.state().items()}
        with atomic_file(directory / "adapter_model.safetensors") as temporary:  # sets its mode
            save_file(halves, temporary, metadata={"format": "pt"})

    def _upper(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        length = max(len(one) for one in states)
        padded = torch.zeros((len(states), length, states[0].shape[1]))
        mask = torch.zeros((len(states), length))
        for row, one in enumerate(states):
            padded[row, : len(one)] = one.float()
            mask[row, : len(one)] = 1
        padded, mask = padded.to(self._device), mask.to(self._device)
        with self._precision():
            found = self._inner(inputs_embeds=padded, attention_mask=mask).last_hidden_state.float()
        if self._directory.pooling == "cls":
            return functional.normalize(found[:, 0], dim=1)
        pooled = (found * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return functional.normalize(pooled, dim=1)

    def _use(self, layers: Sequence[nn.Module], embed: nn.Module) -> None:
        self._inner.encoder.layer = nn.ModuleList(layers)
        self._inner.embeddings = embed

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._device, dtype=torch.bfloat16, enabled=self._autocast)


class _Given(nn.Module):
    """In place of the embedding layer: hands the states on."""

    def forward(self, inputs_embeds: torch.Tensor, **_others: object) -> torch.Tensor:
        return inputs_embeds


def _load(path: Path) -> nn.Module:
    from transformers import AutoModel

    try:
        with quiet_transformers():
            return cast("nn.Module", AutoModel.from_pretrained(str(path), local_files_only=True))
    except Exception as error:  # transformers raises whatever it meets
        reason = str(error).strip().splitlines()[0]
        raise EncoderError(f"{path}: transformers cannot load it ({reason})") from error


def _adapted(model: nn.Module, recipe: Recipe) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    n_layers = len(cast("Any", model).encoder.layer)
    if recipe.layers > n_layers:
        raise InputError(
            f"the recipe adapts {recipe.layers} layers, the encoder has {n_layers}; give fewer"
        )
    names = sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if ".layer." in name and isinstance(module, nn.Linear)
        }
    )
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=cast("int", recipe.alpha),
        target_modules=names,
        layers_to_transform=list(range(n_layers - recipe.layers, n_layers)),
        layers_pattern="layer",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by an older name
        return cast("nn.Module", get_peft_model(cast("Any", model), config))


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Rows by length, at most so many tokens at once."""
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    batches: list[list[int]] = []
    for row in order:
        if not batches or (len(batches[-1]) + 1) * lengths[row] > _TOKENS_AT_ONCE:
            batches.append([])
        batches[-1].append(row)
    return batches


def _has_fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 is computed natively; elsewhere it would be slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
