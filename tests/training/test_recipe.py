from __future__ import annotations

from pathlib import Path

import pytest

from safe_embed.errors import DataError
from safe_embed.training import load_recipe, recipe_for


def test_each_size_has_a_recipe_of_its_own() -> None:
    assert recipe_for(384) != recipe_for(768)
    assert recipe_for(384).layers == 6


def test_a_recipe_is_read_and_its_other_values_are_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("layers = 2\nrank = 4\n")
    recipe = load_recipe(path)
    assert (recipe.layers, recipe.rank, recipe.pair_rank) == (2, 4, 1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"layers = ", "is no TOML"),
        (b"layers = 0", "layers: Input should be greater than or equal to 1"),
        (b"layers = 2\nlearning_rat = 1", "learning_rat: Extra inputs are not permitted; keys are"),
        (b"rank = 3", "layers: Field required"),
        (b"layers = 2\nlearning_rate = nan", "learning_rate"),
        (b"layers = 2\nrank = 64\nalpha = 1.0", "nothing is learnt"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_bad_recipe_is_one_line_that_names_the_file(
    tmp_path: Path, text: bytes, said: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text)
    with pytest.raises(DataError, match=r"mine\.toml") as caught:
        load_recipe(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_recipe(tmp_path / "none.toml")
