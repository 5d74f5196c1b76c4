"""What can go wrong with Fritz; every error keeps the status and the message of the answer, and never a token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scope_dask.errors import RunError, ScopeDaskError, UsageError


class FritzError(ScopeDaskError):
    """A request did not give what was asked for.

    Attributes
    ----------
    status : int
        Of the answer over HTTP; 0 where there was none.
    message : str
        What the service said, in full (SQL and tracebacks too); the text of the error has its beginning.
    """

    def __init__(self, text: str, status: int = 0, message: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.message = message or text


class FritzAuthError(FritzError, UsageError):
    """The token is not known, or lacks the permission for what was asked (the service says the same of both)."""


class FritzRefusedError(FritzError, UsageError):
    """The service refused the request: the same one would be refused again."""


class FritzNotFoundError(FritzRefusedError):
    """The service has no such source, event or other thing, or the token may not see it."""


class FritzAnswerError(FritzError, RunError):
    """An answer is complete but not what was asked for."""


class FritzUnavailableError(FritzError, RunError):
    """No usable answer came in all the attempts: the service is down, overloaded or out of reach."""


class FritzTimeoutError(FritzUnavailableError):
    """No whole answer came within the time limit, in all the attempts."""


class FritzInputError(UsageError):
    """What is to be sent is wrong: found, and listed as a whole, before anything is sent.

    Attributes
    ----------
    problems : dict of str to tuple of str
        What is wrong, and where: ids, labels or columns.
    """

    def __init__(self, problems: Mapping[str, Iterable[object]]) -> None:
        self.problems = {what: tuple(map(str, where)) for what, where in problems.items()}
        listed = (f"{what}: {', '.join(where)}" for what, where in self.problems.items())
        super().__init__(f"nothing was sent: {'; '.join(listed)}")
