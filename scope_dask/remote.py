"""What the clients of remote services share: asking again after what may pass, and texts fit for messages."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from pydantic import SecretStr

from scope_dask.errors import OptionError

if TYPE_CHECKING:
    from tenacity import RetryCallState

logger = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_WAIT = 300.0  # s
_LONGEST_MESSAGE = 200
_LONGEST_PAGE = 4000  # bytes of a page that are looked at
_CUT = "…"
_HIDDEN = "**********"
_HARMLESS = 3  # so many characters of a secret tell nothing


class Passing(Exception):  # noqa: N818 - not an error yet: the request is sent again
    """A failure that may pass: the request may be sent again, after `wait` seconds at least.

    Parameters
    ----------
    reason : str
        Without secrets.
    wait : float
        Seconds that the service asks for.
    timeout : bool
        Whether no whole answer came in time.
    uncertain : bool
        Whether the service may have done what was asked for, and only the answer is lost.
    most : int, optional
        How often it is worth asking, where that is less than usual.
    """

    def __init__(
        self,
        reason: str,
        wait: float = 0.0,
        timeout: bool = False,
        uncertain: bool = True,
        most: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.wait, self.timeout, self.uncertain, self.most = wait, timeout, uncertain, most


def check_limits(options: object, of: str, least: Mapping[str, float], above_zero: Iterable[str]) -> None:
    """Check how a service may be used.

    Parameters
    ----------
    options : object
        With an attribute for each name.
    of : str
        The service.
    least : mapping of str to float
        Name to the least value that makes sense.
    above_zero : iterable of str
        Names of what must be more than 0.

    Raises
    ------
    OptionError
    """
    for name, value in least.items():
        if not getattr(options, name) >= value:
            raise OptionError(f"{name} of {of} is {getattr(options, name)}, expected {value:g} or more")
    for name in above_zero:
        if not getattr(options, name) > 0:
            raise OptionError(f"{name} of {of} is {getattr(options, name)}, expected more than 0")


def insist(ask: Callable[[], T], attempts: int, backoff: float, name: str, longest: float = LONGEST_WAIT) -> T:
    """Return what `ask` returns, calling it again while it raises `Passing`.

    Parameters
    ----------
    ask : callable
    attempts : int
        How often it is called at most.
    backoff, longest : float
        Seconds before the second attempt, and the most before any; see `pause`.
    name : str
        Of the service, for the log.

    Raises
    ------
    Passing
        That of the last attempt.
    """
    from tenacity import Retrying, retry_if_exception_type

    def used_up(state: RetryCallState) -> bool:
        return state.attempt_number >= min(attempts, _failure(state).most or attempts)

    def wait(state: RetryCallState) -> float:
        return pause(state.attempt_number, backoff, _failure(state).wait, longest)

    def report(state: RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action is not None else 0.0
        logger.info("%s: %s; attempt %d in %.1f s", name, _failure(state), state.attempt_number + 1, seconds)

    retrying = Retrying(
        stop=used_up, wait=wait, retry=retry_if_exception_type(Passing), before_sleep=report, reraise=True
    )
    return retrying(ask)


def _failure(state: RetryCallState) -> Passing:
    failure = state.outcome.exception() if state.outcome is not None else None
    return failure if isinstance(failure, Passing) else Passing("no answer")


def pause(attempt: int, backoff: float, asked: float = 0.0, longest: float = LONGEST_WAIT) -> float:
    """Return the seconds to wait after a failed attempt: growing, and not the same everywhere, lest all come together.

    Parameters
    ----------
    attempt : int
        Number of the attempt that failed, from 1.
    backoff : float
        Seconds after the first; twice as many after each further one. Up to half of it is taken off by chance.
    asked : float
        Seconds that the service asks for: the least.
    longest : float
        The most.
    """
    grown = backoff * 2.0 ** min(attempt - 1, 64)
    return min(max(grown * random.uniform(0.5, 1.0), asked), longest)


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that an answer asks to wait; 0 where it does not say (dates are not read)."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0


def text_of(body: bytes) -> str:
    """Return the first words of a body, without the mark-up of an HTML page."""
    text = body[:_LONGEST_PAGE].decode("utf-8", "replace") + (_CUT if len(body) > _LONGEST_PAGE else "")
    return short(re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE)) or "empty"


def short(text: str) -> str:
    """Return a text in one line, cut where it is long."""
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST_MESSAGE else f"{words[:_LONGEST_MESSAGE]}{_CUT}"


def without(text: str, secrets: Iterable[SecretStr | str | None]) -> str:
    """Return a text in which asterisks stand for each of the secrets, also where `short` has cut one."""
    for secret in secrets:
        shown = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        if shown:
            text = text.replace(shown, _HIDDEN)
            for size in range(len(shown) - 1, _HARMLESS, -1):
                text = text.replace(f"{shown[:size]}{_CUT}", f"{_HIDDEN}{_CUT}")
    return text
