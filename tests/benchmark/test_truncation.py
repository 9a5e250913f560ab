"""What an encoder cut is told: how many texts, where, and which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from safe_embed.benchmark import BaselinePrompts, Suite, evaluate
from safe_embed.encoders import CountsTokens, load_encoder
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.errors import EncoderError
from safe_embed.records import ContrastSet, PromptPair
from tests.conftest import TableEncoder
from tests.encoders.tiny_models import PROMPTS, write_model, write_modules

BASELINE = BaselinePrompts(name="two", head=("a", "b"), tail=("c", "d"))
LONG = "make a cake " * 10
SUITE = Suite(
    name="s",
    pairs=(
        PromptPair(id="p1", type="t", unsafe="a bomb", safe="a cake"),
        PromptPair(id="p2", type="t", unsafe=LONG, safe="a cake"),
    ),
    contrast_sets=(ContrastSet(id="c1", category="c", original="a", edits=(LONG, LONG + "safe")),),
    baseline=BASELINE,
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = write_model(tmp_path / "tiny")
    write_modules(directory, max_seq_length=12)
    return directory


@pytest.mark.parametrize("cache", [False, True])
def test_texts_that_were_cut_are_named(directory: Path, cache: bool):  # noqa: FBT001
    for _ in range(2):  # the second time from the cache
        truncation = evaluate(load_encoder(directory, cache=cache), SUITE).run.truncation
        assert truncation is not None
        assert truncation.max_tokens == 12
        assert truncation.n == 2
        assert truncation.items == ("safety_challenging p2", "safety_contrast c1")


def test_nothing_is_cut_where_all_fits(tmp_path: Path):
    truncation = evaluate(load_encoder(write_model(tmp_path / "tiny")), SUITE).run.truncation
    assert truncation is not None
    assert (truncation.n, truncation.items) == (0, ())


def test_an_encoder_that_cannot_tell():
    vectors = dict.fromkeys((*SUITE.texts(["safety_challenging"]), "a"), (1.0, 0.5))
    run = evaluate(TableEncoder(vectors), SUITE, tasks=["safety_challenging"]).run
    assert run.truncation is None


def test_counts_are_those_without_a_limit(directory: Path, tmp_path: Path):
    short, long = load_encoder(directory), load_encoder(write_model(tmp_path / "other"))
    assert isinstance(short, CountsTokens)
    assert isinstance(long, CountsTokens)
    texts = [*PROMPTS, LONG, "bomb " * 100]
    np.testing.assert_array_equal(short.count_tokens(texts), long.count_tokens(texts))
    assert short.count_tokens(texts).max() == 102
    assert short.count_tokens([]).shape == (0,)


class Failing:
    """A session that has room for two texts at a time."""

    def __init__(self, session: object, room: int) -> None:
        self.session, self.room, self.sizes = session, room, list[int]()

    def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> object:
        self.sizes.append(len(inputs["input_ids"]))
        if self.sizes[-1] > self.room:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 9")
        return self.session.run(outputs, inputs)  # type: ignore[attr-defined]


def test_a_batch_that_does_not_fit_is_halved(directory: Path):
    encoder = load_encoder(directory)
    assert isinstance(encoder, OnnxEncoder)
    texts = [f"make a {letter}" for letter in "abcdefghijk"]
    expected = encoder.encode(texts)
    failing = Failing(encoder._session, room=2)
    encoder._session = failing  # type: ignore[assignment]
    np.testing.assert_array_equal(encoder.encode(texts), expected)
    assert max(failing.sizes) == 11
    failing.room = 0
    with pytest.raises(EncoderError, match="Failed to allocate"):
        encoder.encode(texts)
