"""Reading an answer of Fritz: the data, or the reason why there are none and whether to ask again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scope_dask.fritz.errors import (
    FritzAnswerError,
    FritzAuthError,
    FritzError,
    FritzNotFoundError,
    FritzRefusedError,
)
from scope_dask.remote import Passing, retry_after, short, text_of

_PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
# Refused before anything was done: by the limit of requests, or by the status page of a service that restarts.
_CERTAIN_STATUS = (405, 429)
# An exception in the service that it reports itself is mostly the fault of what was sent.
_MOST_AFTER_EXCEPTION = 3


def data_of(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """Return the field ``data`` of an answer (None where a successful answer has none).

    Raises
    ------
    Passing
        If asking again may help: too many requests, a proxy's or server's failure, an answer that is not whole.
    FritzError
        If it would not.
    """
    answer = _json_of(body)
    # The proxy's page for a method comes while the service restarts; the service itself refuses a method in JSON.
    if status in _PASSING_STATUS or (status == 405 and answer is None):
        most = _MOST_AFTER_EXCEPTION if status == 500 and answer is not None else None
        said = _said(answer, body)
        uncertain = status not in _CERTAIN_STATUS and "System provisioning" not in said
        raise Passing(f"HTTP {status}: {short(said)}", retry_after(headers), uncertain=uncertain, most=most)
    if 300 <= status < 400:
        raise FritzRefusedError(f"it redirects to {headers.get('Location', 'nowhere')} (HTTP {status})", status)
    if answer is None:
        if status != 200:
            raise refused(status, text_of(body))
        raise Passing(f"not JSON, or not all of it ({len(body)} bytes): {text_of(body)}")
    if status != 200 or answer.get("status") != "success":
        raise refused(status, _said(answer, body))
    return answer.get("data")


def _json_of(body: bytes) -> dict[str, Any] | None:
    """Return the object that a body is, or None where it is anything else."""
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _said(answer: Mapping[str, Any] | None, body: bytes) -> str:
    return text_of(body) if answer is None else str(answer.get("message") or "no message")


def refused(status: int, message: str) -> FritzError:
    """Return the error that a refusal is."""
    text = f"HTTP {status}: {short(message)}"
    if status == 401:
        return FritzAuthError(f"it refuses the token ({text})", status, message)
    kind = FritzNotFoundError if status == 404 else FritzRefusedError
    return kind(f"it refuses this ({text})", status, message)


def field(data: Any, name: str, kind: type, what: str) -> Any:
    """Return a field of an answer.

    Raises
    ------
    FritzAnswerError
        If it is not there or of another type than `kind`.
    """
    value = data.get(name) if isinstance(data, Mapping) else None
    if not isinstance(value, kind):
        raise FritzAnswerError(f"Fritz {what}: the answer has no {kind.__name__} {name!r}, found {short(repr(data))}")
    return value
