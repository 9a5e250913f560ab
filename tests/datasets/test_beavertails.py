from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safe_embed.datasets.beavertails import load_head_tail, sample_head_tail
from safe_embed.datasets.tables import write_parquet
from safe_embed.errors import DataError
from safe_embed.records import Prompt

# Drawn with pandas 3.1.1 from prompts p0 to p1999, of which each second one is safe.
HEAD = ["p349", "p1927", "p7", "p1191", "p1840"]
TAIL = ["p1474", "p822", "p1718", "p1946", "p1876"]


def synthetic(n: int, seed: int) -> list[dict[str, Any]]:
    """Rows as BeaverTails has them: a prompt repeats, with both labels."""
    random = np.random.default_rng(seed)
    return [
        {
            "prompt": f"prompt {random.integers(n)}",
            "response": f"answer\n{number}",
            "category": {"animal_abuse": False},
            "is_safe": bool(random.random() < 0.4),
        }
        for number in range(n)
    ]


def by_pandas(rows: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The paper's own steps."""
    pandas = pytest.importorskip("pandas", reason="pandas is the reference for its own sampling")
    frame = pandas.DataFrame(rows).drop_duplicates(subset=["prompt"])
    safe = frame[frame["is_safe"]].sample(n=500, random_state=42)
    unsafe = frame[~frame["is_safe"]].sample(n=500, random_state=42)
    both = pandas.concat([safe, unsafe])
    head = both.sample(n=500, random_state=42)
    tail = both.drop(head.index)
    return head["prompt"].to_list(), tail["prompt"].to_list()


def prompts_of(rows: list[dict[str, Any]]) -> list[Prompt]:
    return [
        Prompt(id=str(i), text=row["prompt"], label="safe" if row["is_safe"] else "unsafe")
        for i, row in enumerate(rows)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_draws_what_pandas_draws(seed: int) -> None:
    rows = synthetic(5000, seed)
    head, tail = sample_head_tail(prompts_of(rows))
    assert ([one.text for one in head], [one.text for one in tail]) == by_pandas(rows)


def test_the_samples_are_disjoint_and_balanced_together() -> None:
    head, tail = sample_head_tail(prompts_of(synthetic(5000, 7)))
    assert len(head) == len(tail) == 500
    assert len({one.text for one in (*head, *tail)}) == 1000
    assert sum(one.label == "safe" for one in (*head, *tail)) == 500


def test_the_draw_is_pinned() -> None:
    rows = [{"prompt": f"p{i}", "is_safe": i % 2 == 0} for i in range(2000)]
    head, tail = sample_head_tail(prompts_of(rows))
    assert [one.text for one in head[:5]] == HEAD
    assert [one.text for one in tail[:5]] == TAIL


def test_of_a_repeated_prompt_the_first_counts() -> None:
    rows = synthetic(5000, 1)
    late = [{"prompt": row["prompt"], "is_safe": not row["is_safe"]} for row in rows]
    assert sample_head_tail(prompts_of(rows + late)) == sample_head_tail(prompts_of(rows))


def test_too_few_of_a_label() -> None:
    rows = [{"prompt": f"p{i % 999}", "is_safe": i % 999 < 499} for i in range(3000)]
    with pytest.raises(DataError, match=r"bt.csv: has 499 distinct prompts labelled safe, must"):
        sample_head_tail(prompts_of(rows), source="bt.csv")
    unlabelled = [Prompt(id=str(i), text=str(i)) for i in range(2000)]
    with pytest.raises(DataError, match="has 0 distinct prompts labelled safe"):
        sample_head_tail(unlabelled)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet"])
def test_reads_a_file_of_each_format(tmp_path: Path, name: str) -> None:
    rows = synthetic(4000, 3)
    path = tmp_path / name
    if name.endswith(".parquet"):
        columns = {key: [row[key] for row in rows] for key in ("prompt", "response", "is_safe")}
        write_parquet(path, columns)
    elif name.endswith(".csv"):
        pandas = pytest.importorskip("pandas", reason="users write the CSV with pandas")
        pandas.DataFrame(rows).to_csv(path)
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    head, tail = load_head_tail(path)
    expected = sample_head_tail(prompts_of(rows))
    assert [one.text for one in head] == [one.text for one in expected.head]
    assert [one.text for one in tail] == [one.text for one in expected.tail]


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt\nx\n", "utf-8")
    with pytest.raises(DataError, match=r"a\.csv: has 0 distinct prompts"):
        load_head_tail(tmp_path / "a.csv")
