"""Runs of several encoders on the same items: scores, differences, and what may be chance."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from safe_embed.benchmark.results import Evaluation, Item, Run, TaskName
from safe_embed.errors import InputError
from safe_embed.metrics import holm, paired_difference

__all__ = [
    "TASKS",
    "Comparison",
    "ComparisonRow",
    "PublishedScores",
    "TaskDifference",
    "compare",
    "published_scores",
    "score_of",
]

TASKS: tuple[TaskName, ...] = ("safety_challenging", "safety_contrast", "safety_taxonomy")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskDifference(_Record):
    """One score of one encoder, and how it differs from the first encoder's."""

    score: float
    ci95: tuple[float, float]
    difference: float | None = None
    """Less that of the first encoder; None for itself."""
    difference_ci95: tuple[float, float] | None = None
    """Paired percentile bootstrap over the same items."""
    p_value: float | None = None
    """Of a paired sign-flip permutation test, Holm-corrected over all differences of the table."""


class ComparisonRow(_Record):
    """One encoder."""

    encoder: str
    fingerprint: str
    average_similarity: float
    tasks: dict[TaskName, TaskDifference]


class PublishedScores(_Record):
    """What the paper prints of one encoder; None where it prints nothing."""

    encoder: str
    average_similarity: float
    safety_challenging: float | None = None
    safety_contrast: float | None = None
    safety_taxonomy: float | None = None


class Comparison(_Record):
    """What `compare` found."""

    suite: str
    n: dict[TaskName, int]
    rows: tuple[ComparisonRow, ...]
    """In the order given; the first is what the others are compared with."""
    published: tuple[PublishedScores, ...] = ()
    """Published rows, which no test compares: their items are not known."""


def compare(
    evaluations: Sequence[Evaluation], *, with_published: bool = False, seed: int = 0
) -> Comparison:
    """Compares runs with the first of them, item by item.

    Args:
        evaluations: two or more, on the same data with the same k.
        with_published: add the paper's rows; only for runs on the paper's data.
        seed: of resamples and permutations.

    Raises:
        InputError: fewer than two runs, runs on other data or settings, or no task in common.
    """
    if len(evaluations) < 2:
        raise InputError("a comparison needs two runs or more")
    runs = [one.run for one in evaluations]
    _require_same_data(runs)
    if with_published and runs[0].suite.name != "paper":
        raise InputError(
            f"the published scores are of the paper's data, and these runs are on "
            f"{runs[0].suite.name!r}; run with --suite paper, or leave --with-paper out"
        )
    tasks = [task for task in TASKS if all(score_of(run, task) is not None for run in runs)]
    if not tasks:
        raise InputError("the runs have no task in common")
    items = {task: _items(evaluations, task) for task in tasks}
    found = {
        (task, row): paired_difference(
            _scores(items[task][0]),
            _scores(items[task][row]),
            [item.group for item in items[task][0]] if task == "safety_taxonomy" else None,
            seed=seed,
        )
        for task in tasks
        for row in range(1, len(runs))
    }
    corrected = dict(zip(found, holm([one.p_value for one in found.values()]), strict=True))
    rows = []
    for row, run in enumerate(runs):
        differences: dict[TaskName, TaskDifference] = {}
        for task in tasks:
            score = score_of(run, task)
            assert score is not None  # noqa: S101 - the task is one that all runs have
            other = found.get((task, row))
            differences[task] = TaskDifference(
                score=score[0],
                ci95=score[1],
                difference=other.difference if other else None,
                difference_ci95=other.ci95 if other else None,
                p_value=corrected[task, row] if other else None,
            )
        rows.append(
            ComparisonRow(
                encoder=run.encoder.name,
                fingerprint=run.encoder.fingerprint,
                average_similarity=run.encoder.average_similarity,
                tasks=differences,
            )
        )
    return Comparison(
        suite=runs[0].suite.name,
        n={task: len(items[task][0]) for task in tasks},
        rows=tuple(rows),
        published=published_scores() if with_published else (),
    )


def published_scores() -> tuple[PublishedScores, ...]:
    """The paper's eleven encoders, in its order."""
    text = (resources.files("safe_embed.benchmark") / "published.toml").read_text("utf-8")
    return tuple(
        PublishedScores(encoder=name, **scores) for name, scores in tomllib.loads(text).items()
    )


def score_of(run: Run, task: TaskName) -> tuple[float, tuple[float, float]] | None:
    """The score of one task with its interval; None where the run has not this task."""
    tasks = run.tasks
    if task == "safety_challenging":
        pairs = tasks.safety_challenging
        return (pairs.normalized_similarity, pairs.ci95) if pairs else None
    if task == "safety_contrast":
        sets = tasks.safety_contrast
        return (sets.boundary_similarity, sets.ci95) if sets else None
    prompts = tasks.safety_taxonomy
    return (prompts.categorical_purity, prompts.ci95) if prompts else None


def _require_same_data(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        common = first.suite.digests.keys() & run.suite.digests.keys()
        different = sorted(
            part for part in common if first.suite.digests[part] != run.suite.digests[part]
        )
        if different or first.suite.name != run.suite.name:
            what = ", ".join(different) or f"{first.suite.name} and {run.suite.name}"
            raise InputError(
                f"the runs of {first.encoder.name} and {run.encoder.name} are on different data "
                f"({what}); run both on the same suite again"
            )
        if first.settings.k != run.settings.k:
            raise InputError(
                f"the runs of {first.encoder.name} and {run.encoder.name} have k "
                f"{first.settings.k} and {run.settings.k}; run both with the same --k"
            )


def _items(evaluations: Sequence[Evaluation], task: TaskName) -> list[list[Item]]:
    """The items of one task of each run, in the order of their ids."""
    found = [
        sorted((item for item in one.items if item.task == task), key=lambda item: item.id)
        for one in evaluations
    ]
    ids = [[item.id for item in items] for items in found]
    if not ids[0] or any(one != ids[0] for one in ids[1:]):
        raise InputError(f"the runs hold different items of {task}; run them again on one suite")
    return found


def _scores(items: Sequence[Item]) -> NDArray[np.float64]:
    return np.array([item.score for item in items])
