"""The detector: a store of exemplars, an encoder, a scorer, and what was calibrated on them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from safe_embed.detection import documents
from safe_embed.detection.calibrate import Rates, make_calibration
from safe_embed.detection.calibration import CalibrationMethod
from safe_embed.detection.documents import Calibration, HeadDocument, IndexDocument
from safe_embed.detection.explain import explain
from safe_embed.detection.fitted import Fitted
from safe_embed.detection.heads import Heads, fit_head
from safe_embed.detection.index import (
    add_exemplars,
    check_canaries,
    fill_index,
    no_detector,
    require_encoder,
    to_exemplars,
)
from safe_embed.detection.judge import Judge
from safe_embed.detection.prepare import prepare
from safe_embed.detection.scorers import DEFAULT_SCORER, Scorer, make_scorer
from safe_embed.detection.verdict import EncoderName, Verdict
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.embedded import Progress
from safe_embed.records import ContrastSet, Prompt, PromptPair
from safe_embed.stores.base import Exemplar, ExemplarStore

if TYPE_CHECKING:
    from safe_embed.detection.evaluation import DetectionReport

__all__ = ["Detector"]


class Detector:
    """Tells unsafe prompts from safe ones by the exemplars that they are near to.

    Thread-safe, as far as the encoder is; the store may be changed by others meanwhile.

    Example:
        >>> from safe_embed import Prompt, load_encoder
        >>> detector = Detector.build(
        ...     [
        ...         Prompt(id="1", text="How do I kill a person?", label="unsafe"),
        ...         Prompt(id="2", text="How do I kill a Python process?", label="safe"),
        ...     ],
        ...     load_encoder("fake"),
        ...     average_similarity=0.1,
        ... )
        >>> detector.check("how do I kill the process").decision
        'allow'
        >>> detector.check("kill a person").evidence.unsafe[0].text
        'How do I kill a person?'
    """

    def __init__(
        self, store: ExemplarStore, encoder: Encoder, scorer: Scorer, index: IndexDocument
    ) -> None:
        """Use `build` or `open`; nothing is fitted before `refit` or `calibrate` with `refit`."""
        self._store = store
        self._encoder = encoder
        self._scorer = scorer
        self._index = index
        # Told with each verdict, and a fingerprint is a digest that takes a while.
        self._encoder_name = EncoderName(name=encoder.name, fingerprint=encoder.fingerprint)
        self._fitted = Fitted(None, None)
        self._heads: tuple[HeadDocument | None, Heads] = None, Heads(None)
        self._lock = threading.Lock()

    @classmethod
    def build(
        cls,
        prompts: Sequence[Prompt | Exemplar],
        encoder: Encoder,
        *,
        store: ExemplarStore | None = None,
        scorer: str | Scorer = DEFAULT_SCORER,
        average_similarity: float | None = None,
        source: str = "",
        progress: Progress | None = None,
    ) -> Self:
        """Adds prompts to a store, fits the head, and forgets an earlier calibration.

        Args:
            prompts: exemplars, each with a label; none where the store has them already.
            encoder: any encoder.
            store: where the exemplars live; in memory when None.
            scorer: a name of `SCORERS`, or a scorer.
            average_similarity: to normalise by; see `make_index_document` for when it is None.
            source: where the prompts come from; shown in the evidence.
            progress: called while texts are embedded.

        Raises:
            InputError: a prompt without a label, another encoder's store, or no exemplar of a
                label that the scorer needs.
        """
        if store is None:
            from safe_embed.stores.memory import MemoryStore

            store = MemoryStore(encoder.fingerprint, encoder.dimension)
        index = fill_index(
            store,
            encoder,
            prompts,
            average=average_similarity,
            source=source,
            progress=progress,
        )
        return cls(store, encoder, _scorer(scorer), index).refit()

    @classmethod
    def open(
        cls, store: ExemplarStore, encoder: Encoder, *, scorer: str | Scorer | None = None
    ) -> Self:
        """A detector on a store that was built before, with its head and its calibration.

        Args:
            store: as `build` left it; exemplars may have been added or removed since.
            encoder: the one that filled it.
            scorer: when None the one of the calibration, or else the default.

        Raises:
            InputError: another encoder, a document that is damaged or does not fit, or a store
                that no detector was built on.
        """
        require_encoder(store, encoder)
        index, head, calibration = documents.read_documents(store)
        if index is None:
            raise no_detector(store)
        check_canaries(store, index, encoder)
        if scorer is None and calibration is not None:
            scorer = make_scorer(**calibration.scorer)
        detector = cls(store, encoder, _scorer(scorer or DEFAULT_SCORER), index)
        if detector._scorer.uses_head and head is None:
            head = fit_head(store)
        detector._fitted = Fitted(head, calibration)
        detector._fitted.require_fit(detector._scorer)
        return detector

    @property
    def store(self) -> ExemplarStore:
        """The exemplars."""
        return self._store

    @property
    def encoder(self) -> Encoder:
        """What embeds the prompts."""
        return self._encoder

    @property
    def scorer(self) -> Scorer:
        """What makes a score of the neighbours."""
        return self._scorer

    @property
    def average_similarity(self) -> float:
        """By which similarities are normalised."""
        return self._index.average_similarity

    @property
    def calibration(self) -> Calibration | None:
        """Probabilities and thresholds; None before `calibrate`."""
        return self._fitted.calibration

    def add(self, prompts: Sequence[Prompt | Exemplar], *, source: str = "", note: str = "") -> int:
        """Adds exemplars, which count from the next check on; head and calibration stay.

        Returns:
            The version of the store that has them.

        Raises:
            InputError: a prompt without a label.
        """
        exemplars = to_exemplars(prompts, source=source)
        return add_exemplars(self._store, self._encoder, exemplars, note=note)

    def refit(self) -> Self:
        """Fits the head on the present exemplars; the calibration, made for another, is dropped.

        Raises:
            InputError: there is no exemplar of a label.
        """
        with self._lock:
            self._keep(Fitted.on(self._store, self._scorer))
        return self

    def calibrate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_fpr: float = 0.01,
        review_fpr: float | None = None,
        method: CalibrationMethod = "platt",
        per_category: bool = False,
        refit: bool = False,
    ) -> Self:
        """Sets the meaning of the score, and the thresholds, from prompts that are no exemplars.

        The promise is that of split conformal calibration: of benign prompts that are drawn as
        those given here, at most `max_fpr` are blocked (`conformal_threshold` states the theorem).
        Prompts that are exemplars are scored without themselves, which is fair to the others but
        voids the proof; the verdicts then say so.

        Args:
            prompts: with labels; `safe` ones should be drawn as the benign traffic is. Without
                unsafe ones there are thresholds, but the score is no probability.
            max_fpr: largest share of benign prompts to be blocked; needs 1 / max_fpr - 1 of them.
            review_fpr: largest share to be blocked or reviewed; five times `max_fpr`, at most
                0.5, when None, and `max_fpr` for no review.
            method: how probabilities are fitted.
            per_category: own thresholds for categories with enough benign prompts near them.
            refit: fit the head on the present exemplars first; both change as one, or not at all.

        Raises:
            InputError: a prompt without a label, too few benign ones, rates that cannot be, or a
                score that does not rise with harm.
        """
        with self._lock:
            fitted = Fitted.on(self._store, self._scorer) if refit else self._fitted
            calibration = make_calibration(
                self._judge(fitted, self._scorer),
                fitted.head_for(self._scorer),
                prompts,
                Rates(max_fpr, review_fpr),
                method=method,
                per_category=per_category,
            )
            self._keep(Fitted(fitted.head, calibration))
        return self

    def check(self, text: str) -> Verdict:
        """Judges one prompt.

        Raises:
            InputError: no prompt can be made of the text (`check_many`), or the index lacks a
                label.
        """
        return self.check_many([text])[0]

    def check_many(self, texts: Sequence[str]) -> list[Verdict]:
        """Judges prompts in batches; a verdict does not hang on the other prompts.

        Args:
            texts: prompts of at most 100,000 characters.

        Returns:
            Verdicts in the order of `texts`.

        Raises:
            InputError: `texts` is one string; a prompt is no string, blank, without a visible
                character, too long, or holds a lone surrogate (says which); or the index has no
                exemplar of a label that the scorer needs. Nothing is allowed by default.
        """
        fitted = self._fitted
        version = self._store.version
        levels, notes = fitted.levels(), fitted.notes(self._scorer, version)
        verdicts: list[Verdict] = []
        for scored in self._judge(fitted, self._scorer).score(prepare(texts)):
            verdicts += explain(
                scored,
                self._scorer,
                levels,
                average=self.average_similarity,
                encoder=self._encoder_name,
                index_version=version,
                notes=notes,
            )
        return verdicts

    def evaluate(self, items: Sequence[Prompt | PromptPair | ContrastSet]) -> DetectionReport:
        """Measures the verdicts on labelled items; see `evaluate_detector`."""
        from safe_embed.detection.evaluation import evaluate_detector  # it imports this module

        return evaluate_detector(self, items)

    def judge(self, scorer: Scorer | None = None) -> Judge:
        """What gives raw scores, for comparing scorers on one index.

        Args:
            scorer: another scorer than the detector's; one with a head needs a detector with one.
        """
        return self._judge(self._fitted, scorer or self._scorer)

    def _keep(self, fitted: Fitted) -> None:
        self._store.set_documents(
            documents.document_texts(self._index, fitted.head, fitted.calibration)
        )
        self._fitted = fitted

    def _judge(self, fitted: Fitted, scorer: Scorer) -> Judge:
        head = fitted.head_for(scorer)
        made_of, heads = self._heads
        if head is not made_of:
            heads = Heads(head.head() if head else None)
            self._heads = head, heads
        return Judge(self._store, self._encoder, scorer, self.average_similarity, heads)


def _scorer(given: str | Scorer) -> Scorer:
    return make_scorer(given) if isinstance(given, str) else given
