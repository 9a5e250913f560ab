"""The answer of a language model as the edits of one prompt, or the reason why it is none.

Strict about what an answer says, tolerant of its wrapping. An answer that was cut off, or that can
be read in two ways, is refused and never repaired: a guessed edit would be measured as if a model
had written it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from safe_embed.records import check_text

__all__ = [
    "AnswerError",
    "Reason",
    "check_edits",
    "edit_distance",
    "is_refusal",
    "parse_answer",
    "words",
]

Reason = Literal[
    "refusal",
    "not JSON",
    "wrong count",
    "duplicate edit",
    "unchanged",
    "edit too large",
    "empty",
    "judge says unsafe",
    "budget",
    "content filter",
    "timeout",
    "server error",
    "other prompt",
]
"""Why there is no contrast set of a prompt."""

_LISTS = ("edits", "contrasts", "modified_prompts", "prompts")
_TEXTS = ("modified_prompt", "edit", "prompt", "text")
_REFUSALS = ("refusal", "error")
_NUMBERED = re.compile(
    r"(?:modified[_ ]?)?(?:prompt|edit|contrast)[_ ]?#?([0-9]{1,4})", re.IGNORECASE
)
_START = re.compile(r'[{\[](?=\s*["{\[}\]])')  # other brackets belong to the text around
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.|\\\Z)*+(?:"|\Z))|,(?=\s*[}\]])', re.DOTALL)
_SMART_QUOTES = str.maketrans("\u201c\u201d\u201e\u201f", '""""')
_REFUSAL = re.compile(
    r"(?:(?:i'm|i am|we're|we are) (?:(?:very|so|really|truly) )?(?:sorry|afraid)\b"
    r"|(?:i|we) (?:really )?apologi[sz]e\b"
    r"|(?:my|our) apologies\b"
    r"|sorry,? (?:but )?(?:i|we) "
    r"|(?:i|we) (?:just |really )?(?:can't|cannot|can not|won't|will not|must decline|refuse)\b"
    r"|(?:i'm|i am|we're|we are) (?:unable|not able|not comfortable|not willing)\b"
    r"|as an? (?:ai|language model|large language model|assistant)\b)"
)


class AnswerError(Exception):
    """An answer gives no contrast set; one such answer never ends a run.

    Args:
        reason: which of the known reasons.
        detail: what was found, for people.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


def parse_answer(raw: str, n: int, *, prompt_id: str | None = None) -> list[str]:
    """Reads the edits out of a model's answer.

    The answer is one JSON value, perhaps in a code fence, with text around it, with typographic
    quotes or with a comma too many: `{"id": ..., "edits": [...]}`,
    `{"prompt_#1": {"modified_prompt": ...}, ...}` as in the paper, or a list of texts.

    Args:
        raw: the text that the model answered.
        n: how many edits were asked for.
        prompt_id: the id of the prompt that was asked; None to accept any.

    Returns:
        The n edits in their order, to the letter, each usable as a prompt.

    Raises:
        AnswerError: "empty", "refusal", "not JSON", "wrong count", or "other prompt" where the
            answer has the id of another one.
    """
    if not raw.strip():
        raise AnswerError("empty", "the answer is blank")
    answers = _answers(raw)
    if not answers:
        answers = _answers(_TRAILING_COMMA.sub(r"\1", _with_plain_quotes(raw)))
    if not answers:
        if is_refusal(raw):
            raise AnswerError("refusal", _shown(raw))
        raise AnswerError(
            "not JSON", f"no JSON of edits, cut off or of another form: {_shown(raw)}"
        )
    texts = _the_one(answers, n, prompt_id)
    if len(texts) != n:
        raise AnswerError("wrong count", f"{len(texts)} edits, must be {n}")
    return [_text(item, number) for number, item in enumerate(texts, 1)]


def check_edits(
    original: str, edits: Sequence[str], n: int, *, max_edit: float | None = None
) -> None:
    """Checks that the edits of a prompt are what was asked for.

    Two texts are equal where they have the same `words`.

    Args:
        original: the prompt.
        edits: its edits.
        n: how many there must be.
        max_edit: largest `edit_distance` that is allowed, at least 0; None for no limit.

    Raises:
        AnswerError: "wrong count", "empty", "unchanged", "duplicate edit" or "edit too large".
    """
    if len(edits) != n:
        raise AnswerError("wrong count", f"{len(edits)} edits, must be {n}")
    seen = {words(original): 0}
    for number, edit in enumerate(edits, 1):
        if not edit.strip():
            raise AnswerError("empty", f"edit {number} is blank")
        first = seen.setdefault(words(edit), number)
        if first == 0:
            raise AnswerError("unchanged", f"edit {number} is the original")
        if first != number:
            raise AnswerError("duplicate edit", f"edit {number} is edit {first} again")
    if max_edit is None:
        return
    for number, edit in enumerate(edits, 1):
        distance = edit_distance(original, edit)
        if distance > max_edit:
            raise AnswerError(
                "edit too large",
                f"edit {number} changes {distance:.2f} of the original's words, at most "
                f"{max_edit:.2f} are allowed",
            )


class _Separators(dict[int, str]):
    """What each character becomes before a text is split into words; filled as it is asked."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if unicodedata.category(character)[0] not in "LMNS":
            value = " "
        elif unicodedata.name(character, "").startswith(("CJK UNIFIED", "HIRAGANA", "KATAKANA")):
            value = f" {character} "
        else:
            value = character
        self[code] = value
        return value


_SEPARATORS = _Separators()


def words(text: str) -> tuple[str, ...]:
    """The words of a text, by which edits are compared and counted.

    Neither case, white space, punctuation nor the compatibility form of a character (NFKC) tells
    two words apart. Chinese and Japanese have no spaces; there each character is a word. A text
    of nothing but punctuation is one word.

    Example:
        >>> words("How do I kill a  Python-process?")
        ('how', 'do', 'i', 'kill', 'a', 'python', 'process')
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return tuple(folded.translate(_SEPARATORS).split() or folded.split())


def edit_distance(original: str, edit: str) -> float:
    """Words to insert, delete or replace (Levenshtein), per word of the original.

    Returns:
        0 for equal words, 1 where as many were changed as the original has; more where the edit
        is much longer.

    Example:
        >>> edit_distance("Tell me a dirty joke.", "Tell me a clean joke.")
        0.2
    """
    from rapidfuzz.distance import Levenshtein  # late, so that the package imports fast

    before = words(original)
    return Levenshtein.distance(before, words(edit)) / max(1, len(before))


def is_refusal(text: str) -> bool:
    """Whether a text begins like a refusal of a model (in English), and not like a prompt."""
    plain = " ".join(text.replace("\u2019", "'").casefold().split())
    return _REFUSAL.match(plain.lstrip("\"'*_# ")) is not None


def _answers(text: str) -> list[tuple[object, list[object]]]:
    """The JSON values of a text that have the form of an answer, as (id or None, edits)."""
    found = [_edits_of(value) for value in _json_values(text)]
    return [answer for answer in found if answer is not None]


def _json_values(text: str) -> Iterator[object]:
    """The objects and lists of a text that are not inside another one.

    The scan ends at a bracket that opens JSON and is broken: what is inside it is a part of an
    answer, which must not be taken for a whole one.
    """
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_unique_keys)
    position = 0
    while match := _START.search(text, position):
        try:
            value, position = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            return
        yield value


def _with_plain_quotes(text: str) -> str:
    """Typographic quotes made plain; where there are plain ones too, they belong to the texts."""
    return text if '"' in text else text.translate(_SMART_QUOTES)


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise AnswerError("not JSON", "a key stands twice in one object")
    return values


def _edits_of(value: object) -> tuple[object, list[object]] | None:
    if isinstance(value, list):
        return None, value
    if not isinstance(value, dict):
        return None
    for name in _REFUSALS:
        if isinstance(value.get(name), str) and value[name].strip():
            raise AnswerError("refusal", _shown(value[name]))
    for name in _LISTS:
        inner = value.get(name)
        if isinstance(inner, dict):
            inner = _numbered(inner) or None
        if isinstance(inner, list):
            return value.get("id"), inner
    numbered = _numbered(value)
    return (value.get("id"), numbered) if numbered else None


def _numbered(value: Mapping[str, object]) -> list[object]:
    """Values of keys such as `prompt_#1`, in the order of their numbers."""
    found = [(int(match[1]), key) for key in value if (match := _NUMBERED.fullmatch(key.strip()))]
    return [value[key] for _, key in sorted(found)]


def _the_one(
    answers: list[tuple[object, list[object]]], n: int, prompt_id: str | None
) -> list[object]:
    """The edits of the only answer: models write a draft, or an example, beside it."""
    own = [
        edits for id_, edits in answers if None in (id_, prompt_id) or str(id_).strip() == prompt_id
    ]
    if not own:
        raise AnswerError("other prompt", f"the answer has the id {str(answers[0][0])[:60]!r}")
    complete = [edits for edits in own if len(edits) == n] or own
    if any(edits != complete[0] for edits in complete):
        raise AnswerError("not JSON", f"{len(complete)} different answers in one text")
    return complete[0]


def _text(item: object, number: int) -> str:
    """The text of one edit, which may be an object with that text only."""
    if isinstance(item, dict):
        item = next((item[name] for name in _TEXTS if name in item), None)
    if not isinstance(item, str):
        raise AnswerError("not JSON", f"edit {number} is not a text")
    if not item.strip():
        raise AnswerError("empty", f"edit {number} is blank")
    try:
        return check_text(item)
    except ValueError as error:
        raise AnswerError("not JSON", f"edit {number} {error}") from None


def _shown(text: str) -> str:
    """The beginning of a text on one line, printable whatever it holds."""
    return ascii(" ".join(text[:300].split())[:80])[1:-1]
