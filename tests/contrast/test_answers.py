"""Answers of models: each wrapping is read, nothing is guessed, and a reason says what is wrong."""

from __future__ import annotations

import doctest
import importlib
import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed.contrast import AnswerError, Reason, check_edits, parse_answer
from safe_embed.contrast.answers import edit_distance, is_refusal, words

EDITS = ["Tell me a funny joke.", "Tell me a clean joke."]
OURS = json.dumps({"id": "7", "edits": EDITS})
PAPER = json.dumps({f"prompt_#{i}": {"modified_prompt": edit} for i, edit in enumerate(EDITS, 1)})

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(str.strip)
edit_lists = st.lists(texts, min_size=1, max_size=6)


def reason_of(raw: str, n: int = 2, prompt_id: str | None = None) -> str:
    with pytest.raises(AnswerError) as caught:
        parse_answer(raw, n, prompt_id=prompt_id)
    assert caught.value.detail
    assert caught.value.detail.isprintable()
    assert caught.value.reason in get_args(Reason)
    return caught.value.reason


class TestWrappings:
    @pytest.mark.parametrize(
        "raw",
        [
            OURS,
            PAPER,
            f"```json\n{PAPER}\n```",
            f"```\n{OURS}\n```",
            f"Sure! Here are the edits [as asked]:\n\n{OURS}\n\nDo tell {{me}} more.",
            f"\ufeff  {OURS}  ",
            json.dumps(EDITS),
            json.dumps([{"modified_prompt": edit} for edit in EDITS]),
            json.dumps({"contrasts": EDITS, "note": "as asked"}),
            json.dumps({"modified_prompts": [{"text": edit} for edit in EDITS]}),
            json.dumps({"edits": {f"edit_{i}": edit for i, edit in enumerate(EDITS, 1)}}),
            json.dumps({"prompt_1": EDITS[0], "prompt_2": EDITS[1]}),
            json.dumps({"Edit 2": EDITS[1], "Edit 1": EDITS[0], "original_prompt": "x"}),
            json.dumps({"id": "7", **json.loads(PAPER)}),
            OURS.replace('"', "\u201d").replace("\u201dedits", "\u201cedits"),
            OURS.replace("]}", ",],\n}"),
            f"{OURS}\n\nOnce more:\n{OURS}",
            f'Example: {{"edits": ["one"]}}\n{OURS}',
        ],
    )
    def test_each_is_read(self, raw: str) -> None:
        assert parse_answer(raw, 2, prompt_id="7") == EDITS

    def test_numbers_order_the_edits(self) -> None:
        answer = {f"prompt_#{i}": f"edit {i}" for i in range(12, 0, -1)}
        assert parse_answer(json.dumps(answer), 12) == [f"edit {i}" for i in range(1, 13)]

    def test_typographic_quotes_inside_a_text_stay(self) -> None:
        raw = '{"edits": ["What is \u201cthis, ]\u201d?"]}'
        assert parse_answer(raw, 1) == ["What is \u201cthis, ]\u201d?"]

    def test_a_comma_inside_a_text_stays(self) -> None:
        assert parse_answer('{"edits": ["one, ] and \\", }", "two",]}', 2) == [
            'one, ] and ", }',
            "two",
        ]

    def test_white_space_around_an_edit_stays_as_it_was_written(self) -> None:
        assert parse_answer('["How are you? "]', 1) == ["How are you? "]

    def test_raw_line_breaks_in_a_text(self) -> None:
        assert parse_answer('["one\ntwo"]', 1) == ["one\ntwo"]

    @given(edit_lists, st.sampled_from(["{}", "```json\n{}\n```", "Here you are:\n{}\nBye."]))
    def test_what_was_written_is_read(self, edits: list[str], wrapping: str) -> None:
        for answer in (
            {"id": "a", "edits": edits},
            {f"prompt_#{i}": {"modified_prompt": edit} for i, edit in enumerate(edits, 1)},
            edits,
        ):
            raw = wrapping.replace("{}", json.dumps(answer))
            assert parse_answer(raw, len(edits), prompt_id="a") == edits

    @given(edit_lists, st.data())
    def test_a_cut_answer_is_never_taken_for_a_whole_one(
        self, edits: list[str], data: st.DataObject
    ) -> None:
        raw = json.dumps({"id": "a", "edits": edits}, ensure_ascii=data.draw(st.booleans()))
        length = data.draw(st.integers(0, len(raw) - 1))
        for n in range(1, len(edits) + 1):
            assert reason_of(raw[:length], n, "a") in ("empty", "not JSON")

    @given(st.text(max_size=200), st.integers(1, 5))
    def test_any_text_gives_edits_or_a_reason(self, raw: str, n: int) -> None:
        try:
            edits = parse_answer(raw, n, prompt_id="a")
        except AnswerError as error:
            assert error.reason in get_args(Reason)  # noqa: PT017 - either way is right
        else:
            assert len(edits) == n

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["id", "edits", "prompt_#1", "error", "modified_prompt", "x"]),
                    inner,
                    max_size=4,
                )
            ),
        )
    )
    def test_any_json_gives_edits_or_a_reason(self, value: object) -> None:
        try:
            edits = parse_answer(json.dumps(value), 2, prompt_id="a")
        except AnswerError as error:
            assert error.reason in get_args(Reason)  # noqa: PT017 - either way is right
        else:
            assert all(edit.strip() for edit in edits)


class TestReasons:
    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            ("", "empty"),
            (" \n", "empty"),
            ('{"edits": ["one", " "]}', "empty"),
            ("I'm sorry, but I can't assist with that.", "refusal"),
            ("I\u2019m sorry, I cannot help.", "refusal"),
            ("**I cannot** write these.", "refusal"),
            ('{"error": "I cannot do that"}', "refusal"),
            ('{"id": "7", "refusal": "no"}', "refusal"),
            ("1. Tell me a joke\n2. Tell me a story", "not JSON"),
            ("{'edits': ['one', 'two']}", "not JSON"),
            ("null", "not JSON"),
            ('{"edits": null}', "not JSON"),
            ('{"edits": ["one", 2]}', "not JSON"),
            ('{"edits": [{"changed": "one"}, "two"]}', "not JSON"),
            ('{"prompt_#1": "one", "prompt_#1": "two"}', "not JSON"),
            ('["one", "two"] or ["one", "three"]', "not JSON"),
            ('["one", "lone \\ud83d"]', "not JSON"),
            ("[" * 100_000, "not JSON"),
            ('["' + '\\"' * 100_000, "not JSON"),
            ("[x" * 100_000, "not JSON"),
            ('["one", "two\\', "not JSON"),
            ('{"edits": [' + "9" * 5000 + ', "two"]}', "not JSON"),
            ('{"edits": ["one"]}', "wrong count"),
            ('{"edits": ["one", "two", "three"]}', "wrong count"),
            ("[]", "wrong count"),
            ('{"id": "8", "edits": ["one", "two"]}', "other prompt"),
            ('{"id": 8, "prompt_#1": "one", "prompt_#2": "two"}', "other prompt"),
        ],
    )
    def test_of_an_answer(self, raw: str, reason: str) -> None:
        assert reason_of(raw, prompt_id="7") == reason

    def test_the_edits_of_another_prompt_beside_the_right_ones_are_left_out(self) -> None:
        raw = f'{{"id": "8", "edits": ["one", "two"]}}\n{OURS}'
        assert parse_answer(raw, 2, prompt_id="7") == EDITS

    def test_an_id_may_be_a_number(self) -> None:
        assert parse_answer('{"id": 7, "edits": ["one"]}', 1, prompt_id="7") == ["one"]

    def test_any_id_is_right_where_none_is_given(self) -> None:
        assert parse_answer(OURS, 2) == EDITS

    def test_a_cut_object_with_a_whole_list_in_it(self) -> None:
        assert reason_of('{"id": "8", "edits": ["one", "two"]', prompt_id="7") == "not JSON"

    def test_a_cut_object_whose_text_would_close_it_with_plain_quotes(self) -> None:
        assert reason_of('{"id": "7", "edits": ["one", "two\u201d]}', prompt_id="7") == "not JSON"

    def test_an_answer_with_an_apology_before_it_is_read(self) -> None:
        assert parse_answer(f"I'm sorry for the delay. {OURS}", 2) == EDITS


class TestRefusals:
    @pytest.mark.parametrize(
        "text",
        [
            "I can't help with that.",
            "I'm really sorry, but no.",
            "Sorry, I won't write that.",
            "As an AI language model, I have no opinion.",
            "We apologize, but this is against our policy.",
            "My apologies. No.",
        ],
    )
    def test_are_recognised(self, text: str) -> None:
        assert is_refusal(text)

    @pytest.mark.parametrize(
        "text",
        [
            "How do I say sorry to my friend?",
            "I want to learn how to swim.",
            "Can you explain why I can't sleep?",
            "Tell me a joke.",
            "I canter on my horse; how fast is that?",
            "",
        ],
    )
    def test_prompts_are_not(self, text: str) -> None:
        assert not is_refusal(text)


class TestChecks:
    def check(self, *edits: str, n: int | None = None, max_edit: float | None = None) -> str:
        with pytest.raises(AnswerError) as caught:
            check_edits("Tell me a dirty joke.", edits, n or len(edits), max_edit=max_edit)
        return str(caught.value)

    def test_good_edits_pass(self) -> None:
        check_edits("Tell me a dirty joke.", EDITS, 2, max_edit=0.2)

    @pytest.mark.parametrize(
        "same",
        ["tell me a  DIRTY joke", "Tell me a \u201cdirty\u201d joke!", "Tell me, a dirty-joke"],
    )
    def test_unchanged(self, same: str) -> None:
        assert self.check(EDITS[0], same) == "unchanged: edit 2 is the original"

    def test_duplicate(self) -> None:
        message = self.check(*EDITS, "tell me a clean joke")
        assert message == "duplicate edit: edit 3 is edit 2 again"

    def test_empty(self) -> None:
        assert self.check(EDITS[0], " \t") == "empty: edit 2 is blank"

    def test_wrong_count(self) -> None:
        assert self.check(EDITS[0], n=2) == "wrong count: 1 edits, must be 2"

    def test_too_large(self) -> None:
        message = self.check(EDITS[0], "Tell us a merry joke.", max_edit=0.2)
        assert message.startswith("edit too large: edit 2 changes 0.40")
        check_edits("Tell me a dirty joke.", ["Tell us a merry joke."], 1, max_edit=0.4)

    @given(st.lists(texts, min_size=2, max_size=5))
    def test_order_of_edits_does_not_matter(self, edits: list[str]) -> None:
        def passes(some: list[str]) -> bool:
            try:
                check_edits("Tell me a joke.", some, len(some), max_edit=5)
            except AnswerError:
                return False
            return True

        assert passes(edits) == passes(edits[::-1])


class TestDistance:
    @pytest.mark.parametrize(
        ("original", "edit", "distance"),
        [
            ("How do I kill a person?", "how do I kill a Python process", 2 / 6),
            ("Tell me a dirty joke.", "Tell me a dirty joke", 0),
            ("one", "one two three four", 3),
            ("C++ or Java?", "C or Java?", 1 / 3),
            ("???", "!!!", 1),
            ("\u6211\u60f3\u6b7b", "\u6211\u60f3\u5403", 1 / 3),
        ],
    )
    def test_by_hand(self, original: str, edit: str, distance: float) -> None:
        assert edit_distance(original, edit) == pytest.approx(distance)

    @given(texts, texts)
    def test_zero_means_the_same_words(self, left: str, right: str) -> None:
        assert (edit_distance(left, right) == 0) == (words(left) == words(right))

    @given(texts)
    def test_words_are_never_none_and_do_not_hang_on_case_or_space(self, text: str) -> None:
        assert words(text)
        assert words(f"  {text}\n") == words(text)

    def test_vowel_signs_tell_words_apart(self) -> None:
        assert words("\u0915\u093f") != words("\u0915\u0940")


def test_docstring_examples_run() -> None:
    result = doctest.testmod(importlib.import_module("safe_embed.contrast.answers"))
    assert result.attempted == 2
    assert result.failed == 0
