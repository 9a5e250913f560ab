"""What a run may spend, and whether it goes on: asked before every request that is sent."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from safe_embed.encoders.openai_batches import StoppedError
from safe_embed.errors import InputError

__all__ = ["FREE", "Budget", "Price", "Spent", "Usage", "estimated_tokens"]

_BYTES_PER_TOKEN = 3  # English has 4 to 5, so that the estimate is rather high


@dataclass(frozen=True)
class Usage:
    """Tokens of one request: those that were sent, and those that were written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total(self) -> int:
        """All tokens of the request."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, sent and written."""

    prompt: float
    completion: float

    @classmethod
    def parse(cls, text: str) -> Price:
        """Reads `IN/OUT`, such as `0.15/0.60`.

        Raises:
            InputError: not two numbers of at least 0.
        """
        sent, _, written = text.partition("/")
        try:
            price = cls(float(sent), float(written))
        except ValueError:
            price = cls(-1.0, -1.0)
        if not (0 <= price.prompt < float("inf") and 0 <= price.completion < float("inf")):
            raise InputError(
                f"a price must be IN/OUT, US dollars per million tokens, such as 0.15/0.60; "
                f"got {text!r}"
            )
        return price

    def of(self, usage: Usage) -> float:
        """US dollars of one request."""
        sent, written = usage.prompt_tokens, usage.completion_tokens
        return (sent * self.prompt + written * self.completion) / 1e6


FREE = Price(0.0, 0.0)


@dataclass(frozen=True)
class Spent:
    """What a run has spent so far."""

    requests: int = 0
    tokens: int = 0
    cost: float = 0.0

    def plus(self, other: Spent) -> Spent:
        """The sum of two."""
        return Spent(
            self.requests + other.requests, self.tokens + other.tokens, self.cost + other.cost
        )


def estimated_tokens(text: str) -> int:
    """Tokens of a text, rather too many than too few; for servers that do not count them."""
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


class Budget:
    """Counts what is spent; stops new requests when there is no more, or somebody says so.

    A request that is on its way counts with its estimate, so that requests side by side do not
    pass a limit together: near a limit they wait for each other. May be shared by threads.

    Args:
        max_requests: requests that are sent, those that fail and are tried again included.
        max_tokens: tokens, sent and written.
        max_cost: US dollars, by the prices that each request is given.

    Raises:
        InputError: a limit is not more than 0.
    """

    def __init__(
        self,
        *,
        max_requests: int | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
    ) -> None:
        self._limits = {
            "max_requests": max_requests,
            "max_tokens": max_tokens,
            "max_cost": max_cost,
        }
        for name, limit in self._limits.items():
            if limit is not None and not limit > 0:
                raise InputError(f"{name} must be more than 0, got {limit}")
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._spent = Spent()
        self._on_their_way = Spent()
        self._most: dict[Price, Usage] = {}
        self._exhausted: str | None = None

    @property
    def spent(self) -> Spent:
        """What was spent so far."""
        return self._spent

    @property
    def exhausted(self) -> str | None:
        """Name of the limit that stopped the run, or None."""
        return self._exhausted

    @property
    def stopped(self) -> bool:
        """Whether no request may begin any more."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Lets no request begin any more, and ends the waits for one."""
        with self._changed:
            self._stopped.set()
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Sleeps, but not after somebody stops the run."""
        self._stopped.wait(seconds)

    def begin(self, estimate: Usage, price: Price) -> Usage:
        """Takes what one request is expected to cost, once there is room for it.

        Args:
            estimate: tokens of the request; where others of this price used more, that counts.
            price: of its tokens.

        Returns:
            What was taken, which `end` must be given.

        Raises:
            StoppedError: the run was stopped; or not even this request alone has room, and the
                run is stopped by that.
        """
        with self._changed:
            while not self._stopped.is_set():
                most = self._most.get(price, estimate)
                taken = Usage(
                    max(estimate.prompt_tokens, most.prompt_tokens),
                    max(estimate.completion_tokens, most.completion_tokens),
                )
                if self._passed(self._spent, taken, price) is None:
                    both = self._spent.plus(self._on_their_way)
                    if self._passed(both, taken, price) is None:
                        self._on_their_way = _plus(self._on_their_way, taken, price)
                        return taken
                    self._changed.wait()  # those on their way may leave room
                else:
                    self._exhausted = self._passed(self._spent, taken, price)
                    self._stopped.set()
                    self._changed.notify_all()
            raise StoppedError

    def end(self, taken: Usage, price: Price, usage: Usage) -> None:
        """Replaces what was taken for a request by what it used; nothing where it failed."""
        with self._changed:
            self._on_their_way = _plus(self._on_their_way, taken, price, sign=-1)
            self._spent = _plus(self._spent, usage, price)
            most = self._most.get(price, usage)
            self._most[price] = Usage(
                max(most.prompt_tokens, usage.prompt_tokens),
                max(most.completion_tokens, usage.completion_tokens),
            )
            self._changed.notify_all()

    def _passed(self, spent: Spent, usage: Usage, price: Price) -> str | None:
        """Name of a limit that one more request would pass, or None."""
        after = _plus(spent, usage, price)
        totals = (after.requests, after.tokens, after.cost)
        for (name, limit), total in zip(self._limits.items(), totals, strict=True):
            if limit is not None and total > limit:
                return name
        return None


def _plus(spent: Spent, usage: Usage, price: Price, *, sign: int = 1) -> Spent:
    return Spent(
        spent.requests + sign,
        spent.tokens + sign * usage.total,
        spent.cost + sign * price.of(usage),
    )
