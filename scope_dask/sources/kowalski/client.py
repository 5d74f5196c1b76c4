"""Asking Kowalski: which instance, how often, how many at a time."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scope_dask.remote import Passing, insist
from scope_dask.sources.kowalski.connection import Connection
from scope_dask.sources.kowalski.errors import KowalskiError, KowalskiTimeoutError, KowalskiUnavailableError
from scope_dask.sources.kowalski.limit import one_of
from scope_dask.sources.kowalski.options import Instance, KowalskiOptions, kowalski_options

if TYPE_CHECKING:
    from scope_dask.user_config import UserConfig

logger = logging.getLogger(__name__)

_connections: dict[tuple[Instance, float], Connection] = {}
_of_tables: dict[str, Kowalski] = {}
_lock = threading.Lock()
_turn = itertools.count(os.getpid())  # processes begin with different instances


class Kowalski:
    """Access to the Kowalski instances that a user has credentials for.

    An object of this class holds the options only: it travels to workers inside tasks, where the sessions are opened
    on the first query, one an instance and process. Its credentials are no part of a task's name, and do not print.

    Parameters
    ----------
    options : KowalskiOptions, optional
        By default those of the ``config.yaml`` in the working folder and the environment (`kowalski_options`).

    Raises
    ------
    OptionError
        If no instance has credentials.
    """

    def __init__(self, options: KowalskiOptions | None = None) -> None:
        self.options = kowalski_options() if options is None else options

    @classmethod
    def from_config(cls, config: UserConfig | None = None, **changes: Any) -> Kowalski:
        """Return the access that a ``config.yaml`` describes; see `kowalski_options`."""
        return cls(kowalski_options(config, **changes))

    def __repr__(self) -> str:
        return f"<Kowalski: {', '.join(f'{c.instance.name} at {c.instance.url}' for c in self.connections())}>"

    def __dask_tokenize__(self) -> str:
        """Name no instance: what a catalogue holds does not depend on who serves it, nor on when to give up."""
        return "Kowalski"

    def query(self, query: Mapping[str, Any], *catalogs: str) -> Any:
        """Send a query and return its data.

        Instances that have the catalogues take turns. One that gives no usable answer is asked again, up to
        ``options.attempts`` times with growing pauses, then the next instance is.

        Parameters
        ----------
        query : mapping
            ``query_type``, ``query`` and ``kwargs``, as Kowalski takes them (`scope_dask.sources.kowalski.queries`).
        *catalogs : str
            Which catalogues it needs.

        Returns
        -------
        list, dict, int or None
            The field ``data`` of the answer; int64 ids are exact.

        Raises
        ------
        KowalskiAuthError, KowalskiQueryError, KowalskiTimeoutError, KowalskiUnavailableError
            Why each of the instances did not answer.
        """
        failures: list[KowalskiError] = []
        for connection in self._candidates(catalogs):
            if failures:
                logger.warning("%s: the query goes to %s", failures[-1], connection.instance.name)
            try:
                return self._insist(connection, query, catalogs)
            except KowalskiError as error:
                failures.append(error)
        raise type(failures[0])("; ".join(map(str, failures)))

    def ping(self) -> dict[str, bool]:
        """Tell of each instance whether it answers and takes the credentials."""
        return {connection.instance.name: connection.ping() for connection in self.connections()}

    def catalogs(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the catalogues of each instance.

        Raises
        ------
        KowalskiError
            If an instance does not tell.
        """
        names = {"query_type": "info", "query": {"command": "catalog_names"}}
        return {c.instance.name: tuple(self._insist(c, names, ())) for c in self.connections()}

    def connections(self) -> list[Connection]:
        """Return the instances with credentials, as this process sees them."""
        instances = [instance for instance in self.options.instances if instance.usable]
        with _lock:
            return [
                _connections.setdefault((instance, self.options.timeout), Connection(instance, self.options.timeout))
                for instance in instances
            ]

    def _candidates(self, catalogs: tuple[str, ...]) -> list[Connection]:
        connections = self.connections()
        first = next(_turn) % len(connections)
        turned = connections[first:] + connections[:first]
        return sorted(turned, key=lambda connection: not connection.may_have(catalogs))

    def _insist(self, connection: Connection, query: Mapping[str, Any], catalogs: tuple[str, ...]) -> Any:
        """Send a query to one instance until it answers, or the attempts are used up."""

        def ask() -> Any:
            with one_of(self.options.max_queries):
                return connection.send(query, catalogs)

        try:
            return insist(ask, self.options.attempts, self.options.backoff, connection.instance.name)
        except Passing as error:
            failure = error
        kind = KowalskiTimeoutError if failure.timeout else KowalskiUnavailableError
        raise kind(
            f"Kowalski instance {connection.instance.name} ({connection.instance.url}) did not answer the "
            f"{query['query_type']} on {', '.join(catalogs) or 'the catalogues'} in {self.options.attempts} attempts, "
            f"the last time: {failure}; run it again later, what is done is kept"
        )


def of_tables(kowalski: Kowalski, catalog: str) -> Kowalski:
    """Return the access that all tables of a catalogue share in this process, and give it these options.

    Dask takes a table that is built again for the equal one that is still there, with all its parts. Its name does not
    tell who is asked, so that the parts must hold what is handed on: the options given last, such as a new token.
    """
    with _lock:
        shared = _of_tables.setdefault(catalog, Kowalski(kowalski.options))
        shared.options = kowalski.options
    return shared


def disconnect() -> None:
    """End the sessions of this process; the next query begins another."""
    with _lock:
        for connection in _connections.values():
            connection.close()
        _connections.clear()
