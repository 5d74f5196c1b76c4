"""What can go wrong with a query: four kinds, all of them `SourceError`; no message ever holds a token or password."""

from __future__ import annotations

from scope_dask.errors import SourceError


class KowalskiError(SourceError):
    """A query did not give what was asked for."""


class KowalskiAuthError(KowalskiError):
    """An instance refused the token, or the user name and password."""


class KowalskiQueryError(KowalskiError):
    """An instance refused the query, or failed while it executed it: the same query would fail again."""


class KowalskiAnswerError(KowalskiError):
    """An answer is complete but not what was asked for: documents or keys are missing or of another type."""


class KowalskiUnavailableError(KowalskiError):
    """No usable answer came in all the attempts: the service is down, overloaded or out of reach."""


class KowalskiTimeoutError(KowalskiUnavailableError):
    """No whole answer came within the time limit, in all the attempts."""
