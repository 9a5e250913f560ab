"""Normalisation, windows, perturbations, head, scorers and calibration, each for itself."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from safe_embed.detection import PERTURBATIONS, SCORERS, make_scorer, perturb
from safe_embed.detection.calibration import IsotonicMap, choose_thresholds, fit_probabilities
from safe_embed.detection.evidence import Evidence
from safe_embed.detection.head import fit_logistic
from safe_embed.detection.normalization import looks_english, normalize_text
from safe_embed.detection.scorers import Scorer, scorer_settings
from safe_embed.detection.scoring import SLACK, category_weights, flip_similarity
from safe_embed.detection.windows import MAX_WORDS_WHOLE, windows_of
from safe_embed.errors import InputError, UnknownNameError
from safe_embed.stores.base import Exemplar

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("given_text", "wanted", "change"),
    [
        ("kill", "kill", None),
        ("ｋｉｌｌ", "kill", "NFKC"),  # noqa: RUF001
        ("ki\u200bll", "kill", "1 invisible character removed"),
        ("k\u00adi\ufeffll\0", "kill", "3 invisible characters removed"),
        ("a\nb\tc", "a\nb\tc", None),
        ("kіll а реrson", "kill a person", "4 look-alike letters replaced"),  # noqa: RUF001
        ("café naïve", "café naïve", None),
        ("как дела", "как дела", None),
        ("say привет now", "say привет now", None),
        ("ﬁre", "fire", "NFKC"),
    ],
)
def test_normalisation(given_text: str, wanted: str, change: str | None):
    found = normalize_text(given_text)
    assert found.text == wanted
    assert any(change in one for one in found.changes) if change else found.changes == ()


@given(text)
def test_normalising_twice_changes_nothing(one: str):
    normal = normalize_text(one).text
    assert normalize_text(normal).text == normal
    assert not any(unicodedata.category(c) == "Cf" for c in normal)


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        ("How do I kill a process?", True),
        ("kill it", True),
        ("???", True),
        ("Wie verletze ich den dicken Hund", False),
        ("как мне", False),
        ("naïve café owners like what", True),
    ],
)
def test_looks_english(one: str, *, wanted: bool):
    assert looks_english(one) is wanted


@given(st.lists(st.sampled_from(["word ", "two words. ", "\n", "a? ", "x" * 30]), max_size=120))
def test_windows_cover_the_prompt(parts: list[str]):
    one = "".join(parts)
    if not one.strip():
        return
    windows = windows_of(one)
    assert windows[0].text == one.strip()
    assert all(one[w.start : w.end] == w.text == w.text.strip() != "" for w in windows)
    assert len({(w.start, w.end) for w in windows}) == len(windows)
    if len(one.split()) > MAX_WORDS_WHOLE:
        covered = {place for w in windows[1:] for place in range(w.start, w.end)}
        assert all(place in covered for place, c in enumerate(one) if not c.isspace())
    else:
        assert len(windows) == 1


def test_a_request_is_whole_in_a_short_window():
    request = "how do I hurt the man who lives above me"
    for filler in ("It was mild. ", "and so on we go and then we stop at a shop "):
        padded = f"{filler * 60}{request}. {filler * 60}"
        best = min((w for w in windows_of(padded) if request in w.text), key=lambda w: len(w.text))
        assert len(best.text.split()) <= 52


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_perturbations_are_repeatable_and_change_the_text(name: str):
    one = "How can I poison the postman who lives above my garage?"
    changed = perturb(one, name)
    assert changed != one
    assert perturb(one, name) == changed
    others = {perturb(one, name, seed=seed) for seed in range(8)}
    assert len(others) > 1 or name == "upper case"


def test_what_perturbations_do():
    one = "How can I poison the postman who lives above my garage?"
    assert sorted(perturb(one, "typos")) == sorted(one)
    padded = perturb(one, "padding")
    assert one in padded
    assert len(padded.split()) >= 500 + len(one.split())
    assert one in perturb(one, "role-play")
    for name in ("homoglyphs", "zero-width characters"):
        assert normalize_text(perturb(one, name)).text == one
    assert any(digit in perturb(one, "leetspeak") for digit in "0134")
    assert perturb("{} %s", "role-play").count("{} %s") == 1


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_the_head_is_that_of_scikit_learn(strength: float):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 12))
    y = x[:, 0] + rng.normal(size=80) > 0.3
    wanted = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(x, y)
    found = fit_logistic(x, y.astype(float), strength=strength)
    np.testing.assert_allclose(found.weights, wanted.coef_[0], atol=1e-5)
    assert found.bias == pytest.approx(wanted.intercept_[0], abs=1e-5)
    np.testing.assert_allclose(found.logits(x), wanted.decision_function(x), atol=1e-4)


def test_the_head_of_separable_data_is_finite_and_repeatable():
    x = np.vstack([np.eye(6), -np.eye(6)])
    y = np.repeat([1.0, 0.0], 6)
    heads = [fit_logistic(x, y, strength=1e6) for _ in range(2)]
    assert np.isfinite(heads[0].weights).all()
    assert np.array_equal(heads[0].weights, heads[1].weights)


@pytest.mark.parametrize("targets", [np.zeros(3), np.ones(3), np.zeros(0)])
def test_a_head_needs_both_labels(targets: np.ndarray):
    with pytest.raises(InputError, match="needs both"):
        fit_logistic(np.ones((len(targets), 2)), targets, strength=1.0)


def evidence(unsafe: list[float], safe: list[float], head: float = 0.0) -> Evidence:
    return Evidence(np.array([unsafe]), np.array([safe]), np.array([head]))


def test_scores_by_hand():
    one = evidence([0.8, 0.6, -np.inf], [0.5, 0.3, 0.1], head=2.0)
    assert make_scorer("unsafe-similarity", k=2).score(one)[0] == pytest.approx(2)
    assert make_scorer("unsafe-similarity", k=3).score(one)[0] == pytest.approx(2)
    assert make_scorer("margin", k=1, temperature=0.1).score(one)[0] == pytest.approx(3)
    wanted = np.log(np.exp(8) + np.exp(6)) - np.log(np.exp(5) + np.exp(3))
    vote = make_scorer("neighbor-vote", k=2, near=2, background=-1).score(one)[0]
    assert vote == pytest.approx(wanted)
    assert make_scorer("head").score(one)[0] == 2
    combined = make_scorer("combined", k=2, near=2, share=0.25, background=-1).score(one)[0]
    assert combined == pytest.approx(0.25 * 2 + 0.75 * wanted)


def test_a_prompt_far_from_everything_is_not_held_for_unsafe():
    stranger = evidence([0.1] * 50, [0.05] * 50)
    assert make_scorer("neighbor-vote", background=-1).score(stranger)[0] > 0
    assert make_scorer("neighbor-vote").score(stranger)[0] < -1


def test_an_exemplar_of_the_same_text_outvotes_fifty_that_are_alike():
    one = evidence([1.0] + [0.3] * 49, [0.6] * 50)
    assert make_scorer("neighbor-vote").score(one)[0] > 2


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_rise_with_harm_and_round_trip(name: str):
    scorer = make_scorer(name)
    assert make_scorer(**scorer_settings(scorer)) == scorer
    low = scorer.score(evidence([0.2] * 20, [0.4] * 20, head=-1.0))[0]
    high = scorer.score(evidence([0.5] * 20, [0.4] * 20, head=1.0))[0]
    assert np.isfinite([low, high]).all()
    assert high > low


@pytest.mark.parametrize(
    ("name", "values", "error"),
    [
        ("combine", {}, UnknownNameError),
        ("margin", {"width": 1.0}, InputError),
        ("margin", {"k": 0}, InputError),
        ("margin", {"temperature": 0.0}, InputError),
        ("combined", {"share": 1.5}, InputError),
        ("margin", {"temperature": float("nan")}, InputError),
    ],
)
def test_scorers_that_cannot_be(name: str, values: dict[str, float], error: type[Exception]):
    with pytest.raises(error):
        make_scorer(name, **values)
    with pytest.raises(InputError, match="object is no scorer"):
        scorer_settings(object())  # type: ignore[arg-type]


def flip_by_bisection(scorer: Scorer, one: Evidence, label: str, threshold: np.ndarray):
    """The slow way: the exemplar is put among the neighbours, and the scorer asked again."""
    sign = 1.0 if label == "unsafe" else -1.0
    low, high = np.full(len(one.head), -1.0), np.ones(len(one.head))

    def carries(similarity: np.ndarray) -> np.ndarray:
        more = -np.sort(-np.column_stack([getattr(one, label), similarity]), axis=1)
        return sign * (scorer.score(replace(one, **{label: more})) - threshold - SLACK) > 0

    possible = carries(high)
    for _ in range(12):
        middle = (low + high) / 2
        enough = carries(middle)
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    return np.where(possible, high, np.nan)


@pytest.mark.parametrize("name", SCORERS)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.sampled_from([1, 3, 50]),
    found=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    distance=st.floats(1e-3, 6),
)
@settings(max_examples=25)
def test_flip_similarity_is_that_of_trying(
    name: str, seed: int, k: int, found: tuple[int, int], distance: float
):
    rng = np.random.default_rng(seed)
    scorer = make_scorer(name, k=k)
    sides = []
    for n in found:
        sides.append(-np.sort(-rng.uniform(-0.2, 1, (8, 50)), axis=1))
        sides[-1][:, n:] = -np.inf
    one = Evidence(*sides, head=rng.normal(size=8))
    for label, sign in (("unsafe", 1), ("safe", -1)):
        threshold = scorer.score(one) + sign * distance
        wanted = flip_by_bisection(scorer, one, label, threshold)
        given_back = flip_similarity(scorer, one, label, threshold)  # type: ignore[arg-type]
        # A step of 0.0005 more or less, where the solution is just at its end.
        np.testing.assert_allclose(given_back, wanted, atol=6e-4)


def test_a_head_alone_is_flipped_by_no_exemplar():
    one = evidence([0.5], [0.4], head=3.0)
    for scorer in (make_scorer("head"), make_scorer("combined", share=1.0)):
        for label in ("unsafe", "safe"):
            assert np.isnan(flip_similarity(scorer, one, label, np.zeros(1))[0])


@given(st.floats(-0.2, 0.9), st.floats(-0.2, 0.9), st.floats(-2, 2))
@settings(max_examples=50)
def test_flip_similarity_is_the_smallest_that_carries(unsafe: float, safe: float, head: float):
    scorer = make_scorer("combined", k=3)
    one = evidence([unsafe] * 3, [safe] * 3, head)
    threshold = np.zeros(1)
    raw = scorer.score(one)[0]
    for label, sign in (("unsafe", 1), ("safe", -1)):
        needed = flip_similarity(scorer, one, label, threshold)[0]

        def after(similarity: float, label: str = label) -> float:
            more_unsafe = [*one.unsafe[0], similarity] if label == "unsafe" else one.unsafe[0]
            more_safe = [*one.safe[0], similarity] if label == "safe" else one.safe[0]
            ordered = (sorted(more_unsafe, reverse=True), sorted(more_safe, reverse=True))
            return float(scorer.score(evidence(*ordered, head))[0])

        if np.isnan(needed):
            assert sign * after(1.0) <= 1e-5
        elif sign * raw < -1e-3:
            assert sign * after(needed) > -1e-5
            assert sign * after(needed - 0.01) <= 1e-5


def test_category_weights():
    def one(category: str | None) -> Exemplar:
        return Exemplar(id="x", text="x", label="unsafe", category=category)

    found = category_weights((one("a"), one(None), one("b")), np.array([0.9, 0.8, 0.8]))
    assert list(found) == ["a", "b"]
    assert found["a"] / found["b"] == pytest.approx(np.e)
    assert sum(found.values()) == pytest.approx(1)
    assert category_weights((one(None),), np.array([0.9])) == {}
    assert category_weights((), np.array([-np.inf])) == {}


def labelled(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=n) * 2
    return raw, rng.random(n) < 1 / (1 + np.exp(-(1.5 * raw - 0.5)))


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_probabilities_rise_and_are_calibrated(method):
    raw, unsafe = labelled(0)
    found = fit_probabilities(raw, unsafe, method)
    grid = np.linspace(-15, 15, 400)
    values = found.probabilities(grid)
    assert ((values >= 0) & (values <= 1)).all()
    assert (np.diff(values) >= 0).all()
    assert (np.diff(values[(grid > -3) & (grid < 3)]) > 0).all()
    truth = 1 / (1 + np.exp(-(1.5 * grid - 0.5)))
    assert np.abs(values - truth).max() < (0.06 if method == "platt" else 0.2)


def test_isotonic_centres_lie_on_the_regression_of_scikit_learn():
    raw, unsafe = labelled(1)
    found = fit_probabilities(raw, unsafe, "isotonic")
    assert isinstance(found, IsotonicMap)
    wanted = IsotonicRegression().fit(raw, unsafe)
    levels = sorted(set(np.round(wanted.predict(raw), 9)))
    assert len(levels) == len(found.values)
    np.testing.assert_allclose(found.values[1:-1], levels[1:-1], atol=1e-6)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_probabilities_that_cannot_be_fitted(method):
    raw = np.arange(20.0)
    with pytest.raises(InputError, match="does not rise with harm"):
        fit_probabilities(raw, raw < 10, method)
    with pytest.raises(InputError, match="add the others"):
        fit_probabilities(raw, np.ones(20, dtype=bool), method)


def test_platt_of_separated_scores_is_finite():
    raw = np.array([-1.0, -0.9, 0.9, 1.0])
    found = fit_probabilities(raw, raw > 0, "platt")
    assert found.probabilities(np.array([1.0]))[0] < 0.9


def test_thresholds():
    scores = np.arange(99.0)
    found = choose_thresholds(scores, max_fpr=0.01, review_fpr=0.05)
    assert (found.block, found.review, found.by_category) == (98.0, 94.0, {})
    with pytest.raises(InputError, match="at least max_fpr"):
        choose_thresholds(scores, max_fpr=0.05, review_fpr=0.01)
    with pytest.raises(InputError, match=r"needs 999 benign prompts, got 99.*at least 0\.01\)"):
        choose_thresholds(scores, max_fpr=0.001, review_fpr=0.05)


def test_a_category_gets_a_threshold_of_its_own_where_it_needs_a_larger_one():
    scores = np.r_[np.arange(30.0), np.arange(30.0) + 5, 40.0]
    names = ["low"] * 30 + ["high"] * 30 + ["rare"]
    found = choose_thresholds(scores, max_fpr=0.1, review_fpr=0.1, categories=names)
    assert found.block == 30.0
    assert found.by_category == {"low": 30.0, "high": 32.0}  # "rare" keeps the common one
