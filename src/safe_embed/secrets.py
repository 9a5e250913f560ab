"""Keys of services: the one place that reads them, and that keeps them out of what is printed."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from safe_embed.errors import DataError, InputError, UnknownNameError

__all__ = ["SECRETS", "Secret", "redact", "secret"]

SECRETS: dict[str, tuple[str, ...]] = {
    "OPENAI_API_KEY": ("OPENAI_API_KEY",),
    "HF_TOKEN": ("HF_TOKEN", "HUGGINGFACE_TOKEN"),
}
"""The secrets by name; each with the variables that may hold it, the first that does wins."""

_DOT_ENV = ".env"
_HIDDEN = "***"
_SHORT = 8  # what is shorter may be part of an ordinary word, and is replaced as a whole word only

_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_BLANK_OR_COMMENT = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_START = re.compile(rf"[ \t]*(?:export[ \t]+)?({_NAME})[ \t]*=[ \t]*")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r"(?:[^ \t\n#]|(?<![ \t])#|[ \t]+(?=[^ \t\n#]))*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\", "$": "$"}

_known: set[str] = set()
_lock = threading.Lock()


class Secret:
    """A text that shows itself only when it is asked to.

    Its repr, str and format are `***`; it cannot be pickled or copied to JSON. From when it is
    made, `redact` hides its value wherever it turns up.

    Args:
        value: the text; not empty.

    Raises:
        InputError: the text is empty.

    Example:
        >>> key = Secret("sk-not-a-real-key")
        >>> key, f"{key}", redact("you sent sk-not-a-real-key")
        (Secret(***), '***', 'you sent ***')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value:
            raise InputError("a secret must not be empty")
        self._value = value
        with _lock:
            _known.add(value)

    def reveal(self) -> str:
        """The text itself; use it where it is sent, and keep it in no variable."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({_HIDDEN})"

    def __str__(self) -> str:
        return _HIDDEN

    def __format__(self, spec: str) -> str:
        return format(_HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled; read it again where it is needed")


def secret(name: str) -> Secret | None:
    """Reads a secret from the environment, else from the file `.env` in the working directory.

    A variable that is set but empty says that there is none, and `.env` is then not asked. White
    space at either end is dropped.

    Args:
        name: a name of the table `SECRETS`.

    Returns:
        The secret, or None where nobody has set it.

    Raises:
        UnknownNameError: the table has no such name.
        DataError: `.env` cannot be read or has a line that is no assignment; names the row and
            never shows the line.
    """
    if name not in SECRETS:
        raise UnknownNameError("secret", name, SECRETS)
    variables = SECRETS[name]
    value = next((os.environ[each] for each in variables if each in os.environ), None)
    if value is None:
        file = _read_dot_env(Path(_DOT_ENV))
        value = next((file[each] for each in variables if each in file), "")
    value = value.strip()
    return Secret(value) if value else None


def redact(text: str) -> str:
    """Replaces each secret that this process knows by `***`.

    Finds a secret also as JSON or a URL would spell it. To be used, before any shortening, on all
    that comes from outside and is shown: messages of servers and of libraries.
    """
    with _lock:
        values = tuple(_known)
    spellings = {
        spelling
        for value in values
        for spelling in (
            value,
            json.dumps(value)[1:-1],
            quote(value, errors="replace"),
            quote(value, safe="", errors="replace"),
        )
    }
    for spelling in sorted(spellings, key=len, reverse=True):  # one may be a part of another
        if spelling in text:
            pattern = re.escape(spelling)
            if len(spelling) < _SHORT:
                pattern = rf"(?<!\w){pattern}(?!\w)"
            text = re.sub(pattern, _HIDDEN, text)
    return text


def _read_dot_env(path: Path) -> dict[str, str]:
    if not path.is_file():  # a directory of that name is somebody's virtual environment
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")  # and \r\n becomes \n
    except UnicodeDecodeError:
        raise DataError(path, "must be UTF-8 text; save it again as UTF-8") from None
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    return _parse(text, path)


def _parse(text: str, path: Path) -> dict[str, str]:
    """Reads the assignments of a `.env` file; of a name that comes twice the last one counts.

    `NAME=value`, with or without `export` before it. A value in single quotes is taken as it is;
    one in double quotes may hold backslash escapes; both may span lines. A value without quotes
    ends with its line, or where white space and `#` begin a comment. `$NAME` is not expanded.
    """
    values: dict[str, str] = {}
    position = 0
    while position < len(text):
        if blank := _BLANK_OR_COMMENT.match(text, position):
            position = blank.end()
            continue
        row = text.count("\n", 0, position) + 1
        start = _START.match(text, position)
        if start is None:
            raise DataError(path, "a line must be NAME=value or a # comment; mend it", row=row)
        values[start[1]], position = _value(text, start.end(), path, row)
    return values


def _value(text: str, position: int, path: Path, row: int) -> tuple[str, int]:
    """The value that starts at a position, and where the next line starts."""
    opening = text[position : position + 1]
    pattern = {"'": _SINGLE, '"': _DOUBLE}.get(opening, _BARE)
    match = pattern.match(text, position)
    if match is None:
        raise DataError(path, f"the quote {opening} is not closed; close it", row=row)
    rest = _BLANK_OR_COMMENT.match(text, match.end())
    if rest is None:
        raise DataError(path, "something follows the closing quote; remove it", row=row)
    if pattern is _DOUBLE:
        return _ESCAPE.sub(lambda m: _ESCAPED.get(m[1], m[0]), match[1]), rest.end()
    return match[1] if pattern is _SINGLE else match[0], rest.end()
