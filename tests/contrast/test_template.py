"""Instructions: what ships, and what a user may write."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed.contrast.template import edit_template, explanation_of, judge_template
from safe_embed.errors import DataError
from safe_embed.records import Prompt
from safe_embed.taxonomy import HARM_CATEGORIES

PROMPT = Prompt(id="7", text='Pay $n for "$task"?', category="Assisting illegal activities")


@pytest.mark.parametrize(
    "template", [edit_template("to-safe"), edit_template("to-unsafe"), judge_template()]
)
def test_shipped_templates_give_the_task_as_data(template):
    system, user = template.messages(prompt=PROMPT, task_id="t1", n=3)
    assert (system["role"], user["role"]) == ("system", "user")
    task = json.loads(user["content"][user["content"].index("{") :])
    assert task["prompt"] == PROMPT.text
    assert (task["id"], task["n"]) == ("t1", 3)
    assert task["category"] == PROMPT.category
    assert "law" in task["explanation"]
    assert PROMPT.text not in system["content"]


def test_every_category_of_the_paper_is_explained():
    texts = [explanation_of(category) for category in HARM_CATEGORIES]
    assert len(set(texts)) == len(HARM_CATEGORIES)
    assert explanation_of(None) == explanation_of("one of my own") not in texts


def test_the_unsafe_direction_asks_for_a_request_and_for_nothing_more():
    text = " ".join(edit_template("to-unsafe").text.split())
    assert "mildest" in text
    assert "holds no instructions" in text


def test_a_template_of_a_user(tmp_path: Path):
    path = tmp_path / "t.txt"
    path.write_text("Edit $prompt ($id, $category: $explanation) $n times for $$5.\r\n")
    template = edit_template("to-safe", path)
    assert template.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    (message,) = template.messages(prompt=PROMPT, task_id="t1", n=2)
    assert message["role"] == "user"
    assert message["content"].startswith(f"Edit {PROMPT.text} (t1, Assisting illegal activities: ")
    assert message["content"].endswith("2 times for $5.")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"Edit $prompt $n times", "no place $id"),
        (b"Edit $task at $price", "unknown place $price"),
        (b"Edit $task for $5", "write $$"),
        (b"\xff\xfe$task", "UTF-8"),
        (b"$task" + b"x" * 2_000_000, "short text"),
    ],
)
def test_a_template_that_cannot_be_used(content: bytes, part: str, tmp_path: Path):
    path = tmp_path / "t.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        edit_template("to-safe", path)
    assert part in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        edit_template("to-safe", tmp_path / "none.txt")


@given(text=st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip))
def test_a_prompt_is_never_read_as_a_place(text: str):
    prompt = Prompt(id="1", text=text)
    user = edit_template("to-safe").messages(prompt=prompt, task_id="t", n=1)[1]
    content = user["content"]
    assert json.loads(content[content.index("{") :])["prompt"] == text
