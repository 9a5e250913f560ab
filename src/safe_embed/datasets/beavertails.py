"""The paper's two samples of 500 prompts, from whose pairs the average similarity is taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from safe_embed.datasets.catalogue import row
from safe_embed.datasets.formats import load_records
from safe_embed.errors import DataError
from safe_embed.records import Label, Prompt

__all__ = ["HeadTail", "load_head_tail", "sample_head_tail"]

SAMPLE_SIZE = 500
SEED = 42


class HeadTail(NamedTuple):
    """Two disjoint samples."""

    head: list[Prompt]
    tail: list[Prompt]


def load_head_tail(path: Path | str) -> HeadTail:
    """Reads a file of BeaverTails `30k_train` and draws the two samples from it.

    Args:
        path: CSV, JSONL or Parquet with the columns `prompt` and `is_safe`; others are ignored.

    Raises:
        DataError: the file cannot be read, or has fewer than 500 prompts of a label.
    """
    one = row("beavertails-30k")
    file = load_records(path, "prompts", allow=one.allow, ignore=one.ignore)
    return sample_head_tail(file.prompts, source=path)


def sample_head_tail(prompts: Iterable[Prompt], *, source: Path | str = "prompts") -> HeadTail:
    """Draws two disjoint samples of 500 prompts as the paper does (its section 3).

    Of prompts with the same text the first is kept. 500 safe and 500 unsafe ones are drawn with
    seed 42 and put one after the other; the head is 500 of these, drawn with seed 42, the tail is
    the rest in order. The draws are those of pandas, `DataFrame.sample(n=500, random_state=42)`.

    Args:
        prompts: labelled prompts in the order of their file, on which the draw depends.
        source: names the prompts in an error.

    Raises:
        DataError: fewer than 500 distinct prompts of a label.
    """
    distinct: dict[str, Prompt] = {}
    for prompt in prompts:
        distinct.setdefault(prompt.text, prompt)
    drawn: list[Prompt] = []
    for label in _LABELS:
        own = [prompt for prompt in distinct.values() if prompt.label == label]
        if len(own) < SAMPLE_SIZE:
            raise DataError(
                source,
                f"has {len(own):,} distinct prompts labelled {label}, must have at least "
                f"{SAMPLE_SIZE}; use the whole split 30k_train of BeaverTails",
            )
        drawn += [own[index] for index in _sample(own)]
    chosen = _sample(drawn)
    rest = sorted(set(range(len(drawn))) - set(chosen))
    return HeadTail([drawn[index] for index in chosen], [drawn[index] for index in rest])


_LABELS: tuple[Label, ...] = ("safe", "unsafe")


def _sample(items: Sequence[object]) -> list[int]:
    import numpy as np  # so that naming a data set does not import it

    # The legacy generator, because pandas draws with it and NumPy keeps its stream for ever.
    generator = np.random.RandomState(SEED)
    return [int(i) for i in generator.choice(len(items), size=SAMPLE_SIZE, replace=False)]
