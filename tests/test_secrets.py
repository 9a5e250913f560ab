from __future__ import annotations

import copy
import json
import pickle
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed import secrets
from safe_embed.errors import DataError, InputError, UnknownNameError
from safe_embed.secrets import SECRETS, Secret, _parse, redact, secret

KEY = "sk-proj-1234567890abcdef"


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(secrets, "_known", set())
    for variables in SECRETS.values():
        for variable in variables:
            monkeypatch.delenv(variable, raising=False)
    return tmp_path


def revealed(name: str = "OPENAI_API_KEY") -> str | None:
    found = secret(name)
    return None if found is None else found.reveal()


def parse(text: str) -> dict[str, str]:
    return _parse(text, Path(".env"))


def test_a_secret_shows_itself_nowhere_but_when_asked() -> None:
    hidden = Secret(KEY)
    assert hidden.reveal() == KEY
    shown = [repr(hidden), str(hidden), f"{hidden}", f"{hidden:>9}", f"{hidden!r}", f"{[hidden]}"]
    assert not any(KEY in text for text in shown)
    assert shown[0] == "Secret(***)"
    for leak in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError) as error:
            leak(hidden)  # type: ignore[operator]
        assert KEY not in "".join(traceback.format_exception(error.value))
    assert not hasattr(hidden, "__dict__")


def test_secrets_are_equal_when_their_values_are() -> None:
    assert Secret(KEY) == Secret(KEY) != Secret("another-key")
    assert Secret(KEY) != KEY
    assert len({Secret(KEY), Secret(KEY)}) == 1


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        Secret("")


def test_nothing_set_gives_none() -> None:
    assert secret("OPENAI_API_KEY") is None


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("OPENAI_API_KEY=from-file\n")
    assert revealed() == "from-file"
    monkeypatch.setenv("OPENAI_API_KEY", " from-environment\n")
    assert revealed() == "from-environment"


def test_an_empty_variable_says_that_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("OPENAI_API_KEY=from-file\n")
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert secret("OPENAI_API_KEY") is None


def test_the_hubs_token_has_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("HUGGINGFACE_TOKEN=hf_file\n")
    assert revealed("HF_TOKEN") == "hf_file"
    monkeypatch.setenv("HUGGINGFACE_TOKEN", "hf_second")
    assert revealed("HF_TOKEN") == "hf_second"
    monkeypatch.setenv("HF_TOKEN", "hf_first")
    assert revealed("HF_TOKEN") == "hf_first"


def test_an_unknown_name_is_refused_with_a_hint() -> None:
    with pytest.raises(UnknownNameError, match="HF_TOKEN"):
        secret("HF_TOKENS")


def test_a_directory_named_dot_env_is_no_file_of_keys() -> None:
    Path(".env").mkdir()
    assert secret("OPENAI_API_KEY") is None


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("K=abc", "abc"),
        ("export K=abc", "abc"),
        ("  export\tK = abc  ", "abc"),
        ("K=a=b==", "a=b=="),
        ("K=abc # comment", "abc"),
        ("K=abc#def", "abc#def"),
        ("K=a b\t# comment", "a b"),
        ("K=# value", "# value"),
        ("K= # comment", ""),
        ("K=", ""),
        ("K=''", ""),
        ("K='a # b' # comment", "a # b"),
        ('K="a # b"# comment', "a # b"),
        ("K='a\\n\"b'", 'a\\n"b'),
        (r'K="a\n\"b\" \\ \$ \d"', 'a\n"b" \\ $ \\d'),
        ('K="two\nlines"', "two\nlines"),
        ("K=it's", "it's"),
        ("K=$HOME", "$HOME"),
        ("K=\N{SNOWMAN}\u00a0x", "\N{SNOWMAN}\u00a0x"),
        ("K=old\nK=new", "new"),
        ("# K=no\n\n \t\nK=abc", "abc"),
    ],
)
def test_lines_that_are_understood(line: str, value: str) -> None:
    assert parse(line) == parse(f"{line}\n") == {"K": value}
    assert parse(f"{line}\nNEXT=1") == {"K": value, "NEXT": "1"}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\N{ZERO WIDTH NO-BREAK SPACE}"])
def test_files_of_other_editors(newline: str, mark: str) -> None:
    text = f"{mark}OPENAI_API_KEY='abc'{newline}OTHER=1{newline}"
    Path(".env").write_bytes(text.encode())
    assert revealed() == "abc"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (KEY, "NAME=value"),
        (f"1K={KEY}", "NAME=value"),
        (f"OPENAI_API_KEY {KEY}", "NAME=value"),
        (f"={KEY}", "NAME=value"),
        (f"K='{KEY}", "quote ' is not closed"),
        (f'K="{KEY}\\"', 'quote " is not closed'),
        (f"K='{KEY}' {KEY}", "follows the closing quote"),
    ],
)
def test_a_bad_line_is_named_by_its_row_and_never_shown(line: str, message: str) -> None:
    Path(".env").write_text(f"# one\nFINE='two\nthree'\n{line}\n")
    with pytest.raises(DataError, match=rf"^\.env, row 4: .*{message}") as error:
        secret("OPENAI_API_KEY")
    assert error.value.row == 4
    assert KEY not in "".join(traceback.format_exception(error.value))


def test_a_file_that_is_no_utf8_is_told() -> None:
    Path(".env").write_bytes(f"OPENAI_API_KEY={KEY}".encode("utf-16"))
    with pytest.raises(DataError, match="must be UTF-8"):
        secret("OPENAI_API_KEY")


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]*", fullmatch=True), st.text()))
def test_what_is_quoted_comes_back(values: dict[str, str]) -> None:
    def quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    lines = [f"export {name}={quoted(value)}  # kept" for name, value in values.items()]
    assert parse("\n".join(lines)) == values


@given(st.text(alphabet="K= \t\n#'\"\\ax", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    row: int | None = 1
    try:
        assert all(isinstance(value, str) for value in parse(text).values())
    except DataError as error:
        row = error.row
    assert row in range(1, text.count("\n") + 2)


def test_redact_hides_every_known_secret_however_it_is_spelled() -> None:
    Secret('p@ss"w/rd & more')
    Secret(KEY)
    Secret(f"{KEY}-longer")
    text = (
        f'{KEY}-longer and {KEY}, "p@ss\\"w/rd & more", p%40ss%22w%2Frd%20%26%20more, '
        "p%40ss%22w/rd%20%26%20more"
    )
    assert redact(text) == '*** and ***, "***", ***, ***'


def test_redact_leaves_words_that_hold_a_short_secret() -> None:
    Secret("none")
    assert redact("nonetheless none was sent") == "nonetheless *** was sent"


def test_redact_leaves_a_text_without_secrets() -> None:
    assert redact("nothing to hide") == "nothing to hide"


@given(st.text(min_size=1))
def test_redact_takes_any_text(text: str) -> None:
    assert isinstance(redact(text), str)
