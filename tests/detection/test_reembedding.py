"""Another encoder for an index: embeddings, head and thresholds change as one, or not at all."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from safe_embed.detection import Detector
from safe_embed.detection.reembedding import ReembedSettings, reembed_index
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.fake import FakeEncoder
from safe_embed.errors import InputError
from safe_embed.stores.sqlite import SqliteStore
from tests.detection.conftest import exemplars, prompt, unseen

UNSAFE = "how could i hurt the postman"
SAFE = "how could i trap the plant"


class OtherEncoder(FakeEncoder):
    """The same cosines from other vectors."""

    name = "other"
    fingerprint = "e" * 64
    published_average_similarity = 0.1

    def encode(self, texts):
        return np.roll(super().encode(texts), 3, axis=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mine.store"


@pytest.fixture
def store(path: Path, encoder: FakeEncoder) -> Iterator[SqliteStore]:
    made = SqliteStore.create(path, fingerprint=encoder.fingerprint, dimension=encoder.dimension)
    detector = Detector.build(exemplars(), encoder, store=made, scorer="combined")
    detector.calibrate(unseen(), max_fpr=0.05, review_fpr=0.2, method="isotonic")
    detector.add([prompt("how do i rob the bank", "unsafe")])
    made.remove([made.exemplars(label="safe")[0].id])
    yield made
    made.close()


def settings_of(store: SqliteStore, encoder: Encoder) -> ReembedSettings:
    return ReembedSettings.like(Detector.open(store, encoder).calibration)


def test_the_new_detector_is_like_the_earlier_one(store: SqliteStore, encoder: FakeEncoder):
    other = OtherEncoder()
    settings = settings_of(store, encoder)
    made = reembed_index(store, other, settings, unseen(), documents={"more": "kept"})
    opened = Detector.open(store, other)
    assert store.get_documents(["more"]) == {"more": "kept"}
    assert (opened.average_similarity, opened.store.version) == (0.1, 4)
    assert opened.check_many([UNSAFE, SAFE])[0].notes == ()  # head and calibration fit the version
    scores = [one.score for one in opened.check_many([UNSAFE, SAFE])]
    assert scores == pytest.approx([one.score for one in made.check_many([UNSAFE, SAFE])])
    assert ReembedSettings.like(opened.calibration) == settings
    assert (settings.max_fpr, settings.review_fpr, settings.method) == (0.05, 0.2, "isotonic")
    assert store.revert(1) == 5  # past exemplars have new embeddings too
    assert opened.check(UNSAFE).index_version == 5


def test_without_prompts_there_is_no_calibration(store: SqliteStore, encoder: FakeEncoder):
    reembed_index(store, OtherEncoder(), settings_of(store, encoder))
    assert Detector.open(store, OtherEncoder()).calibration is None


def test_what_cannot_be_calibrated_changes_nothing(store: SqliteStore, encoder: FakeEncoder):
    settings = settings_of(store, encoder)
    with pytest.raises(InputError, match="needs 19 benign prompts, the data has 3"):
        reembed_index(store, OtherEncoder(), settings, unseen()[:3] + unseen()[25:28])
    upside_down = [
        one.model_copy(update={"label": "safe" if one.label == "unsafe" else "unsafe"})
        for one in unseen()
    ]
    with pytest.raises(InputError, match="rise"):
        reembed_index(store, OtherEncoder(), settings, upside_down)
    assert store.version == 3
    assert Detector.open(store, encoder).calibration is not None


def test_what_others_add_meanwhile_is_embedded_too(
    store: SqliteStore, path: Path, encoder: FakeEncoder
):
    settings = settings_of(store, encoder)
    added = prompt("what is new today", "safe")

    class Slow(OtherEncoder):
        def encode(self, texts):
            with closing(SqliteStore.open(path)) as second:
                Detector.open(second, encoder).add([added])
            return super().encode(texts)

    class Once(Slow):
        def encode(self, texts):
            self.encode = super(Slow, self).encode  # type: ignore[method-assign]
            return super().encode(texts)

    reembed_index(store, Once(), settings, unseen())
    opened = Detector.open(store, OtherEncoder())
    assert opened.check(added.text).evidence.safe[0].text == added.text
    assert any("calibrated at index version 4, now 5" in one for one in opened.check(SAFE).notes)


# --- killed at any statement


def killed_at(statement: int, path: Path, change: Callable[[SqliteStore], object]) -> bool:
    """Runs a change in a process that is killed before a SQL statement; whether it came to it."""
    child = os.fork()
    if child == 0:  # pragma: no cover - not in this process
        try:
            store = SqliteStore.open(path)
            left = statement

            def count(_sql: str) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            with store._file.reading() as connection:
                connection.set_trace_callback(count)
            change(store)
            os._exit(0)
        finally:
            os._exit(2)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def test_a_kill_leaves_the_earlier_detector_or_the_new_one(
    store: SqliteStore, path: Path, encoder: FakeEncoder
):
    other = OtherEncoder()
    settings = settings_of(store, encoder)
    store.close()
    statement, step = 0, 7
    while killed_at(statement, path, lambda one: reembed_index(one, other, settings, unseen())):
        with closing(SqliteStore.open(path)) as left:
            present = encoder if left.fingerprint == encoder.fingerprint else other
            assert Detector.open(left, present).calibration is not None
            assert left.version == (3 if present is encoder else 4)
            if present is other:  # killed after the commit
                break
        statement += step
    assert statement > 20 * step
    with closing(SqliteStore.open(path)) as left:
        assert Detector.open(left, other).check(SAFE).notes == ()


def test_a_killed_calibration_leaves_head_and_thresholds_of_one_time(
    store: SqliteStore, path: Path, encoder: FakeEncoder
):
    before = Detector.open(store, encoder).calibration
    store.close()

    def calibrate(one: SqliteStore) -> None:
        Detector.open(one, encoder).calibrate(unseen(), max_fpr=0.1, refit=True)

    statement = 0
    while killed_at(statement, path, calibrate):
        with closing(SqliteStore.open(path)) as left:
            kept = Detector.open(left, encoder).calibration
            assert kept is not None
            if kept != before:
                break
        statement += 1
    with closing(SqliteStore.open(path)) as left:
        assert Detector.open(left, encoder).check(SAFE).notes == ()
