"""How an encoder is trained: a recipe is a TOML file, and each size of base has one."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from safe_embed.errors import DataError

__all__ = ["Recipe", "load_recipe", "recipe_for"]

Weight = Annotated[float, Field(ge=0, le=100)]
Rate = Annotated[float, Field(gt=0, le=1)]

_SMALL_WIDTH = 512
"""A base of at most this many dimensions takes the recipe of MiniLM, a wider one that of MPNet."""


class Recipe(BaseModel):
    """Settings of one training; the losses are explained in `safe_embed.training.losses`.

    Attributes:
        layers: how many of the topmost layers are adapted; the states below them are computed once.
        rank: rank r of the LoRA matrices (Hu et al. 2021, section 4.1).
        alpha: their scale is alpha / rank.
        epochs: how often each text is seen; may end within an epoch.
        pairs_per_batch: pairs of an unsafe prompt with its safe twin in one batch.
        singles_per_batch: most other prompts in one batch.
        learning_rate: of AdamW for the adapter, after the warm-up; falls to 0 in a straight line.
        head_learning_rate: the same for the head.
        warm_up: share of the steps in which the learning rates rise from 0.
        weight_decay: of AdamW.
        max_gradient: the norm to which a larger gradient is cut.
        logit_scale: the head sees embeddings of length 1 times this.
        pair_rank: weight of the loss that puts the unsafe twin above the safe one.
        twin_similarity: weight of the cosine of twins, which is made smaller.
        contrastive: weight of the supervised contrastive loss over categories of harm.
        temperature: of the contrastive loss.
        distillation: weight of the loss that holds other cosines where the base has them.
        strength: the trained change of the weights is multiplied by this at the end: between 0, the
            base, and 1 lie encoders that keep more of the base (Wortsman et al. 2022, section 3).
        max_tokens: a longer text is cut to this many tokens in training.
        min_pairs: fewer pairs of twins than this are refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: Annotated[int, Field(ge=1)]
    rank: Annotated[int, Field(ge=1, le=256)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    epochs: Annotated[float, Field(gt=0, le=1000)] = 2.0
    pairs_per_batch: Annotated[int, Field(ge=1)] = 12
    singles_per_batch: Annotated[int, Field(ge=0)] = 24
    learning_rate: Rate = 1e-3
    head_learning_rate: Rate = 1e-3
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: Weight = 0.01
    max_gradient: Annotated[float, Field(gt=0)] = 1.0
    logit_scale: Annotated[float, Field(gt=0)] = 8.0
    pair_rank: Weight = 1.0
    twin_similarity: Weight = 0.3
    contrastive: Weight = 0.3
    temperature: Annotated[float, Field(gt=0)] = 0.1
    distillation: Weight = 10.0
    strength: Annotated[float, Field(gt=0, le=2)] = 1.0
    max_tokens: Annotated[int, Field(ge=8)] = 128
    min_pairs: Annotated[int, Field(ge=1)] = 20

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if self.rank > 4 * self.alpha:
            raise ValueError("alpha must be at least a quarter of rank, or nothing is learnt")
        return self


def recipe_for(dimension: int) -> Recipe:
    """The recipe that was chosen for encoders of this width; docs/training.md shows by what."""
    name = "minilm" if dimension <= _SMALL_WIDTH else "mpnet"
    file = resources.files("safe_embed.training") / "recipes" / f"{name}.toml"
    return Recipe(**tomllib.loads(file.read_text("utf-8")))


def load_recipe(path: Path) -> Recipe:
    """Reads a recipe from a TOML file.

    Raises:
        DataError: it cannot be read, is no TOML, or has a key or value that cannot be.
    """
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read ({error}); give a recipe as a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise DataError(path, f"is no TOML ({error}); see docs/training.md for a recipe") from None
    try:
        return Recipe(**found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the recipe"
        known = ", ".join(Recipe.model_fields)
        raise DataError(path, f"{where}: {first['msg']}; keys are {known}") from None
