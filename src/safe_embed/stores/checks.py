"""What every store refuses, said once: exemplars, embeddings and queries that cannot be right."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import InputError, UnknownNameError
from safe_embed.records import Label, check_text
from safe_embed.stores.base import Exemplar

__all__ = [
    "checked_documents",
    "checked_embeddings",
    "checked_queries",
    "checked_rows",
    "require_distinct",
    "require_unicode",
    "require_version",
    "unknown_exemplar",
]

_LENGTH_TOLERANCE = 1e-3  # float16 rounding stays below it, a vector that was not scaled does not
_ROWS_AT_ONCE = 8192
_IDS_COMPARED = 2000  # comparing takes some 10 microseconds each


def checked_rows(
    exemplars: Sequence[Exemplar], embeddings: NDArray[Any], dimension: int
) -> NDArray[np.float32]:
    """Returns the embeddings as float32 where they can be the rows of these exemplars.

    Raises:
        InputError: shapes that do not fit, rows that are not finite or not of length 1, an id
            twice, or an exemplar whose id, text or label cannot be.
    """
    require_distinct([one.id for one in exemplars])
    for one in exemplars:
        _check_exemplar(one)
    return checked_embeddings(embeddings, len(exemplars), dimension)


def checked_documents(documents: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the documents where a store can keep them.

    Raises:
        InputError: a text holds a lone surrogate.
    """
    for key, text in documents.items():
        require_unicode(f"the document {key!r}", text)
    return documents


def checked_embeddings(
    embeddings: NDArray[Any], n_texts: int, dimension: int
) -> NDArray[np.float32]:
    """Returns embeddings as float32 where they can be those of n texts.

    Raises:
        InputError: not of shape (n_texts, dimension), or a row not finite or not of length 1.
    """
    expected = (n_texts, dimension)
    if np.shape(embeddings) != expected:
        raise InputError(
            f"the embeddings of {n_texts} exemplars must have shape {expected}, got "
            f"{np.shape(embeddings)}; embed them with the encoder of the store"
        )
    return _unit(embeddings, "embedding")


def checked_queries(queries: NDArray[Any], dimension: int, k: int) -> NDArray[np.float32]:
    """Returns the queries as float32 where a search can answer them.

    Raises:
        InputError: not of shape (n, dimension), a row not finite or not of length 1, or k < 1.
    """
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    if np.ndim(queries) != 2 or np.shape(queries)[1] != dimension:
        raise InputError(
            f"queries must have shape (n, {dimension}), got {np.shape(queries)}; "
            "embed them with the encoder of the store"
        )
    return _unit(queries, "query")


def require_distinct(ids: Sequence[str]) -> None:
    """Refuses a list that names one exemplar twice.

    Raises:
        InputError: an id is there twice.
    """
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise InputError(f"the id {one!r} is there twice; give each exemplar an id of its own")
        seen.add(one)


def require_version(version: int, newest: int) -> None:
    """Refuses a version that the store never had.

    Raises:
        InputError: it is below 0 or above the newest.
    """
    if not 0 <= version <= newest:
        raise InputError(f"there is no version {version}: the store has versions 0 to {newest}")


def require_unicode(what: str, text: str) -> None:
    """Refuses a text that cannot be written as UTF-8.

    Args:
        what: names it in the message.
        text: to be kept.

    Raises:
        InputError: it holds a lone surrogate.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} holds a lone surrogate at character {error.start + 1}; decode it as UTF-8"
        ) from None


def unknown_exemplar(wanted: str, known: Collection[str]) -> UnknownNameError:
    """The error for an id that no exemplar has; it names a few of those that are there.

    Args:
        wanted: the id.
        known: all ids.
    """
    if not known:
        return UnknownNameError("exemplar", wanted, ["none, the store is empty"])
    compared = list(islice(known, _IDS_COMPARED))
    close = difflib.get_close_matches(wanted, compared, n=2) or compared[:3]
    return UnknownNameError(
        "exemplar", wanted, close, remedy=f"The store has {len(known):,}; list them."
    )


def _check_exemplar(one: Exemplar) -> None:
    for what, text in (("id", one.id), ("text", one.text)):
        try:
            check_text(text)
        except ValueError as error:
            raise InputError(f"the {what} of exemplar {one.id!r} {error}") from None
    if "\0" in one.id:
        raise InputError(f"the id {one.id!r} holds a NUL character; choose another id")
    if one.label not in get_args(Label):
        raise InputError(f"the label of {one.id!r} must be unsafe or safe, got {one.label!r}")
    for text in (one.category or "", one.source, one.tenant):
        require_unicode(f"the category, source or tenant of {one.id!r}", text)


def _unit(vectors: NDArray[Any], what: str) -> NDArray[np.float32]:
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        lengths = np.sqrt(np.einsum("nd,nd->n", part, part, dtype=np.float64))
        bad = np.flatnonzero(~(np.abs(lengths - 1) <= _LENGTH_TOLERANCE))  # NaN is bad too
        if bad.size:
            length = lengths[bad[0]]
            raise InputError(
                f"{what} {start + bad[0]} of {len(rows)} must be finite and of length 1, got "
                f"length {length:.4g}; scale it with safe_embed.vectors.normalize_rows"
            )
    return rows
