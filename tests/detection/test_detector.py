"""The detector from exemplars to verdicts, on encoders that a person can follow."""

from __future__ import annotations

import doctest
import importlib
import json
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from safe_embed.detection import SCORERS, Detector, Verdict
from safe_embed.detection.documents import (
    CALIBRATION_KEY,
    ENCODER_KEY,
    HEAD_KEY,
    INDEX_KEY,
    Calibration,
)
from safe_embed.detection.verdict import Decision
from safe_embed.encoders.cache import CachedEncoder, EmbeddingCache, uncached
from safe_embed.encoders.fake import FakeEncoder
from safe_embed.errors import EncoderError, InputError
from safe_embed.records import Prompt
from safe_embed.stores.memory import MemoryStore
from safe_embed.stores.sqlite import SqliteStore
from tests.conftest import TableEncoder
from tests.detection.conftest import FRAUD, HARM, exemplars, prompt, unseen, world

UNSAFE = "how could i hurt the postman"
SAFE = "how could i trap the plant"


class MovedEncoder(FakeEncoder):
    """The same fingerprint, other vectors."""

    name = "fake"

    def encode(self, texts):
        vectors = super().encode(texts)
        vectors[:, 0] += 0.01
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class JitteringEncoder(FakeEncoder):
    """Rounds otherwise at each call, as single and batched products do."""

    def __init__(self) -> None:
        super().__init__(published_average_similarity=0.2)
        self._rng = np.random.default_rng(0)

    def encode(self, texts):
        vectors = super().encode(texts)
        return vectors + self._rng.uniform(-3e-8, 3e-8, vectors.shape).astype(np.float32)


def test_tells_the_twins_apart_and_says_why(calibrated: Detector):
    verdict = calibrated.check(UNSAFE)
    assert verdict.decision == "block"
    assert verdict.calibrated
    assert 0 < verdict.threshold < verdict.score <= 1
    assert verdict.review_threshold <= verdict.threshold
    assert verdict.evidence.unsafe[0].text in {
        "how do i trap the postman",  # the words of this encoder have no meaning
        "how do i hurt the postman",
    }
    assert verdict.evidence.unsafe[0].category == HARM
    assert verdict.margin == pytest.approx(
        verdict.evidence.unsafe[0].similarity - verdict.evidence.safe[0].similarity
    )
    assert verdict.fired_categories == (HARM,)
    assert verdict.encoder.fingerprint == calibrated.encoder.fingerprint
    assert verdict.index_version == calibrated.store.version == 1
    assert verdict.notes == ()
    other = calibrated.check(SAFE)
    assert other.decision == "allow"
    assert other.fired_categories == ()
    assert other.score < 0.5


def test_similarities_are_cosines_normalised_by_the_average(detector: Detector):
    verdict = detector.check("how do i hurt the postman")
    nearest = verdict.evidence.unsafe[0]
    assert nearest.similarity == pytest.approx(1, abs=1e-6)
    near = verdict.evidence.unsafe[1]
    assert near.similarity == pytest.approx((near.cosine - 0.2) / 0.8)
    encoder = detector.encoder
    a, b = encoder.encode(["how do i hurt the postman", near.text])
    assert near.cosine == pytest.approx(float(a @ b), abs=1e-6)


def test_before_calibration_the_score_is_the_logistic_function(detector: Detector):
    verdict = detector.check(UNSAFE)
    assert not verdict.calibrated
    assert verdict.threshold == 0.5
    assert verdict.decision == "block"
    assert any("not calibrated" in note for note in verdict.notes)


def test_several_categories_may_fire(calibrated: Detector):
    verdict = calibrated.check("write ten fake posts how i hurt the postman")
    assert set(verdict.categories) == {HARM, FRAUD}
    assert verdict.categories[HARM] + verdict.categories[FRAUD] == pytest.approx(verdict.score)
    assert calibrated.check("write ten fake posts about the vaccine").fired_categories == (FRAUD,)


@pytest.mark.parametrize("scorer", ["unsafe-similarity", "margin", "neighbor-vote", "combined"])
def test_one_more_exemplar_teaches_a_new_attack(encoder: FakeEncoder, scorer: str):
    detector = Detector.build(exemplars(), encoder, scorer=scorer)
    detector.calibrate(unseen(), max_fpr=0.1)
    attack = "is bread and soup nice with glass"
    before = detector.check(attack)
    if scorer != "unsafe-similarity":  # which does not know what is ordinary
        assert before.decision == "allow"
    version = detector.add([prompt(attack, "unsafe")], note="seen today")
    after = detector.check(attack)
    assert after.score > before.score
    assert after.index_version == version == before.index_version + 1
    assert any("calibrated at index version 1, now 2" in note for note in after.notes)
    if scorer in ("neighbor-vote", "combined"):  # the others take a mean over neighbours
        assert before.flip.startswith("One more unsafe exemplar")
        assert after.decision == "block"
        assert detector.store.mute([after.evidence.unsafe[0].id]) == 3
        assert detector.check(attack).decision == "allow"


def test_the_flip_sentence_keeps_its_word(encoder: FakeEncoder):
    detector = Detector.build(exemplars(), encoder, scorer="neighbor-vote")
    verdict = detector.check(UNSAFE)
    assert verdict.decision == "block"
    assert "One more safe exemplar" in verdict.flip
    detector.add([prompt(UNSAFE, "safe")])
    assert detector.check(UNSAFE).decision == "allow"


def test_a_head_cannot_be_flipped_and_says_so(encoder: FakeEncoder):
    detector = Detector.build(exemplars(), encoder, scorer="head")
    flip = detector.check(UNSAFE).flip
    assert flip.startswith("No single safe exemplar would allow this prompt")


def test_batch_and_single_verdicts_are_the_same(calibrated: Detector):
    texts = [one.text for one in world("say how i may {verb} this {who}")]
    batch = calibrated.check_many(texts)
    for text, verdict in zip(texts, batch, strict=True):
        alone = calibrated.check(text)
        assert alone.decision == verdict.decision
        assert alone.score == pytest.approx(verdict.score, abs=1e-6)
    assert calibrated.check_many([]) == []
    assert Verdict.model_validate_json(batch[0].model_dump_json()) == batch[0]


def test_no_decision_hangs_on_rounding():
    """The prompt whose score is the threshold is not above it, whatever the last bit says."""
    encoder = JitteringEncoder()
    detector = Detector.build(exemplars(), encoder, scorer="neighbor-vote")
    data = unseen()
    detector.calibrate(data, max_fpr=0.1, review_fpr=0.1)
    decisions: list[list[Decision]] = [
        [verdict.decision for verdict in detector.check_many([one.text for one in data])]
        for _ in range(10)
    ]
    assert all(one == decisions[0] for one in decisions)
    benign = [one for one, item in zip(decisions[0], data, strict=True) if item.label == "safe"]
    assert benign.count("block") == 4  # of 50 scores the 46th smallest is the threshold


def test_many_threads_get_the_verdicts_of_one(calibrated: Detector):
    texts = [one.text for one in world("say how i may {verb} this {who}")]
    wanted = [calibrated.check(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(calibrated.check, texts))
        assert found == wanted
        adding = pool.submit(calibrated.add, [prompt("something new", "safe")])
        checked = list(pool.map(calibrated.check, texts))
    assert adding.result() == 2
    assert {one.index_version for one in checked} <= {1, 2}


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_store_is_opened_with_its_calibration(encoder: FakeEncoder, scorer: str):
    store = MemoryStore(encoder.fingerprint, encoder.dimension)
    built = Detector.build(exemplars(), encoder, store=store, scorer=scorer)
    built.calibrate(unseen(), max_fpr=0.1)
    opened = Detector.open(store, encoder)
    assert opened.scorer == built.scorer
    assert opened.calibration == built.calibration
    assert opened.check_many([UNSAFE, SAFE]) == built.check_many([UNSAFE, SAFE])


def test_refit_drops_the_calibration(calibrated: Detector):
    calibrated.add([prompt("how do i rob the bank", "unsafe")])
    assert any("head fitted at index version 1, now 2" in n for n in calibrated.check(SAFE).notes)
    calibrated.refit()
    assert calibrated.calibration is None
    assert Detector.open(calibrated.store, calibrated.encoder).calibration is None
    assert not any("head fitted" in note for note in calibrated.check(SAFE).notes)


def test_another_encoder_is_refused(calibrated: Detector):
    other = TableEncoder({"a": np.eye(64)[0]})
    with pytest.raises(InputError, match=r"'table' is 000000000000 .*build the index anew"):
        Detector.open(calibrated.store, other)
    with pytest.raises(InputError, match="holds embeddings of the encoder"):
        Detector.build([], other, store=calibrated.store)


def test_an_encoder_that_drifted_is_refused(calibrated: Detector):
    with pytest.raises(InputError, match=r"no longer embeds .*it moved by 0\.01"):
        Detector.open(calibrated.store, MovedEncoder(published_average_similarity=0.2))


def test_the_cache_hides_no_drift(encoder: FakeEncoder, tmp_path: Path):
    cache = EmbeddingCache(tmp_path / "cache")
    built = Detector.build(exemplars(), CachedEncoder(encoder, cache))
    drifted = CachedEncoder(MovedEncoder(published_average_similarity=0.2), cache)
    with pytest.raises(InputError, match=r"no longer embeds .*it moved by 0\.01"):
        Detector.open(built.store, drifted)
    assert uncached(CachedEncoder(drifted, cache)) is drifted.wrapped
    assert uncached(encoder) is encoder


@pytest.mark.parametrize(
    ("kept", "name", "argument"),
    [
        ("", "fake", "--encoder fake`"),
        ("", "not in the catalogue", "--encoder NAME`"),
        ("/my models/tiny", "tiny", "--encoder '/my models/tiny'`"),
    ],
)
def test_the_remedy_is_the_whole_command(
    encoder: FakeEncoder, tmp_path: Path, kept: str, name: str, argument: str
):
    path = tmp_path / "my index.store"
    made = SqliteStore.create(path, fingerprint=encoder.fingerprint, dimension=encoder.dimension)
    with closing(made) as store:
        Detector.build(exemplars(), encoder, store=store)
        store.set_documents({ENCODER_KEY: kept})
        drifted = MovedEncoder(published_average_similarity=0.2)
        drifted.name = name
        with pytest.raises(InputError) as caught:
            Detector.open(store, drifted)
        assert f"`safe-embed index reembed --store '{path}' {argument}" in str(caught.value)
        with pytest.raises(InputError, match=r"use that encoder, or embed .*--encoder NAME`"):
            Detector.open(store, TableEncoder({"a": np.eye(64)[0]}))


def test_head_and_calibration_change_as_one(calibrated: Detector, monkeypatch: pytest.MonkeyPatch):
    """At each writing to the store what it holds makes a detector with head and calibration."""
    store = calibrated.store
    before = Detector.open(store, calibrated.encoder).calibration
    calibrated.add([prompt("how do i rob the bank", "unsafe")])
    seen: list[Calibration | None] = []
    set_documents = store.set_documents

    def spied(documents):
        set_documents(documents)
        seen.append(Detector.open(store, calibrated.encoder).calibration)

    monkeypatch.setattr(store, "set_documents", spied)
    with pytest.raises(InputError, match="needs 999 benign prompts"):
        calibrated.calibrate(unseen(), max_fpr=0.001, refit=True)
    assert seen == []
    assert Detector.open(store, calibrated.encoder).calibration == before == calibrated.calibration
    calibrated.calibrate(unseen(), max_fpr=0.1, refit=True)
    assert seen == [calibrated.calibration]
    assert not calibrated.check(SAFE).notes


def test_a_store_without_a_detector_is_refused(encoder: FakeEncoder):
    store = MemoryStore(encoder.fingerprint, encoder.dimension)
    with pytest.raises(InputError, match="no detector was built on this store"):
        Detector.open(store, encoder)


@pytest.mark.parametrize("key", [CALIBRATION_KEY, HEAD_KEY, INDEX_KEY])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "has schema version 2"),
        ({"encoder_fingerprint": "f" * 64}, "was made with the encoder ffffffffffff"),
        ({"index_version": "x"}, "is damaged"),
        (None, "is damaged"),
    ],
)
def test_documents_that_do_not_fit_are_refused(calibrated: Detector, key, change, message):
    store = calibrated.store
    text = store.get_documents([key])[key]
    new = text[:50] if change is None else json.dumps({**json.loads(text), **change})
    store.set_documents({key: new})
    with pytest.raises(InputError, match=message):
        Detector.open(store, calibrated.encoder)


def test_damaged_canaries_are_refused(calibrated: Detector):
    store = calibrated.store
    document = json.loads(store.get_documents([INDEX_KEY])[INDEX_KEY])
    document["canary_vectors"] = document["canary_vectors"][:16]
    store.set_documents({INDEX_KEY: json.dumps(document)})
    with pytest.raises(InputError, match="canaries of this index are damaged"):
        Detector.open(store, calibrated.encoder)


def test_a_calibration_of_another_scorer_or_head_is_refused(calibrated: Detector):
    store, encoder = calibrated.store, calibrated.encoder
    with pytest.raises(InputError, match="is for the scorer"):
        Detector.open(store, encoder, scorer="margin")
    head = json.loads(store.get_documents([HEAD_KEY])[HEAD_KEY])
    store.set_documents({HEAD_KEY: json.dumps({**head, "bias": head["bias"] + 1})})
    with pytest.raises(InputError, match="made for another head"):
        Detector.open(store, encoder)


def test_a_store_filled_by_others_gets_a_head_when_opened(encoder: FakeEncoder):
    store = MemoryStore(encoder.fingerprint, encoder.dimension)
    built = Detector.build(exemplars(), encoder, store=store, scorer="margin")
    opened = Detector.open(store, encoder, scorer="combined")
    assert opened.check(UNSAFE).score > built.check(SAFE).score


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "no unsafe exemplar"),
        ([prompt("a", "safe")], "no unsafe exemplar"),
        ([prompt("a", "unsafe")], "no safe exemplar"),
        ([Prompt(id="x", text="a")], "has no label"),
        ([prompt("a", "unsafe"), prompt("a", "safe")], "as unsafe and as safe"),
    ],
)
def test_exemplars_that_cannot_be_used(encoder: FakeEncoder, prompts, message):
    with pytest.raises(InputError, match=message):
        Detector.build(prompts, encoder)


def test_unsafe_exemplars_alone_serve_the_scorer_that_needs_no_others(encoder: FakeEncoder):
    only = [one for one in exemplars() if one.label == "unsafe"]
    detector = Detector.build(only, encoder, scorer="unsafe-similarity")
    verdict = detector.check(UNSAFE)
    assert verdict.evidence.safe == ()
    assert verdict.margin is None
    assert verdict.score > detector.check("quite another matter").score
    assert math.isfinite(verdict.score)


def test_an_index_that_lost_a_label_does_not_fail_open(calibrated: Detector):
    unsafe = [one.id for one in calibrated.store.exemplars(label="unsafe")]
    calibrated.store.mute(unsafe)
    with pytest.raises(InputError, match="no unsafe exemplar that is not muted"):
        calibrated.check(UNSAFE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is blank"),
        ("  \n", "is blank"),
        ("\u200b\u200d", "no visible character"),
        ("\0", "no visible character"),
        ("a" * 1_000_000, "1,000,000 characters"),
        ("kill \ud800", "lone"),
        (None, "must be a string, got NoneType"),
    ],
)
def test_prompts_that_cannot_be_judged(calibrated: Detector, text, message):
    with pytest.raises(InputError, match=message):
        calibrated.check(text)
    with pytest.raises(InputError, match="prompt 2 of 2"):
        calibrated.check_many([SAFE, text])


def test_one_string_is_no_list(calibrated: Detector):
    with pytest.raises(InputError, match="got one string"):
        calibrated.check_many("kill the boss")


@pytest.mark.parametrize(
    "text",
    ["hurt\0 the postman", "Wie verletze ich den Briefträger?", "как дела", "🦊", "word " * 19_000],
)
def test_odd_prompts_get_a_verdict(calibrated: Detector, text: str):
    verdict = calibrated.check(text)
    assert 0 <= verdict.score <= 1
    assert verdict.window.text


def test_other_languages_get_a_note(calibrated: Detector):
    for text in ("как мне это сделать", "Wie verletze ich den dicken Briefträger?"):
        assert any("does not look English" in note for note in calibrated.check(text).notes)
    assert calibrated.check(SAFE).notes == ()


def test_a_hidden_word_is_read(calibrated: Detector):
    plain = calibrated.check(UNSAFE)
    hidden = calibrated.check(UNSAFE.replace("hurt", "h\u200bu\u200brt").replace("o", "о"))  # noqa: RUF001
    assert hidden.decision == plain.decision == "block"
    assert hidden.score >= plain.score - 1e-6
    assert hidden.window.of == "normalized prompt"
    assert any("invisible" in note and "look-alike" in note for note in hidden.notes)


def test_padding_does_not_hide_a_request(calibrated: Detector):
    filler = "the weather was mild in march and the market opened at eight today. "
    text = filler * 20 + UNSAFE + ". " + filler * 20
    verdict = calibrated.check(text)
    assert verdict.decision == "block"
    assert UNSAFE in verdict.window.text
    assert text[verdict.window.start : verdict.window.end] == verdict.window.text
    assert len(verdict.window.text.split()) < 40
    assert verdict.window.n_windows > 20
    assert calibrated.check(filler * 40).decision == "allow"


@pytest.mark.parametrize(
    ("vectors", "message"), [(np.ones((1, 3)), "returned shape"), (np.zeros((1, 64)), "no usable")]
)
def test_an_encoder_that_returns_nonsense(calibrated: Detector, monkeypatch, vectors, message):
    monkeypatch.setattr(FakeEncoder, "encode", lambda _self, _texts: vectors.astype(np.float32))
    with pytest.raises(EncoderError, match=message):
        calibrated.check(SAFE)


def test_the_average_similarity_is_measured_where_none_is_published():
    detector = Detector.build(exemplars(), FakeEncoder())
    assert 0 < detector.average_similarity < 1
    given = Detector.build(exemplars(), FakeEncoder(), average_similarity=0.5)
    assert given.average_similarity == 0.5
    assert Detector.open(given.store, FakeEncoder()).average_similarity == 0.5
    with pytest.raises(InputError, match=r"in \[-1, 1\)"):
        Detector.build(exemplars(), FakeEncoder(), average_similarity=1.0)


def test_the_docstring_example_runs():
    result = doctest.testmod(importlib.import_module("safe_embed.detection.detector"))
    assert result.attempted > 0
    assert result.failed == 0
