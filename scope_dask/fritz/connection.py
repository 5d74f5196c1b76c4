"""One exchange with Fritz over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scope_dask.fritz.errors import FritzInputError
from scope_dask.fritz.options import FritzOptions
from scope_dask.remote import Passing

if TYPE_CHECKING:
    import httpx

_CONNECT_SECONDS = 10.0


class Connection:
    """A connection that is opened by the first exchange, and again after `close`.

    Parameters
    ----------
    options : FritzOptions
        With a token.
    """

    def __init__(self, options: FritzOptions) -> None:
        self.options = options
        self._opened: httpx.Client | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def exchange(
        self, method: str, path: str, query: Mapping[str, str], content: bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of an answer that is whole in time.

        Raises
        ------
        Passing
            If there is none.
        """
        import httpx

        limit = time.monotonic() + self.options.timeout
        try:
            with self._client().stream(method, path, params=query or None, content=content) as response:
                pieces = []
                for piece in response.iter_bytes():  # a time limit of httpx starts anew with every packet
                    pieces.append(piece)
                    if time.monotonic() > limit:
                        raise httpx.ReadTimeout("")
                return response.status_code, response.headers, b"".join(pieces)
        except httpx.RequestError as error:
            failure = _passing(error, self.options.timeout)
        raise failure

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._opened is None:
                import httpx

                token = self.options.token.get_secret_value() if self.options.token is not None else ""
                seconds = self.options.timeout
                self._opened = httpx.Client(
                    base_url=self.options.url,
                    headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
                    timeout=httpx.Timeout(seconds, connect=min(_CONNECT_SECONDS, seconds)),
                )
            return self._opened


def encoded(body: Mapping[str, Any], what: str) -> bytes:
    """Return a body as JSON.

    Raises
    ------
    FritzInputError
        If it has values that are not finite; `what` was asked for is named.
    """
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except ValueError:
        raise FritzInputError({"values that are not finite": [what]}) from None


def flat(query: Mapping[str, Any] | None) -> dict[str, str]:
    """Return a query as text: no entries that are None, lists joined by commas, truth as the service reads it."""
    given = {key: value for key, value in (query or {}).items() if value is not None}
    return {key: _word(value) for key, value in given.items()}


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_word, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _passing(error: httpx.RequestError, timeout: float) -> Passing:
    """Return what a failure below HTTP means."""
    import httpx

    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    if isinstance(error, httpx.TimeoutException):
        return Passing(f"no whole answer within {timeout:g} s", timeout=True, uncertain=not unsent)
    return Passing(f"{type(error).__name__}: {error}", uncertain=not unsent)
