"""What do 200 pairs of one's own bring? Of a kind of prompt that the other data lack.

    python benchmarks/own_pairs.py [--encoder minilm] [--recipe FILE] [--n 200] [--seed 0]
        [--own privacy groups]

The own pairs are of one sitting of safe-embed-core's train split and of types that are left out of
everything else: about private persons against public and fictional ones (privacy), or against
groups of people (groups). So many of them are added, and the others of that sitting are asked.
No test set is read. Needs the extra torch.

Prints AUROC and order of the pairs that are asked, with 95 % intervals over pairs: for the frozen
encoder and for the one that was trained without them, both with the own pairs left out and as
exemplars, and for the one that was trained with them. Then what training with them adds to having
them as exemplars, with a paired permutation test, and the seconds that this took, embedding
included. The scores are raw ones of the default scorer on whole texts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safe_embed.detection.heads import fit_balanced
from safe_embed.metrics import average_similarity
from safe_embed.metrics.detection import auroc, estimate, pair_accuracy
from safe_embed.metrics.paired import paired_difference
from safe_embed.training.examples import Examples
from safe_embed.training.loop import train_adapter
from safe_embed.training.model import TunedModel
from safe_embed.training.recipe import Recipe, load_recipe, recipe_for
from training_recipes import Study, scores

OWN = {
    "privacy": ("pairs-privacy", frozenset(("privacy_publicity", "privacy_fictionality"))),
    "groups": ("pairs-groups", frozenset(("group", "action"))),
}
Vectors = NDArray[np.float32]


class Parts:
    """Rows of all examples: the general ones, the own ones that are added, and those asked."""

    def __init__(self, study: Study, own: str, n: int) -> None:
        batch, types = OWN[own]
        examples = study.examples
        records = [study.records[text] for text in examples.texts]
        mine = np.array([one.type in types for one in records], dtype=bool)
        here = [row for row, one in enumerate(records) if one.batch == batch]
        twins = examples.only(here).twins
        if not 0 < n < len(twins):
            raise SystemExit(f"{own} has {len(twins)} pairs; give --n from 1 to {len(twins) - 1}")
        order = np.random.default_rng(0).permutation(len(twins))
        rows = np.array(here)[twins[order]]
        self.general = np.flatnonzero(~mine)
        self.added, self.asked = rows[:n].ravel(), rows[n:]


def embed(study: Study, recipe: Recipe, rows: NDArray[np.int64], seed: int) -> tuple[Vectors, ...]:
    """Embeddings of all examples and of baseline prompts, trained on the examples of some rows.

    Without rows, by the frozen encoder.
    """
    model = TunedModel(study.encoder, recipe, device="cpu", seed=seed)
    every = study.states(model, recipe, study.examples.texts)
    if len(rows):
        examples = study.examples.only(rows)
        states = [every[row] for row in rows.tolist()]
        head = fit_balanced(model.embed(states).numpy(), examples.unsafe)
        train_adapter(model, examples, states, recipe, head=head, seed=seed)
    baseline = study.states(model, recipe, study.baseline)
    return model.embed(every).numpy(), model.embed(baseline).numpy()


def show(
    name: str, found: tuple[Vectors, ...], examples: Examples, parts: Parts, *, added: bool
) -> NDArray[np.float64]:
    """Prints a line; returns for each pair whether its order is right."""
    vectors, baseline = found
    average = average_similarity(baseline[::2], baseline[1::2], n_resamples=2).mean
    exemplars = np.concatenate([parts.general, parts.added]) if added else parts.general
    asked = parts.asked.T.ravel()
    score = scores(vectors[exemplars], examples.unsafe[exemplars], vectors[asked], average)
    n = len(parts.asked)
    pairs = [str(number) for number in range(n)]
    area = estimate(auroc, score, examples.unsafe[asked], clusters=[*pairs, *pairs])
    difference = score[:n] - score[n:]
    right = estimate(pair_accuracy, difference, np.ones(n, dtype=bool))
    cells = [f"{one.value:.3f} ({one.ci95[0]:.3f} to {one.ci95[1]:.3f})" for one in (area, right)]
    print(f"| {name} | {'yes' if added else 'no'} | {cells[0]} | {cells[1]} |", flush=True)
    return (difference > 0).astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--recipe", type=Path, help="TOML file")
    parser.add_argument("--n", type=int, default=200, help="pairs that are added")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--own", nargs="+", choices=OWN, default=list(OWN))
    arguments = parser.parse_args()
    study = Study(arguments.encoder, None)
    recipe = (
        load_recipe(arguments.recipe) if arguments.recipe else recipe_for(study.encoder.dimension)
    )
    examples = study.examples
    for own in arguments.own:
        parts = Parts(study, own, arguments.n)
        print(f"\n{own}: {arguments.n} pairs of its own, {len(parts.asked)} asked")
        print("| encoder | own pairs in the index | AUROC | pairs in order |\n|---|---|---|---|")
        frozen = embed(study, recipe, parts.general[:0], arguments.seed)
        for added in (False, True):
            show("frozen", frozen, examples, parts, added=added)
        without = embed(study, recipe, parts.general, arguments.seed)
        show("trained without them", without, examples, parts, added=False)
        before = show("trained without them", without, examples, parts, added=True)
        started, cpu = time.perf_counter(), time.process_time()
        rows = np.concatenate([parts.general, parts.added])
        trained = embed(study, recipe, rows, arguments.seed)
        took = time.perf_counter() - started, time.process_time() - cpu
        after = show("trained with them", trained, examples, parts, added=True)
        change = paired_difference(before, after)
        print(
            f"training with them adds {change.difference:+.3f} ({change.ci95[0]:+.3f} to "
            f"{change.ci95[1]:+.3f}) to the order of pairs, p {change.p_value:.4f}; "
            f"{took[0]:.0f} s, of CPU {took[1]:.0f} s"
        )


if __name__ == "__main__":
    main()
