"""The connections to an OpenAI-compatible API, with the key on every request."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from safe_embed.errors import InputError
from safe_embed.secrets import Secret

if TYPE_CHECKING:
    import httpx2

    from safe_embed.encoders.openai_transport import Address

__all__ = ["LOOPBACK", "ApiClient"]

CONNECT_TIMEOUT_S = 10.0
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""What is sent to these hosts stays on this machine."""


class ApiClient:
    """One pool of connections, made when it is first used. May be shared by threads.

    Args:
        address: where the API is; its credentials, if it has any, go before `key`.
        key: sent as a bearer token, or None.
        timeout_s: seconds without a byte after which a request has failed.
        connections: requests that may be on their way at once; a further one waits for its turn.
        transport: sends the requests in place of the network.

    Raises:
        InputError: the key has a character that no header may hold.
    """

    def __init__(
        self,
        address: Address,
        *,
        key: Secret | None,
        timeout_s: float,
        connections: int,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        if key is not None and not re.fullmatch(r"[!-~]+", key.reveal()):
            raise InputError(
                "the key must be printable ASCII without white space, and is not; copy it again"
            )
        self._scheme, self._key = ("Basic", address.user) if address.user else ("Bearer", key)
        self._timeout_s = timeout_s
        self._connections = connections
        self._transport = transport
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None

    def open(self) -> httpx2.Client:
        """The client, which is made where there is none."""
        import httpx2

        with self._lock:
            if self._client is None:
                connect, n = min(CONNECT_TIMEOUT_S, self._timeout_s), self._connections
                # a proxy of the environment is not for this machine
                local = {} if self._transport else {f"all://{host}": None for host in LOOPBACK}
                self._client = httpx2.Client(
                    auth=self._authorize,
                    timeout=httpx2.Timeout(self._timeout_s, connect=connect, pool=None),
                    limits=httpx2.Limits(max_connections=n, max_keepalive_connections=n),
                    transport=self._transport,
                    mounts=local,
                )
            return self._client

    def close(self) -> None:
        """Closes the connections; a later call makes new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _authorize(self, request: httpx2.Request) -> httpx2.Request:
        if self._key is not None:
            request.headers["Authorization"] = f"{self._scheme} {self._key.reveal()}"
        return request
