"""A chat model by its name."""

from __future__ import annotations

from collections.abc import Callable

from safe_embed.contrast.api import Api
from safe_embed.contrast.budget import FREE, Budget, Price
from safe_embed.contrast.chat import Chat, OpenAIChat
from safe_embed.contrast.fake_model import FAKE, FakeChat
from safe_embed.encoders.openai_transport import OPENAI_HOST
from safe_embed.secrets import secret

__all__ = ["OPENAI_URL", "load_api", "load_chat"]

OPENAI_URL = f"https://{OPENAI_HOST}/v1"


def load_api(
    base_url: str | None,
    *,
    connections: int,
    timeout_s: float,
    report: Callable[[str], None],
) -> Api:
    """An OpenAI-compatible API, with the key `OPENAI_API_KEY` where there is one.

    Args:
        base_url: where it is; OpenAI's own where None.
        connections: requests that may be on their way at once.
        timeout_s: seconds that one answer may take.
        report: is called with a line for people.

    Raises:
        InputError: the URL or the key cannot be used.
        DataError: the file `.env` cannot be read.
    """
    return Api(
        base_url or OPENAI_URL,
        key=secret("OPENAI_API_KEY"),
        connections=connections,
        timeout_s=timeout_s,
        report=report,
    )


def load_chat(
    model: str,
    base_url: str | None = None,
    *,
    budget: Budget,
    price: Price | None = None,
    connections: int = 8,
    timeout_s: float = 120.0,
    report: Callable[[str], None] = lambda _message: None,
) -> Chat:
    """The fake model where it is asked for, else one behind an OpenAI-compatible API.

    Args:
        model: its name.
        budget: is asked before every request.
        price: of its tokens, for the budget and the summary.
        base_url: see `load_api`.
        connections: see `load_api`.
        timeout_s: see `load_api`.
        report: see `load_api`.

    Raises:
        InputError: the model, the URL or the key cannot be used.
        DataError: the file `.env` cannot be read.
    """
    if model == FAKE:
        return FakeChat(budget)
    api = load_api(base_url, connections=connections, timeout_s=timeout_s, report=report)
    return OpenAIChat(model, api, budget=budget, price=price or FREE, report=report)
