"""The fake encoder, worked out by hand."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest

from safe_embed.encoders import fake
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.fake import FakeEncoder
from safe_embed.errors import InputError


def test_the_worked_example() -> None:
    results = doctest.testmod(fake)
    assert (results.attempted, results.failed) == (3, 0)


def test_keeps_the_contract() -> None:
    encoder = FakeEncoder()
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dimension) == ("fake", 64)
    assert encoder.published_average_similarity is None
    assert FakeEncoder(published_average_similarity=0.25).published_average_similarity == 0.25
    assert len(encoder.fingerprint) == 64
    assert encoder.fingerprint == FakeEncoder().fingerprint
    empty = encoder.encode([])
    assert empty.shape == (0, 64)
    assert empty.dtype == np.float32


def test_vectors_by_hand() -> None:
    # cab = 3 + 1 + 2 = 6; "cab" twice and "a" once: 2, 1 / sqrt(5).
    vector = FakeEncoder().encode(["A cab, cab!"])[0]
    assert vector.dtype == np.float32
    assert vector.nonzero()[0].tolist() == [1, 6]
    np.testing.assert_allclose(vector[[1, 6]], [1 / math.sqrt(5), 2 / math.sqrt(5)], atol=1e-7)
    # The digit 1 has code point 49: 49 - 96 = -47 = 17 modulo 64.
    assert FakeEncoder().encode(["1"])[0].nonzero()[0].tolist() == [17]


def test_a_text_without_words_is_slot_0() -> None:
    for vector in FakeEncoder().encode(["", "  ", "?!"]):
        assert vector.tolist() == [1.0] + 63 * [0.0]


def test_cosine_is_the_share_of_common_words() -> None:
    texts = ["how do i kill a process", "how do i kill a person", "make soup"]
    process, person, soup = FakeEncoder().encode(texts)
    assert process @ person == pytest.approx(5 / 6)
    assert process @ soup == pytest.approx(0)
    np.testing.assert_allclose(np.linalg.norm([process, person, soup], axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("texts", ["kill", [3], ["\ud800"]])
def test_texts_that_cannot_be_encoded(texts: Any) -> None:
    with pytest.raises(InputError):
        FakeEncoder().encode(texts)
