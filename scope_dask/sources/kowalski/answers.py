"""Reading an answer of Kowalski: the data, or the reason why there are none and whether to ask again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from scope_dask.remote import Passing, retry_after, short, text_of
from scope_dask.sources.kowalski.errors import KowalskiAnswerError, KowalskiAuthError, KowalskiQueryError

# Of the service itself, of a proxy in front of it, of a database that is being restarted.
_PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
_PASSING_FAILURES = (
    "AutoReconnect",
    "ConnectionFailure",
    "CursorNotFound",
    "ExecutionTimeout",
    "NetworkTimeout",
    "NotPrimaryError",
    "ServerSelectionTimeoutError",
)
_CREDENTIALS = ("token is invalid", "token has expired", "Unauthorized")
_PIECE = 1 << 16


def read_body(response: Any, limit: float) -> bytes:
    """Return the body of a streamed answer, whole before `limit` (of `time.monotonic`).

    A time limit of `requests` starts anew with every packet, so that an answer in drops would never end.

    Raises
    ------
    TimeoutError
        If it did not end in time.
    """
    pieces = []
    while piece := response.raw.read1(_PIECE, decode_content=True):
        pieces.append(piece)
        if time.monotonic() > limit:
            raise TimeoutError
    return b"".join(pieces)


def data_of(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """Return the field ``data`` of an answer (None where a successful answer has none).

    Raises
    ------
    Passing
        If asking again may help: too many requests, a proxy's or server's failure, an answer that is not whole.
    KowalskiAuthError, KowalskiQueryError
        If it would not.
    """
    from bson.json_util import loads

    if status in _PASSING_STATUS:
        raise Passing(f"HTTP {status}: {text_of(body)}", retry_after(headers))
    try:
        answer = loads(body)
    except (ValueError, TypeError):
        if status != 200:
            raise _refused(status, text_of(body)) from None
        raise Passing(f"not JSON, or not all of it ({len(body)} bytes): {text_of(body)}") from None
    if not isinstance(answer, dict):
        raise KowalskiAnswerError(f"the answer is a {type(answer).__name__}, expected status, message and data")
    if status == 200 and answer.get("status") == "success":
        return answer.get("data")
    message = short(str(answer.get("message", answer)))
    if message.startswith(_PASSING_FAILURES):
        raise Passing(message)
    raise _refused(status, message)


def _refused(status: int, message: str) -> KowalskiAuthError | KowalskiQueryError:
    if status in (401, 403) or message.startswith(_CREDENTIALS):
        return KowalskiAuthError(f"it refuses the credentials (HTTP {status}: {message})")
    return KowalskiQueryError(f"it refuses or fails the query (HTTP {status}: {message})")
