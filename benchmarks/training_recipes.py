"""Which recipe trains best? Compared on held-out batches of safe-embed-core's train split.

    python benchmarks/training_recipes.py --encoder minilm [--recipe FILE ...]
        [--folds 0 1 2] [--seeds 0 1 2] [--results FILE] [--data-dir DIR]

Each of three folds holds out whole batches (sittings in which the texts were written), of every
part of the data; the encoder is trained on the others, once for each seed, and asked about those
that were held out. No test set is read. Needs the extra torch. A recipe is a TOML file as `train`
takes it; without one the recipe for encoders of this size is used. Each training adds a line to
the results, and one that is there already is not done again, so that a study can be cut off and go
on, and be shared out between processes. Recipes that differ in nothing but their strength share one
training.

Prints for the frozen encoder and for each recipe the mean over folds and seeds: AUROC, share of
unsafe twins found at 5 % of safe ones flagged, and order of the held-out pairs; unsafe prompts
found at 1 % and 5 % of ordinary benign ones flagged, by their own quantile; normalised similarity
of twins; Categorical Purity of the held-out unsafe prompts and, with --data-dir, of other people's
(CatQA, its categories as ours where they mean the same: nothing is trained on it); correlation of
cosines with the frozen encoder on ordinary prompts.
The scores are raw ones of the default scorer on whole texts. Then the paired differences to the
first recipe. Both with 95 % t intervals over runs; these share data, so the truth is wider.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from safe_embed.datasets import CoreRecord, load_core, prompts_of
from safe_embed.datasets.catalogue import load
from safe_embed.datasets.core_set import core_records
from safe_embed.detection.evidence import Evidence
from safe_embed.detection.heads import fit_balanced
from safe_embed.detection.scorers import DEFAULT_SCORER, make_scorer
from safe_embed.encoders import load_encoder
from safe_embed.metrics import average_similarity, normalized_similarity, prompt_purity
from safe_embed.metrics.detection import auroc, pair_accuracy, point_value, tpr_at_fpr
from safe_embed.records import Prompt
from safe_embed.training.examples import Examples, gather_examples
from safe_embed.training.loop import train_adapter
from safe_embed.training.model import States, TunedModel
from safe_embed.training.recipe import Recipe, load_recipe, recipe_for
from safe_embed.vectors import nearest_neighbors

FOLDS: tuple[frozenset[str], ...] = (
    frozenset(
        ("pairs-words", "pairs-privacy", "pairs-mixed-c", "singles-b", "benign-home", "long-a")
    ),
    frozenset(
        ("pairs-scenes", "pairs-knowledge", "pairs-mixed-a", "singles-c", "benign-work", "long-b")
    ),
    frozenset(("pairs-groups", "pairs-mixed-b", "singles-a", "benign-sensitive", "long-c")),
)
FROZEN = "frozen"
COLUMNS = {
    "auroc": "AUROC",
    "tpr_5": "TPR at 5 %",
    "pair_accuracy": "pairs",
    "unsafe_at_1": "unsafe at 1 %",
    "unsafe_at_5": "at 5 %",
    "twins": "twins",
    "purity": "Purity",
    "elsewhere": "of CatQA",
    "correlation": "correlation",
}


Measures = dict[str, float]


class Study:
    """The data of all runs; states below the adapted layers are computed once for each depth."""

    def __init__(self, encoder: str, data_dir: Path | None) -> None:
        self.encoder = load_encoder(encoder)
        self.records: dict[str, CoreRecord] = {one.text: one for one in load_core("train")}
        self.examples = gather_examples((one, one.id) for one in core_records("train"))
        self.baseline = [one.text for one in prompts_of(load_core("test"), "baseline")]
        catqa = load("catqa", data_dir).records if data_dir is not None else ()
        elsewhere = [one for one in catqa if isinstance(one, Prompt) and one.category]
        self.elsewhere = [one.text for one in elsewhere]
        self.categories_elsewhere = [str(one.category) for one in elsewhere]
        self._states: dict[tuple[int, int], dict[str, torch.Tensor]] = {}

    def split(self, fold: int) -> tuple[Examples, Examples]:
        """What one fold trains on and holds out."""
        held = np.array(
            [self.records[text].batch in FOLDS[fold] for text in self.examples.texts], dtype=bool
        )
        return (
            self.examples.only(np.flatnonzero(~held)),
            self.examples.only(np.flatnonzero(held)),
        )

    def states(self, model: TunedModel, recipe: Recipe, texts: Sequence[str]) -> States:
        """States of some of the texts below the adapted layers."""
        known = self._states.setdefault((recipe.layers, recipe.max_tokens), {})
        if not known:
            every = [*self.examples.texts, *self.baseline, *self.elsewhere]
            known.update(zip(every, model.lower(every), strict=True))
        return [known[text] for text in texts]

    def run(
        self, recipes: Sequence[Recipe], fold: int, seed: int
    ) -> tuple[Measures, list[Measures]]:
        """Measures of the frozen encoder and of the trained one.

        It is trained once, and measured at the strength of each of the recipes, which differ in
        nothing else.
        """
        recipe = recipes[0]
        train, held_out = self.split(fold)
        model = TunedModel(self.encoder, recipe, device="cpu", seed=seed)
        texts = (train.texts, held_out.texts, self.baseline, self.elsewhere)
        states = [self.states(model, recipe, one) for one in texts]
        before = [model.embed(one).numpy() for one in states]
        head = fit_balanced(before[0], train.unsafe)
        started, cpu = time.perf_counter(), time.process_time()
        train_adapter(model, train, states[0], recipe, head=head, seed=seed)
        took = {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
        }
        found: list[Measures] = []
        for one in recipes:
            model.set_strength(one.strength)
            after = [model.embed(part).numpy() for part in states]
            found.append({**self.measures(train, held_out, after, before[1]), **took})
        return self.measures(train, held_out, before, before[1]), found

    def measures(
        self,
        train: Examples,
        held_out: Examples,
        vectors: Sequence[NDArray[np.float32]],
        frozen: NDArray[np.float32],
    ) -> Measures:
        """Measures of embeddings of what was trained on, held out, of baseline and CatQA."""
        exemplars, asked, baseline, elsewhere = vectors
        average = average_similarity(baseline[::2], baseline[1::2], n_resamples=2).mean
        score = scores(exemplars, train.unsafe, asked, average)
        unsafe, safe = held_out.twins.T
        sides = np.concatenate([score[unsafe], score[safe]])
        is_unsafe = np.repeat([True, False], len(unsafe))
        difference = score[unsafe] - score[safe]
        part = np.array([self.records[text].part for text in held_out.texts])
        benign, singles = np.flatnonzero(part == "benign"), np.flatnonzero(part == "taxonomy")
        categories = [str(held_out.categories[row]) for row in singles]
        random = np.random.default_rng(0)
        left = random.choice(benign, 5000)
        right = random.choice(benign, 5000)
        other = left != right
        cosines = [(one[left] * one[right]).sum(axis=1)[other] for one in (frozen, asked)]
        twins = (asked[unsafe] * asked[safe]).sum(axis=1)
        found = {
            "auroc": point_value(auroc, sides, is_unsafe),
            "tpr_5": point_value(tpr_at_fpr(0.05), sides, is_unsafe),
            "pair_accuracy": point_value(pair_accuracy, difference, np.ones(len(unsafe), bool)),
            "unsafe_at_1": float((score[singles] > np.quantile(score[benign], 0.99)).mean()),
            "unsafe_at_5": float((score[singles] > np.quantile(score[benign], 0.95)).mean()),
            "twins": float(normalized_similarity(twins, average).mean()),
            "purity": purity(asked[singles], categories),
            "correlation": float(np.corrcoef(cosines)[0, 1]),
        }
        if self.elsewhere:
            found["elsewhere"] = purity(elsewhere, self.categories_elsewhere)
        return found


def purity(vectors: NDArray[np.float32], categories: Sequence[str]) -> float:
    """Categorical Purity, the mean over categories."""
    nearest, _ = nearest_neighbors(vectors, 10)
    found, names = prompt_purity(nearest, categories), np.array(categories)
    return float(np.mean([found[names == one].mean() for one in set(categories)]))


def scores(
    exemplars: NDArray[np.float32],
    unsafe: NDArray[np.bool_],
    asked: NDArray[np.float32],
    average: float,
) -> NDArray[np.float64]:
    """Raw scores of the default scorer, as an index of the exemplars gives them."""
    scorer = make_scorer(DEFAULT_SCORER)

    def nearest(rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        cosines = asked @ exemplars[rows].T
        top = -np.sort(-np.partition(cosines, -scorer.k, axis=1)[:, -scorer.k :], axis=1)
        return normalized_similarity(top.astype(np.float64), average)

    head = fit_balanced(exemplars, unsafe).logits(asked)
    return scorer.score(Evidence(nearest(unsafe), nearest(~unsafe), head))


Runs = dict[tuple[int, int], Measures]  # by fold and seed


class Results:
    """The file of finished trainings."""

    def __init__(self, path: Path, fingerprint: str, recipes: dict[str, Recipe]) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self._settings = {FROZEN: ""} | {
            name: one.model_dump_json() for name, one in recipes.items()
        }

    def runs(self, name: str) -> Runs:
        """What is known of one recipe, as it is set now."""
        if not self._path.exists():
            return {}
        lines = map(json.loads, self._path.read_text("utf-8").splitlines())
        of = (self._fingerprint, name, self._settings[name])
        return {
            (line["fold"], line["seed"]): line["measures"]
            for line in lines
            if (line["encoder"], line["name"], line["recipe"]) == of
        }

    def add(self, name: str, fold: int, seed: int, measures: Measures) -> None:
        """Keeps one training."""
        line = {"encoder": self._fingerprint, "name": name, "recipe": self._settings[name]}
        whole = {**line, "fold": fold, "seed": seed, "measures": measures}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(whole) + "\n")


def interval(values: Sequence[float], form: str) -> str:
    """Mean and half of its 95 % t interval."""
    mean = format(float(np.mean(values)), form)
    if len(values) < 2:
        return mean
    return f"{mean} ±{stats.t.ppf(0.975, len(values) - 1) * stats.sem(values):.3f}"


def show(name: str, rows: Sequence[Measures], form: str = ".3f") -> None:
    known = [key if all(key in row for row in rows) else None for key in COLUMNS]
    cells = "".join(
        f"{interval([row[key] for row in rows], form) if key else '-':>15}" for key in known
    )
    seconds = [row["cpu_seconds"] for row in rows if "cpu_seconds" in row]
    took = f"{np.mean(seconds):>8.0f}" if seconds else ""
    print(f"{name:<22}{len(rows):>5}{cells}{took}", flush=True)


def show_differences(name: str, rows: Runs, first: Runs) -> None:
    both = sorted(rows.keys() & first.keys())
    if both:
        changes = [
            {
                key: rows[run][key] - first[run][key]
                for key in COLUMNS
                if key in rows[run] and key in first[run]
            }
            for run in both
        ]
        show(name, changes, "+.3f")


def alike_but_for_strength(recipes: dict[str, Recipe]) -> list[list[str]]:
    """Names of recipes, those together that one training serves."""
    groups: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        groups.setdefault(recipe.model_dump_json(exclude={"strength"}), []).append(name)
    return list(groups.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--recipe", type=Path, nargs="*", default=[], help="TOML files")
    parser.add_argument("--folds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=Path("training_recipes.jsonl"))
    parser.add_argument("--data-dir", type=Path, help="has red-instruct/catqa_english.json")
    arguments = parser.parse_args()
    study = Study(arguments.encoder, arguments.data_dir)
    recipes = {path.stem: load_recipe(path) for path in arguments.recipe}
    recipes = recipes or {"recipe": recipe_for(study.encoder.dimension)}
    results = Results(arguments.results, study.encoder.fingerprint, recipes)
    for fold, seed in product(arguments.folds, arguments.seeds):
        for names in alike_but_for_strength(recipes):
            missing = [name for name in names if (fold, seed) not in results.runs(name)]
            if not missing:
                continue
            frozen, found = study.run([recipes[name] for name in missing], fold, seed)
            results.add(FROZEN, fold, 0, frozen)
            for name, measures in zip(missing, found, strict=True):
                results.add(name, fold, seed, measures)
                show(f"{name} {fold}/{seed}", [measures])
    titles = "".join(f"{title:>15}" for title in COLUMNS.values())
    print(f"\n{'mean':<22}{'runs':>5}{titles}   CPU s")
    for name in (FROZEN, *recipes):
        if known := results.runs(name):
            show(name, list(known.values()))
    first = next(iter(recipes))
    print(f"\n{'less ' + first:<22}{'runs':>5}{titles}")
    for name in recipes:
        if name != first:
            show_differences(name, results.runs(name), results.runs(first))


if __name__ == "__main__":
    main()
