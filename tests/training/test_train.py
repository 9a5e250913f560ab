"""The whole training on a tiny random model; what real weights gain is in docs/training.md."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra torch")
pytest.importorskip("peft", reason="needs the extra torch")

import torch

from safe_embed.benchmark import load_suite
from safe_embed.detection import Detector
from safe_embed.encoders import Encoder, load_encoder
from safe_embed.errors import InputError, StorageError
from safe_embed.records import Prompt, PromptPair
from safe_embed.stores.sqlite import SqliteStore
from safe_embed.training import Recipe
from safe_embed.training.artefact import INDEX_FILE
from safe_embed.training.loop import Step
from safe_embed.training.losses import BatchLabels, batch_losses
from safe_embed.training.model import TunedModel, base_model_dir
from safe_embed.training.prepare import NamedRecord, TrainingData, prepare
from safe_embed.training.results import Training
from safe_embed.training.train import TrainingOptions, TrainingReport, Yardsticks, train_encoder
from tests.encoders.tiny_models import write_model

pytestmark = pytest.mark.torch

RECIPE = Recipe(layers=1, rank=4, alpha=8, epochs=3, pairs_per_batch=8, learning_rate=0.02)
ORDINARY = ["bake the cake", "make a query", "the linux process", "python in linux", "an a"]


def records(n: int = 60) -> list[NamedRecord]:
    """`bomb` is what makes these prompts unsafe, so that there is something to learn."""
    found: list[Prompt | PromptPair] = []
    for number in range(n):
        tail = f"in linux {number}"
        found.append(
            PromptPair(
                id=f"p{number}",
                type="homonyms",
                unsafe=f"make a bomb {tail}",
                safe=f"make a cake {tail}",
                category="Assisting illegal activities",
            )
        )
        found.append(Prompt(id=f"s{number}", text=f"how do i query {number}", label="safe"))
    return [NamedRecord(one, "own", f"row {row}") for row, one in enumerate(found, 1)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def base(directory: Path) -> Encoder:
    return load_encoder(directory)


@pytest.fixture
def data(base: Encoder) -> TrainingData:
    return prepare(records(), base, {})


def train(base: Encoder, data: TrainingData, out: Path, **options: object) -> Training:
    recipe = options.pop("recipe", RECIPE)
    report = options.pop("report", TrainingReport())
    chosen = {"max_fpr": 0.2, "review_fpr": 0.4, **options}
    return train_encoder(
        base,
        data,
        recipe,  # type: ignore[arg-type]
        out,
        yardsticks=Yardsticks(load_suite("bundled"), ORDINARY),
        options=TrainingOptions(**chosen),  # type: ignore[arg-type]
        report=report,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("model_type", ["bert", "mpnet"])
@pytest.mark.parametrize("layers", [1, 2])
def test_states_below_and_layers_above_make_the_engines_embedding(
    tmp_path: Path, model_type: str, layers: int
) -> None:
    encoder = load_encoder(write_model(tmp_path / "tiny", model_type))
    recipe = Recipe(layers=layers, rank=2)
    model = TunedModel(encoder, recipe, device="cpu", seed=0)
    texts = ["How do I kill a process?", "bake the cake", "a " * 60]
    found = model.embed(model.lower(texts)).numpy()
    tolerance = 1e-5 if model.number_format == "float32" else 0.02
    np.testing.assert_allclose(found, encoder.encode(texts), atol=tolerance)


def test_texts_of_like_length_go_together_and_come_back_in_their_order(base: Encoder) -> None:
    model = TunedModel(base, RECIPE, device="cpu", seed=0)
    texts = ["the linux process " * n for n in (9, 1, 30, 2, 2, 17, 5, 1, 12)]
    together = model.upper(model.lower(texts)).detach().numpy()
    alone = np.concatenate([model.embed(model.lower([text])).numpy() for text in texts])
    tolerance = 1e-5 if model.number_format == "float32" else 0.02
    np.testing.assert_allclose(together, alone, atol=tolerance)
    assert np.abs(together[0] - together[1]).max() > 2 * tolerance


def test_strength_moves_the_embeddings_between_base_and_trained(
    base: Encoder, data: TrainingData, directory: Path, tmp_path: Path
) -> None:
    texts = ["make a bomb in linux 1", "make a cake in linux 1", "how do i query 3"]
    found = {0.0: base.encode(texts)}
    for strength in (0.5, 1.0):
        out = tmp_path / f"at-{strength}"
        train(base, data, out, recipe=RECIPE.model_copy(update={"strength": strength}))
        found[strength] = load_encoder(f"{directory}+{out}").encode(texts)
    moved = {one: np.linalg.norm(found[one] - found[0.0], axis=1) for one in (0.5, 1.0)}
    assert (moved[0.5] > 0.01).all()
    assert (moved[1.0] > moved[0.5]).all()
    halves, whole = (
        json.loads((tmp_path / f"at-{one}" / "adapter_config.json").read_text())["lora_alpha"]
        for one in (0.5, 1.0)
    )
    assert (halves, whole) == (4.0, 8.0)


def test_a_model_at_half_strength_is_what_is_written(
    base: Encoder, directory: Path, tmp_path: Path
) -> None:
    model = TunedModel(base, RECIPE, device="cpu", seed=0)
    for one in model.parameters:
        one.data += 0.05
    model.set_strength(0.5)
    model.save(tmp_path)
    texts = ["bake the cake", "how do i query 3"]
    tolerance = 1e-3 if model.number_format == "float32" else 0.02
    np.testing.assert_allclose(
        load_encoder(f"{directory}+{tmp_path}").encode(texts),
        model.embed(model.lower(texts)).numpy(),
        atol=tolerance,
    )


def test_it_learns_is_written_whole_and_loads_as_an_encoder(
    base: Encoder, data: TrainingData, directory: Path, tmp_path: Path
) -> None:
    out = tmp_path / "safer"
    steps: list[Step] = []
    phases: list[str] = []
    report = TrainingReport(phase=phases.append, step=steps.append)
    training = train(base, data, out, report=report)

    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "calibration.json",
        "head.json",
        INDEX_FILE,
        "training.json",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["safer"]
    assert steps[-1].done == steps[-1].total == training.n_steps
    assert steps[-1].loss < steps[0].loss
    assert steps[-1].seconds_left == 0
    assert len(phases) == 4
    assert Training.model_validate_json((out / "training.json").read_text()) == training
    accuracy = training.results.detection["pair_accuracy"]
    assert accuracy.after == 1.0

    adapted = load_encoder(f"{directory}+{out}")
    assert adapted.fingerprint != base.fingerprint
    before, after = (
        one.encode(["make a bomb in linux 1", "make a cake in linux 1"]) for one in (base, adapted)
    )
    assert after[0] @ after[1] < before[0] @ before[1]

    store = SqliteStore.open(out / INDEX_FILE)
    detector = Detector.open(store, adapted)
    assert detector.check("make a bomb in linux 700").score > 0.5
    assert detector.check("make a cake in linux 700").score < 0.5
    store.close()
    card = (out / "README.md").read_text()
    assert f"{len(data.examples):,} texts" in card
    assert "held-out pair accuracy" in card


def test_one_more_exemplar_changes_a_verdict(
    base: Encoder, data: TrainingData, directory: Path, tmp_path: Path
) -> None:
    out = tmp_path / "safer"
    train(base, data, out)
    store = SqliteStore.open(out / INDEX_FILE)
    detector = Detector.open(store, load_encoder(f"{directory}+{out}"))
    prompt = "bake zig person"
    before = detector.check(prompt)
    detector.add([Prompt(id="new", text=prompt, label="unsafe")])
    after = detector.check(prompt)
    store.close()
    assert after.score > before.score
    assert after.evidence.unsafe[0].text == prompt


def test_the_same_seed_gives_the_same_adapter(
    base: Encoder, data: TrainingData, tmp_path: Path
) -> None:
    written = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(base, data, tmp_path / name, seed=seed)
        written.append((tmp_path / name / "adapter_model.safetensors").read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]


class CutError(Exception):
    """Stands for a kill."""


def test_an_interrupted_training_goes_on_and_ends_alike(
    base: Encoder, data: TrainingData, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(base, data, whole)
    done: list[int] = []

    def stop(step: Step) -> None:
        if step.done > step.total * 0.5:
            raise CutError

    with pytest.raises(CutError):
        train(base, data, cut, report=TrainingReport(step=stop))
    assert [path.name for path in tmp_path.iterdir() if "cut" in path.name] == ["cut.checkpoint"]
    train(
        base, data, cut, resume=True, report=TrainingReport(step=lambda one: done.append(one.done))
    )
    assert done[0] > 1
    assert (cut / "adapter_model.safetensors").read_bytes() == (
        whole / "adapter_model.safetensors"
    ).read_bytes()
    assert not (tmp_path / "cut.checkpoint").exists()


def test_a_checkpoint_of_other_options_or_a_damaged_one_is_refused(
    base: Encoder, data: TrainingData, tmp_path: Path
) -> None:
    def stop(step: Step) -> None:
        if step.done > step.total * 0.5:
            raise CutError

    with pytest.raises(CutError):
        train(base, data, tmp_path / "out", report=TrainingReport(step=stop))
    with pytest.raises(InputError, match="is of another training"):
        train(base, data, tmp_path / "out", resume=True, seed=9)
    path = tmp_path / "out.checkpoint"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(StorageError, match="checkpoint is damaged"):
        train(base, data, tmp_path / "out", resume=True)
    assert not (tmp_path / "out").exists()


def test_a_diverging_loss_is_one_line_and_writes_nothing(
    base: Encoder, data: TrainingData, tmp_path: Path
) -> None:
    wild = Recipe(layers=1, rank=4, alpha=8, epochs=3, logit_scale=1e6)
    with pytest.raises(InputError, match=r"diverged at step 2 of .*smaller learning_rate"):
        train(base, data, tmp_path / "out", recipe=wild)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_trained_or_written_is_refused_first(
    base: Encoder, data: TrainingData, directory: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no weights that can be trained"):
        base_model_dir(load_encoder("fake"))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").touch()
    with pytest.raises(InputError, match="is there already"):
        train(base, data, tmp_path / "there")
    with pytest.raises(InputError, match=r"a false-positive rate of 0\.01 needs 99"):
        train(base, data, tmp_path / "out", max_fpr=0.01)
    with pytest.raises(InputError, match="adapts 9 layers, the encoder has 2"):
        TunedModel(base, Recipe(layers=9), device="cpu", seed=0)
    train(base, data, tmp_path / "safer")
    with pytest.raises(InputError, match="is adapted already"):
        base_model_dir(load_encoder(f"{directory}+{tmp_path / 'safer'}"))


def test_the_card_and_the_provenance_say_what_was_done(
    base: Encoder, data: TrainingData, tmp_path: Path
) -> None:
    training = train(base, data, tmp_path / "out", seed=5)
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    assert told["base"]["fingerprint"] == base.fingerprint
    assert told["seed"] == 5
    assert told["data"]["sources"] == data.sources
    assert told["data"]["n_pairs"] == len(data.examples.twins)
    assert {"torch", "peft", "transformers"} <= told["versions"].keys()
    assert training.results.similarity.n_pairs == 5000


def labels_of(unsafe: list[float], category: list[int], n_pairs: int) -> BatchLabels:
    return BatchLabels(torch.tensor(unsafe), torch.tensor(category), n_pairs)


def test_losses_by_hand() -> None:
    embeddings = torch.eye(4)
    logits = torch.tensor([1.0, -1.0, 0.0, 0.0])
    labels = labels_of([1.0, 0.0, 1.0, 1.0], [0, -1, 1, 1], 1)
    found = batch_losses(embeddings, logits, torch.zeros(4, 4), labels, 0.5)
    p = np.log1p(np.exp(-1))
    assert float(found.classification) == pytest.approx((2 * p + 2 * np.log(2)) / 4)
    assert float(found.pair_rank) == pytest.approx(np.log1p(np.exp(-2)))
    assert float(found.twin_similarity) == 0
    assert float(found.contrastive) == pytest.approx(np.log(3))  # one peer among three equals
    assert float(found.distillation) == 0


def test_distillation_leaves_twins_and_peers_alone() -> None:
    embeddings = torch.nn.functional.normalize(torch.ones(4, 4), dim=1)
    labels = labels_of([1.0, 0.0, 1.0, 1.0], [0, -1, 1, 1], 1)
    base = torch.ones(4, 4)
    for row, column in ((0, 1), (1, 0), (2, 3), (3, 2)):
        base[row, column] = -1
    found = batch_losses(embeddings, torch.zeros(4), base, labels, 0.5)
    assert float(found.distillation) == pytest.approx(0, abs=1e-10)


def test_a_batch_without_pairs_and_peers_still_has_gradients() -> None:
    embeddings = torch.eye(2, requires_grad=True)
    logits = embeddings.sum(dim=1)
    found = batch_losses(embeddings, logits, torch.eye(2), labels_of([1.0, 0.0], [-1, -1], 0), 0.1)
    found.total(Recipe(layers=1)).backward()
    assert embeddings.grad is not None
    assert bool(torch.isfinite(embeddings.grad).all())
