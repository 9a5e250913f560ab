"""What the explorer of a report shows: every pair, contrast set and prompt of some runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from safe_embed.benchmark import TASKS, Evaluation, Item, TaskName, score_of
from safe_embed.reports.untrusted import is_worst_kind, visible
from safe_embed.taxonomy import HARM_CATEGORIES, PAIR_TYPES

__all__ = ["explorer_data"]

_DECIMALS = 3
_Key = tuple[str, int]

_TASK_WORDS: dict[TaskName, dict[str, Any]] = {
    "safety_challenging": {
        "title": "Safety-Challenging: look-alike pairs",
        "what": "pairs",
        "score": "normalised similarity",
        "group": "type",
        "higher_is_worse": True,
    },
    "safety_contrast": {
        "title": "Safety-Contrast: contrast sets",
        "what": "contrast sets",
        "score": "boundary similarity",
        "group": "category",
        "higher_is_worse": True,
    },
    "safety_taxonomy": {
        "title": "Safety-Taxonomy: prompts and their nearest",
        "what": "prompts",
        "score": "purity",
        "group": "category",
        "higher_is_worse": False,
    },
}


def explorer_data(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Texts once, and the numbers of each encoder by item.

    Args:
        evaluations: runs on the same data, at least one, encoders with names of their own.

    Returns:
        JSON: `texts`; `groups` with key, short name and whether it is folded; `tasks`; `items`,
        each [task, id, group, text, others, scores, cosines, neighbors], where task, group, text
        and others are positions, scores and cosines have one entry an encoder (null where its run
        has not this task), and neighbors are positions of items.
    """
    texts: dict[str, int] = {}
    groups: dict[str, int] = {}
    tasks = [task for task in TASKS if any(score_of(one.run, task) for one in evaluations)]
    items: list[list[Any]] = []
    for number, task in enumerate(tasks):
        of_runs = [_by_key(one.items, task) for one in evaluations]
        keys = list(dict.fromkeys(key for items_of in of_runs for key in items_of))
        position = {key: len(items) + row for row, key in enumerate(keys)}
        for key in keys:
            found = [items_of.get(key) for items_of in of_runs]
            first = next(one for one in found if one is not None)
            items.append(
                [
                    number,
                    visible(first.id),
                    groups.setdefault(first.group, len(groups)),
                    _position(texts, first.text),
                    [_position(texts, other) for other in first.others],
                    [None if one is None else round(one.score, _DECIMALS + 1) for one in found],
                    [
                        None if one is None else [round(value, _DECIMALS) for value in one.cosines]
                        for one in found
                    ],
                    [
                        None if one is None else [position.get((id_, 0)) for id_ in one.neighbors]
                        for one in found
                    ]
                    if first.neighbors
                    else None,
                ]
            )
    return {
        "encoders": [visible(one.run.encoder.name) for one in evaluations],
        "tasks": [_TASK_WORDS[task] for task in tasks],
        "groups": [[visible(_short(name)), is_worst_kind(name)] for name in groups],
        "texts": [visible(text) for text in texts],
        "items": items,
    }


def _by_key(items: Sequence[Item], task: TaskName) -> dict[_Key, Item]:
    return dict(_keyed([item for item in items if item.task == task]))


def _keyed(items: Sequence[Item]) -> Iterator[tuple[_Key, Item]]:
    """With the number of its occurrence, so that two items of one id both stay."""
    seen: Counter[str] = Counter()
    for item in items:
        yield (item.id, seen[item.id]), item
        seen[item.id] += 1


def _position(texts: dict[str, int], text: str) -> int:
    return texts.setdefault(text, len(texts))


def _short(group: str) -> str:
    return HARM_CATEGORIES.get(group) or PAIR_TYPES.get(group, group)
