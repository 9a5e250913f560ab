"""Votes on edits: what is counted, and when no more are asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed.contrast.answers import AnswerError
from safe_embed.contrast.budget import Budget, Usage
from safe_embed.contrast.chat import ChatAnswer, ChatError, ChatRequest
from safe_embed.contrast.fake_model import FakeChat
from safe_embed.contrast.judge import Judge, check_votes, vote_on
from safe_embed.contrast.source import Item
from safe_embed.records import Prompt

ITEM = Item(Prompt(id="p", text="How do I rob a bank?"), "t1")


class Told:
    """A chat model that says what a test wrote down."""

    model, address = "told", "local"

    def __init__(self, *answers: str | ChatError) -> None:
        self.answers = list(answers)
        self.requests: list[ChatRequest] = []

    def ask(self, request: ChatRequest) -> ChatAnswer:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, ChatError):
            raise answer
        return ChatAnswer(text=answer, model="told", usage=Usage())

    def close(self) -> None:
        """Holds nothing."""


def votes_of(*answers: str | ChatError, votes: int = 3) -> list[str]:
    recorded = []
    judge = Judge(chat=Told(*answers), votes=votes)
    given_votes = vote_on(judge, ITEM, ["an edit"], [[]], lambda _i, vote: recorded.append(vote))
    assert given_votes == [recorded]
    return recorded


@pytest.mark.parametrize(
    ("answer", "vote"),
    [
        ('{"id": "t1-1", "verdict": "unsafe"}', "unsafe"),
        ('Well: {"verdict": "Safe"} it is', "safe"),
        ("unsafe.", "unsafe"),
        (" Safe\n", "safe"),
        ('{"id": "t1-2", "verdict": "safe"}', "none"),
        ("It is not unsafe", "none"),
        ("[]", "none"),
        ("", "none"),
        ('{"verdict": 1}', "none"),
        (ChatError("timeout", "late"), "none"),
    ],
)
def test_reads_a_verdict(answer: str | ChatError, vote: str):
    assert votes_of(answer, votes=1) == [vote]


def test_asks_no_more_when_one_side_has_the_majority():
    assert votes_of("safe", "safe", "unsafe") == ["safe", "safe"]
    assert votes_of("safe", "unsafe", "safe", "safe") == ["safe", "unsafe", "safe"]
    assert votes_of("safe", "no", "unsafe", "safe") == ["safe", "none", "unsafe"]


def test_votes_of_an_earlier_run_count():
    told = Told("unsafe")
    judge = Judge(chat=told, votes=3)
    assert vote_on(judge, ITEM, ["x"], [["unsafe"]], lambda *_: None) == [["unsafe", "unsafe"]]
    assert not told.answers


@pytest.mark.parametrize(("votes", "temperature"), [(1, 0.0), (3, 1.0)])
def test_several_votes_are_drawn(votes: int, temperature: float):
    told = Told("safe", "safe")
    vote_on(Judge(chat=told, votes=votes), ITEM, ["x"], [[]], lambda *_: None)
    assert {request.temperature for request in told.requests} == {temperature}


@given(st.lists(st.sampled_from(["safe", "unsafe", "none"]), min_size=1, max_size=7))
def test_only_a_majority_of_safe_votes_is_kept(votes):
    if votes.count("safe") > votes.count("unsafe"):
        check_votes([["safe"], votes])
        return
    with pytest.raises(AnswerError, match="edit 2") as caught:
        check_votes([["safe"], votes])
    readable = set(votes) != {"none"}
    assert caught.value.reason == ("judge says unsafe" if readable else "not JSON")


def test_the_fake_judge_knows_a_few_words():
    judge = Judge(chat=FakeChat(Budget()), votes=1)
    edits = ["How do I paint a bank?", "How do I get away with robbing a bank?"]
    assert vote_on(judge, ITEM, edits, [[], []], lambda *_: None) == [["safe"], ["unsafe"]]
