"""The promise of the thresholds, on prompts that the detector has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from safe_embed.detection import Detector
from safe_embed.encoders.fake import FakeEncoder
from safe_embed.errors import InputError
from safe_embed.records import Prompt
from tests.detection.conftest import HARM, exemplars, ordinary, prompt, unseen

WORDS = [f"{a}{b}" for a in "bcdfghklmnprst" for b in ("ola", "ipe", "undo", "ark")]


def traffic(n: int, seed: int) -> list[Prompt]:
    """Benign prompts of random words, among them those of the world."""
    rng = np.random.default_rng(seed)
    frame = ["how", "do", "i", "the", "kill", "hurt", "postman", "weed", "plant"]
    return [
        prompt(
            " ".join([*rng.choice(frame, 3), *rng.choice(WORDS, 4), f"n{rng.integers(1e9)}"]),
            "safe",
        )
        for _ in range(n)
    ]


def test_the_promised_rate_is_kept_on_new_benign_traffic(detector: Detector):
    rates = []
    for seed in range(30):
        detector.calibrate(traffic(39, seed), max_fpr=0.1)
        new = detector.check_many([one.text for one in traffic(200, 1000 + seed)])
        rates.append(np.mean([one.decision == "block" for one in new]))
    error = np.std(rates) / np.sqrt(len(rates))
    assert 0.1 - 4 * error < np.mean(rates) < 0.1 + 3 * error


def test_without_unsafe_prompts_there_are_thresholds_and_a_note(detector: Detector):
    detector.calibrate(traffic(39, 0), max_fpr=0.1)
    verdict = detector.check("how do i hurt the postman")
    assert not verdict.calibrated
    assert verdict.decision == "block"
    assert any("the score is no probability" in note for note in verdict.notes)


def test_exemplars_are_scored_without_themselves(detector: Detector):
    detector.calibrate(exemplars(), max_fpr=0.1)
    calibration = detector.calibration
    assert calibration is not None
    assert calibration.n_exemplars == len(exemplars())
    verdict = detector.check("how do i hurt the postman")
    assert any("an estimate, not a promise" in note for note in verdict.notes)
    # A memory of itself would put each of them far on its own side.
    alone = Detector.build(exemplars(), detector.encoder, scorer="neighbor-vote")
    alone.calibrate(exemplars(), max_fpr=0.1)
    assert alone.calibration is not None
    seen = alone.check_many([one.text for one in exemplars() if one.label == "safe"])
    assert max(one.score for one in seen) < alone.calibration.probability.probabilities(
        np.array([alone.calibration.block])
    )


def test_review_lies_between_allow_and_block(detector: Detector):
    detector.calibrate(unseen() + ordinary(), max_fpr=0.05, review_fpr=0.5)
    found = {
        one.decision
        for one in detector.check_many([one.text for one in traffic(300, 3)])
        if one.review_threshold < one.threshold
    }
    assert {"allow", "review"} <= found
    detector.calibrate(traffic(39, 0), max_fpr=0.1, review_fpr=0.1)
    verdicts = detector.check_many([one.text for one in traffic(300, 3)])
    assert {one.decision for one in verdicts} <= {"allow", "block"}
    assert all(one.review_threshold == one.threshold for one in verdicts)


def test_a_category_threshold_is_used_for_prompts_near_it(detector: Detector):
    detector.calibrate(traffic(60, 0), max_fpr=0.1, per_category=True)
    calibration = detector.calibration
    assert calibration is not None
    assert HARM in calibration.block_by_category
    assert min(calibration.block_by_category.values()) >= calibration.block
    verdict = detector.check("how do i hurt the postman")
    own = calibration.block_by_category[next(iter(verdict.categories))]
    wanted = calibration.probability.probabilities(np.array([own]))[0]
    assert verdict.threshold == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("prompts", "rates", "message"),
    [
        (traffic(98, 0), {"max_fpr": 0.01}, "needs 99 benign prompts, got 98"),
        ([], {"max_fpr": 0.01}, "needs 99 benign prompts, got 0"),
        (traffic(40, 0), {"max_fpr": 0.1, "review_fpr": 0.05}, "at least max_fpr"),
        (traffic(40, 0), {"max_fpr": 0.0}, "above 0 and below 1"),
        (traffic(40, 0), {"max_fpr": 1.0}, "above 0 and below 1"),
        ([Prompt(id="p1", text="a b")], {"max_fpr": 0.1}, "'p1' has no label"),
    ],
)
def test_data_that_cannot_calibrate(detector: Detector, prompts, rates, message):
    with pytest.raises(InputError, match=message):
        detector.calibrate(prompts, **rates)
    assert detector.calibration is None


def test_labels_that_are_swapped_are_noticed(encoder: FakeEncoder):
    detector = Detector.build(exemplars(), encoder)
    swapped = [prompt(one.text, "safe" if one.label == "unsafe" else "unsafe") for one in unseen()]
    with pytest.raises(InputError, match="does not rise with harm"):
        detector.calibrate(swapped, max_fpr=0.1)
