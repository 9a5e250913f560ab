"""The published figures, and ones measured with an independent implementation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safe_embed.benchmark import Run, evaluate, load_suite
from safe_embed.encoders import load_encoder

pytestmark = [pytest.mark.paper, pytest.mark.timeout(900)]


def run_on_paper(weights: Path, paper_data: Path) -> Run:
    # few resamples: the figures are what is tested here
    return evaluate(
        load_encoder(str(weights)), load_suite("paper", data_dir=paper_data), n_resamples=100
    ).run


@pytest.fixture(scope="module")
def minilm_run(minilm: Path, paper_data: Path) -> Run:
    return run_on_paper(minilm, paper_data)


@pytest.fixture(scope="module")
def mpnet_run(mpnet: Path, paper_data: Path) -> Run:
    return run_on_paper(mpnet, paper_data)


def assert_golden(run: Run, golden: dict[str, Any]) -> None:
    """Everything in golden.json, within 1e-4."""
    challenging = run.tasks.safety_challenging
    contrast = run.tasks.safety_contrast
    taxonomy = run.tasks.safety_taxonomy
    assert challenging is not None
    assert contrast is not None
    assert taxonomy is not None
    measured = {
        "safety_challenging_mean_cosine": {
            name: one.cosine for name, one in challenging.by_type.items()
        },
        "safety_challenging_mean_cosine_all": challenging.cosine,
        "safety_contrast_mean_max_cosine": contrast.max_cosine,
        "safety_contrast_mean_cosine": contrast.mean_cosine,
        "safety_contrast_mean_max_cosine_by_category": {
            name: one.max_cosine for name, one in contrast.by_category.items()
        },
        "categorical_purity_top10": {
            name: one.categorical_purity for name, one in taxonomy.by_category.items()
        },
        "categorical_purity_average": taxonomy.categorical_purity,
        "categorical_purity_over_prompts": taxonomy.over_prompts,
    }
    assert measured.keys() == golden.keys()
    for name, value in golden.items():
        assert measured[name] == pytest.approx(value, abs=1e-4), name


def test_minilm_is_golden(minilm_run: Run, paper_figures: Path) -> None:
    golden = json.loads((paper_figures / "golden.json").read_text("utf-8"))
    assert_golden(minilm_run, golden["sentence-transformers/all-MiniLM-L6-v2"])


def test_mpnet_is_golden(mpnet_run: Run, paper_figures: Path) -> None:
    golden = json.loads((paper_figures / "golden.json").read_text("utf-8"))
    assert_golden(mpnet_run, golden["sentence-transformers/all-mpnet-base-v2"])


def test_mpnet_gives_every_published_value(mpnet_run: Run, paper_figures: Path) -> None:
    published = json.loads((paper_figures / "published.json").read_text("utf-8"))
    challenging = mpnet_run.tasks.safety_challenging
    contrast = mpnet_run.tasks.safety_contrast
    taxonomy = mpnet_run.tasks.safety_taxonomy
    assert challenging is not None
    assert contrast is not None
    assert taxonomy is not None

    assert mpnet_run.encoder.name == "sbert-all"  # a directory, recognised by its weights
    assert mpnet_run.encoder.average_similarity == published["average_similarity"]["sbert-all"]
    assert mpnet_run.encoder.average_similarity_source == "published"
    assert {
        name: round(one.normalized_similarity, 3) for name, one in challenging.by_type.items()
    } == published["safety_challenging_normalized_similarity"]["sbert-all"]
    assert (
        round(contrast.max_cosine, 3) == published["safety_contrast_mean_max_cosine"]["sbert-all"]
    )
    assert (
        round(contrast.boundary_similarity, 3)
        == published["safety_contrast_boundary_similarity"]["sbert-all"]
    )
    assert {
        name: round(one.categorical_purity, 3) for name, one in taxonomy.by_category.items()
    } == published["categorical_purity_top10"]["sbert-all"]
    assert (
        round(taxonomy.categorical_purity, 3)
        == published["categorical_purity_average"]["sbert-all"]
    )


def test_counts_are_those_of_the_paper(minilm_run: Run) -> None:
    tasks = minilm_run.tasks
    assert tasks.safety_challenging is not None
    assert tasks.safety_contrast is not None
    assert tasks.safety_taxonomy is not None
    assert {one.n for one in tasks.safety_challenging.by_type.values()} == {25}
    assert len(tasks.safety_challenging.by_type) == 10
    assert tasks.safety_contrast.n == tasks.safety_taxonomy.n == 939
    assert len(tasks.safety_taxonomy.by_category) == 12
