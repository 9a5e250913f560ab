from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safe_embed.datasets.tables import Row, read_parquet, read_table, write_parquet
from safe_embed.errors import DataError, InputError, StorageError

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def rows(path: Path) -> list[Row]:
    found = list(read_table(path))
    assert all(isinstance(row, Row) for row in found), found
    return found  # type: ignore[return-value]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(
            any_text,
            st.floats(),
            st.integers(-(2**63), 2**63 - 1),
            st.lists(st.integers(-5, 5), max_size=3),
            st.lists(any_text, max_size=3),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_parquet_round_trip(tmp_path: Path, values: list[tuple[Any, ...]]) -> None:
    path = tmp_path / "a.parquet"
    columns = dict(
        zip(
            ["text", "real", "int", "ints", "texts", "bool"],
            map(list, zip(*values, strict=True)),
            strict=True,
        )
    )
    write_parquet(path, columns)
    assert repr(read_parquet(path)) == repr(columns)  # repr, because NaN is not NaN
    found = rows(path)
    assert [row.number for row in found] == list(range(1, len(values) + 1))
    assert repr([tuple(row.values.values()) for row in found]) == repr(values)


def test_parquet_takes_arrays_tuples_and_what_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(
        path,
        {
            "f32": np.array([1.5, math.inf], np.float32),
            "i8": np.array([1, 2], np.int8),
            "matrix": np.arange(4).reshape(2, 2),
            "scalars": [np.float32(0.5), np.int64(2)],
            "tuples": [("a",), ()],
            "holes": ["a", None],
            "nothing": [None, None],
            "empty lists": [[], []],
            'quo"te': [1, 2.5],
            "reals": [[0.1, None], [5e-324]],
        },
    )
    assert read_parquet(path) == {
        "f32": [1.5, math.inf],
        "i8": [1, 2],
        "matrix": [[0, 1], [2, 3]],
        "scalars": [0.5, 2.0],
        "tuples": [["a"], []],
        "holes": ["a", None],
        "nothing": [None, None],
        "empty lists": [[], []],
        'quo"te': [1.0, 2.5],
        "reals": [[0.1, None], [5e-324]],
    }


def test_parquet_of_no_rows(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"a": [], "b": []})
    assert read_parquet(tmp_path / "a.parquet") == {"a": [], "b": []}
    with pytest.raises(DataError, match="holds no rows"):
        list(read_table(tmp_path / "a.parquet"))


@pytest.mark.parametrize("name", ["it's", "a*", "a[b]", "a?", "~", "-", "a b", "ä", "k=v", 'q"'])
def test_parquet_names_stand_for_themselves(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    for path in (Path(name) / f"{name}.parquet", Path(f"{name}.parquet")):
        write_parquet("ab.parquet", {"other": [0]})
        write_parquet(path, {"a": [1]})
        assert read_parquet(path) == {"a": [1]}
        assert rows(path) == [Row(1, {"a": 1})]


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({}, ValueError, "at least one"),
        ({"a": [1], "b": []}, ValueError, "same length"),
        ({"": [1]}, ValueError, "blank"),
        ({"a": [1], "A": [2]}, ValueError, "equal but for case"),
        ({"a": [1, "x"]}, InputError, "one type, holds int, str"),
        ({"a": [{}]}, InputError, "one type, holds dict"),
        ({"a": ["\ud800"]}, InputError, "'a' holds a text with a lone surrogate"),
        ({"a": [["x", "\ud800"]]}, InputError, "lone surrogate"),
        ({"a": [2**63]}, InputError, "does not fit"),
    ],
)
def test_parquet_refuses(
    tmp_path: Path, columns: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_parquet(tmp_path / "a.parquet", columns)
    assert not list(tmp_path.iterdir())


def test_parquet_into_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StorageError):
        write_parquet(tmp_path / "a" / "b.parquet", {"a": [1]})


def test_parquet_types_that_we_have_no_use_for_come_as_text(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas and pyarrow to write such a file")
    pytest.importorskip("pyarrow", reason="needs pandas and pyarrow to write such a file")
    frame = pandas.DataFrame(
        {
            "time": pandas.to_datetime(["2020-01-01"]).tz_localize("UTC"),
            "bytes": ["ä".encode()],
            "broken": [b"\xff"],
            "object": [{"a": 1}],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    (row,) = rows(tmp_path / "a.parquet")
    assert row.values == {
        "time": "2020-01-01 00:00:00+00",
        "bytes": "ä",
        "broken": "\udcff",
        "object": "{'a': 1}",
    }


def test_a_hundred_thousand_rows_are_quick(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"a": [str(i) for i in range(100_000)]})
    assert sum(1 for _ in read_table(tmp_path / "a.parquet")) == 100_000
