"""Any records, written in each format, are read back as they were."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safe_embed.datasets.columns import KINDS, Kind, Record
from safe_embed.datasets.formats import load_records, normalised_text
from safe_embed.datasets.tables import write_parquet
from safe_embed.records import ContrastSet, Prompt, PromptPair

text = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
).filter(str.strip)
records_of: dict[Kind, st.SearchStrategy[Record]] = {
    "pairs": st.builds(
        PromptPair, id=text, type=text, unsafe=text, safe=text, focus=st.none() | text
    ),
    "contrast sets": st.builds(
        ContrastSet,
        id=text,
        category=text,
        original=text,
        edits=st.lists(text, min_size=1, max_size=4).map(tuple),
    ),
    "prompts": st.builds(
        Prompt,
        id=text,
        text=text,
        label=st.sampled_from(["unsafe", "safe", None]),
        category=st.none() | text,
    ),
}


def texts_of(record: Record) -> list[str]:
    match record:
        case PromptPair():
            return [record.unsafe, record.safe]
        case ContrastSet():
            return [record.original]
        case Prompt():
            return [record.text]


def usable(records: Sequence[Record]) -> bool:
    texts = [normalised_text(one) for record in records for one in texts_of(record)]
    sets = [
        [normalised_text(one) for one in (record.original, *record.edits)]
        for record in records
        if isinstance(record, ContrastSet)
    ]
    ids = [record.id for record in records]
    return all(len(set(group)) == len(group) for group in (texts, ids, *sets))


def write_records(path: Path, records: Sequence[Record]) -> None:
    values = [record.model_dump(mode="json") for record in records]
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, values)), "utf-8")
    elif path.suffix == ".parquet":
        write_parquet(path, {name: [value[name] for value in values] for name in values[0]})
    else:
        for value in values:
            for number, edit in enumerate(value.pop("edits", ()), 1):
                value[f"edit_{number}"] = edit
        header = list(dict.fromkeys(name for value in values for name in value))
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, header)
            writer.writeheader()
            writer.writerows(values)


@pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(data=st.data())
def test_any_records_are_read_back_as_they_were(
    tmp_path: Path, kind: Kind, extension: str, data: st.DataObject
) -> None:
    records = data.draw(st.lists(records_of[kind], min_size=1, max_size=5).filter(usable))
    path = tmp_path / f"a.{extension}"
    write_records(path, records)
    assert load_records(path).records == tuple(records)
