"""The training itself: steps over batches, checkpoints, and going on where one was cut off."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from safe_embed.detection.head import LogisticHead
from safe_embed.errors import InputError, StorageError
from safe_embed.files import atomic_file
from safe_embed.training.batches import Batch, epoch_batches, n_steps
from safe_embed.training.examples import Examples
from safe_embed.training.losses import BatchLabels, batch_losses
from safe_embed.training.model import States, TunedModel
from safe_embed.training.recipe import Recipe

__all__ = ["Checkpoint", "Step", "StepReport", "train_adapter"]

_SMOOTHING = 0.98
_DIVERGED = 50.0
"""A loss above this has diverged: all are below 10 where nothing is known."""


@dataclass(frozen=True)
class Step:
    """How far a training is.

    Args:
        done: steps.
        total: steps of the whole training.
        loss: running mean of the loss.
        seconds_left: by the pace so far.
    """

    done: int
    total: int
    loss: float
    seconds_left: float


@dataclass(frozen=True)
class Checkpoint:
    """Where a training is kept, so that it can go on.

    Args:
        path: file.
        key: what it must be of; another one is not gone on from.
    """

    path: Path
    key: str


StepReport = Callable[[Step], None]


def train_adapter(
    model: TunedModel,
    examples: Examples,
    states: States,
    recipe: Recipe,
    *,
    head: LogisticHead,
    seed: int,
    checkpoint: Checkpoint | None = None,
    report: StepReport = lambda _step: None,
) -> None:
    """Trains the adapter of a model, in place, and gives it the strength that the recipe says.

    Args:
        model: its adapter is trained.
        examples: what is trained on.
        states: `model.lower` of their texts.
        recipe: settings.
        head: what the head of the losses starts from: fitted on the base's embeddings.
        seed: of the order of the examples.
        checkpoint: written after each epoch, and gone on from where it is there.
        report: called after each step.

    Raises:
        InputError: the loss is no number or grows beyond all bounds.
        StorageError: the checkpoint cannot be read or written.
    """
    training = _Training(model, examples, states, recipe, head)
    done = training.resume(checkpoint) if checkpoint is not None else 0
    total = n_steps(examples, recipe)
    started, first, mean = time.perf_counter(), done, math.nan
    for epoch, number, batch in _schedule(examples, recipe, seed, total):
        if number < done:
            continue
        loss = training.step(batch, _rate(number, total, recipe.warm_up))
        if not math.isfinite(loss) or loss > _DIVERGED:
            raise InputError(
                f"the training diverged at step {number + 1} of {total} (loss {loss:g}); give a "
                "recipe with a smaller learning_rate or a longer warm_up"
            )
        mean = loss if math.isnan(mean) else _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        done = number + 1
        pace = (time.perf_counter() - started) / (done - first)
        report(Step(done, total, mean, pace * (total - done)))
        ends_epoch = done == total or training.per_epoch * (epoch + 1) == done
        if checkpoint is not None and ends_epoch:
            training.save(checkpoint, done)
    model.set_strength(recipe.strength)


def _schedule(
    examples: Examples, recipe: Recipe, seed: int, total: int
) -> Iterator[tuple[int, int, Batch]]:
    number, epoch = 0, 0
    while number < total:
        for batch in epoch_batches(examples, recipe, seed=seed, epoch=epoch)[: total - number]:
            yield epoch, number, batch
            number += 1
        epoch += 1


def _rate(step: int, total: int, warm_up: float) -> float:
    """Factor of the learning rates: up to 1 in a straight line, then down to 0."""
    rising = (step + 1) / max(1.0, warm_up * total)
    falling = (total - step) / max(1.0, total - warm_up * total)
    return min(1.0, rising, falling)


class _Training:
    """Optimiser, head and data of one training."""

    def __init__(
        self,
        model: TunedModel,
        examples: Examples,
        states: States,
        recipe: Recipe,
        head: LogisticHead,
    ) -> None:
        self._model, self._states, self._recipe = model, states, recipe
        self._device = model.device
        scale = recipe.logit_scale
        self._weights = nn.Parameter(self._number(head.weights / scale))
        self._bias = nn.Parameter(self._number(np.array(head.bias)))
        groups = [
            {"params": model.parameters, "lr": recipe.learning_rate},
            {"params": [self._weights, self._bias], "lr": recipe.head_learning_rate},
        ]
        self._rates = [recipe.learning_rate, recipe.head_learning_rate]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        self._unsafe = self._number(examples.unsafe.astype(np.float32))
        self._category = torch.from_numpy(_category_numbers(examples)).to(self._device)
        self._base = model.embed(states).to(self._device)
        self.per_epoch = len(epoch_batches(examples, recipe, seed=0, epoch=0))

    def step(self, batch: Batch, rate: float) -> float:
        """One step of the optimiser; returns the loss before it."""
        for group, most in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = most * rate
        rows = torch.from_numpy(batch.rows).to(self._device)
        embeddings = self._model.upper([self._states[row] for row in batch.rows.tolist()])
        base = self._base[rows]
        labels = BatchLabels(self._unsafe[rows], self._category[rows], batch.n_pairs)
        logits = self._recipe.logit_scale * (embeddings @ self._weights) + self._bias
        losses = batch_losses(embeddings, logits, base @ base.T, labels, self._recipe.temperature)
        loss = losses.total(self._recipe)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch has no types here
        nn.utils.clip_grad_norm_(self._model.parameters, self._recipe.max_gradient)
        self._optimizer.step()
        return float(loss.detach())

    def save(self, checkpoint: Checkpoint, done: int) -> None:
        """Writes a checkpoint, whole or not at all."""
        found = {
            "key": checkpoint.key,
            "done": done,
            "adapter": self._model.state(),
            "weights": self._weights.detach().cpu(),
            "bias": self._bias.detach().cpu(),
            "optimizer": self._optimizer.state_dict(),
        }
        with atomic_file(checkpoint.path) as temporary:
            torch.save(found, temporary)

    def resume(self, checkpoint: Checkpoint) -> int:
        """Takes what a checkpoint holds; returns the number of steps that it has behind it."""
        path = checkpoint.path
        if not path.exists():
            return 0
        try:
            found: dict[str, Any] = torch.load(path, weights_only=True, map_location=self._device)
            same = found["key"] == checkpoint.key
        except Exception as error:  # noqa: BLE001 - pickle, zip and torch raise many kinds
            raise _damaged(path, error) from None
        if not same:
            raise InputError(
                f"{path} is of another training (other data, recipe, seed or base); leave "
                "--resume out to start anew, or give the same options"
            )
        try:
            self._model.load_state(found["adapter"])
            with torch.no_grad():
                self._weights.copy_(found["weights"])
                self._bias.copy_(found["bias"])
            self._optimizer.load_state_dict(found["optimizer"])
            return int(found["done"])
        except (KeyError, ValueError, RuntimeError) as error:
            raise _damaged(path, error) from None

    def _number(self, values: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self._device)


def _damaged(path: Path, error: Exception) -> StorageError:
    return StorageError(
        f"{path}: the checkpoint is damaged ({type(error).__name__}); leave --resume out to start "
        "anew"
    )


def _category_numbers(examples: Examples) -> NDArray[np.int64]:
    names = sorted({one for one in examples.categories if one is not None})
    number = {name: row for row, name in enumerate(names)}
    return np.array([-1 if one is None else number[one] for one in examples.categories], np.int64)
