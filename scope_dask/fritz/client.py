"""Asking Fritz: a limit of requests per second, attempts, and pages."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any, TypeVar

from scope_dask.errors import OptionError
from scope_dask.fritz.answers import data_of, field
from scope_dask.fritz.connection import Connection, encoded, flat
from scope_dask.fritz.errors import (
    FritzAnswerError,
    FritzAuthError,
    FritzError,
    FritzRefusedError,
    FritzTimeoutError,
    FritzUnavailableError,
)
from scope_dask.fritz.limit import limit_of
from scope_dask.fritz.options import FritzOptions, fritz_options
from scope_dask.remote import Passing, insist, without

if TYPE_CHECKING:
    from scope_dask.user_config import UserConfig

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_WALKS = 5


@dataclass(slots=True)
class _Walk:
    """What came in one walk over the pages of a list."""

    ids: set[Any] = dataclass_field(default_factory=set)
    totals: list[int] = dataclass_field(default_factory=list)

    @property
    def steady(self) -> bool:
        return len(set(self.totals)) == 1


class Fritz:
    """Access to Fritz (SkyPortal) with a token; nothing is sent before the first request.

    Parameters
    ----------
    options : FritzOptions, optional
        By default those of the ``config.yaml`` in the working folder and the environment (`fritz_options`).

    Raises
    ------
    OptionError
        If there is no token.

    Notes
    -----
    The limit of requests per second is that of this process: use Fritz from one.
    """

    def __init__(self, options: FritzOptions | None = None) -> None:
        self.options = fritz_options() if options is None else options
        if self.options.token is None:
            raise OptionError(
                "there is no token for Fritz: set FRITZ_TOKEN in the environment, or fritz: token in config.yaml"
            )
        self._limit = limit_of(self.options)
        self._connection = Connection(self.options)

    @classmethod
    def from_config(cls, config: UserConfig | None = None, **changes: Any) -> Fritz:
        """Return the access that a ``config.yaml`` describes; see `fritz_options`."""
        return cls(fritz_options(config, **changes))

    def __repr__(self) -> str:
        return f"<Fritz at {self.options.url}>"

    def __enter__(self) -> Fritz:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the next request begins another."""
        self._connection.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the data of a GET request.

        Parameters
        ----------
        path : str
            Such as ``/api/sources/ZTFJ1+2``; a ``+`` stays as it is.
        query : mapping, optional
            What stands behind the ``?``; entries that are None are left out, lists are joined by commas.

        Raises
        ------
        FritzError
        """
        return self.insist(lambda: self.once("GET", path, query=query), f"GET {path}")

    def exists(self, path: str) -> bool:
        """Tell whether a HEAD request finds something (this answer has no body)."""
        try:
            self.insist(lambda: self.once("HEAD", path), f"HEAD {path}")
        except FritzRefusedError as error:
            if error.status == 404:
                return False
            raise
        return True

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        acl: str = "",
        done: Callable[[], Any] | None = None,
    ) -> Any:
        """Send a request that writes, and return its data.

        Parameters
        ----------
        method, path : str
        body : mapping, optional
        acl : str
            The permission that it needs, for the message where the token is refused.
        done : callable, optional
            For what must not be written twice: reads back whether it was written, and returns in place of the answer
            what there is then, else None. It is asked before the request is repeated after a failure that leaves
            this open (502, 504, 500, a lost or torn answer).

        Raises
        ------
        FritzError
        """
        what = f"{method} {path}"
        unsure = False

        def ask() -> Any:
            nonlocal unsure
            if unsure and done is not None and (found := done()) is not None:
                return found
            try:
                return self.once(method, path, body=body)
            except Passing as failure:
                unsure = unsure or failure.uncertain
                raise

        return self.insist(ask, what, acl)

    def pages(self, path: str, key: str, query: Mapping[str, Any], most: int = 500) -> Iterator[list[Any]]:
        """Yield the entries of a list page by page; `query` must give it an order that stays.

        No entry is yielded twice. Where the number of entries changes during the walk, some may have moved to a page
        that was read before: the list is read again, for what is new.

        Parameters
        ----------
        path : str
        key : str
            Field of the data that holds the entries.
        query : mapping
        most : int
            Entries of a page, where that is less than `FritzOptions.page_rows`.

        Raises
        ------
        FritzError
        FritzAnswerError
            If the list does not stay as it is for the time of a walk.
        """
        seen: set[Any] = set()
        for _ in range(_MOST_WALKS):
            walk = _Walk()
            for entries in self._walk(path, key, query, most, walk):
                fresh = [entry for entry in entries if _identity(entry) not in seen]
                seen |= {_identity(entry) for entry in fresh}
                if fresh:
                    yield fresh
            if walk.steady and len(walk.ids) >= walk.totals[-1]:
                return
            logger.info("Fritz GET %s: the list changed during the walk, it is read again", path)
        raise FritzAnswerError(
            f"Fritz GET {path}: {len(walk.ids)} entries came where the service counts {walk.totals[-1]}, in "
            f"{_MOST_WALKS} walks: the list keeps changing; ask again later"
        )

    def _walk(self, path: str, key: str, query: Mapping[str, Any], most: int, walk: _Walk) -> Iterator[list[Any]]:
        """Yield all pages once, and note what came."""
        for number in itertools.count(1):
            asked = {**query, "pageNumber": number, "numPerPage": min(self.options.page_rows, most)}
            try:
                data = self.get(path, asked)
            except FritzRefusedError as error:
                if number > 1 and "page number out of range" in error.message.lower():
                    return
                raise
            entries = field(data, key, list, f"GET {path}")
            walk.totals.append(field(data, "totalMatches", int, f"GET {path}"))
            walk.ids |= set(map(_identity, entries))
            yield entries
            # The service may give fewer on a page than it was asked for: what it says counts.
            if not entries or number * (data.get("numPerPage") or len(entries)) >= walk.totals[-1]:
                return

    def insist(self, ask: Callable[[], T], what: str, acl: str = "") -> T:
        """Return what `ask` returns, with as many attempts as the options allow; errors name `what` was asked.

        Raises
        ------
        FritzError
        """
        options = self.options
        try:
            return insist(ask, options.attempts, options.backoff, f"Fritz {what}", options.longest_wait)
        except FritzError as error:
            failure = self._named(error, what, acl)
        except Passing as error:
            kind = FritzTimeoutError if error.timeout else FritzUnavailableError
            attempts = min(options.attempts, error.most or options.attempts)
            failure = kind(
                f"Fritz ({options.url}) did not answer {what} in {attempts} attempts, the last time: {error}; "
                f"run it again later, what is done is kept",
                message=str(error),
            )
        raise failure  # without those before it, which know the headers

    def once(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        """Send a request once, and return its data.

        Raises
        ------
        Passing
            If there was no usable answer, and asking again may help.
        FritzError
            If it would not.
        """
        content = None if body is None else encoded(body, f"{method} {path}")
        self._limit.take()
        failure: Exception
        try:
            status, headers, answer = self._connection.exchange(method, path, flat(query), content)
            if method == "HEAD" and status == 200:
                return None
            return data_of(status, headers, answer)
        except FritzError as error:
            clean = without(error.message, [self.options.token])
            failure = type(error)(without(str(error), [self.options.token]), error.status, clean)
        except Passing as error:
            text = without(str(error), [self.options.token])
            failure = Passing(text, error.wait, error.timeout, error.uncertain, error.most)
        raise failure

    def _named(self, error: FritzError, what: str, acl: str) -> FritzError:
        """Return an error that says what was asked for."""
        if str(error).startswith("Fritz "):
            return error  # of a request within this one
        help = ""
        if isinstance(error, FritzAuthError):
            needs = f"the permission {acl!r}" if acl else "the permission for this"
            help = f"; check the token (fritz: token, FRITZ_TOKEN) and that it has {needs}"
        return type(error)(f"Fritz {what}: {error}{help}", error.status, error.message)


def _identity(entry: Any) -> Any:
    return entry.get("id", id(entry)) if isinstance(entry, dict) else entry
