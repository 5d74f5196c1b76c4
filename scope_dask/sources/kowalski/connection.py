"""One Kowalski instance as this process sees it: a penquins session, and queries sent over it.

penquins makes the session: it logs in, keeps the token out of ``~/.netrc``'s way and lists the catalogues. Queries go
over that session, but not through ``penquins.Kowalski.query``, which (version 2.4.2) cannot do what a long run needs:

- It does not look at the HTTP status: an error comes back as data, and a proxy's HTML page as a `JSONDecodeError`.
- It sends a query that fails or is slow three more times by itself, POST included, so that a slow server gets four
  copies of an expensive query; status and ``Retry-After`` are lost.
- Its time limit is for each packet: an answer in drops never ends.
- A token that is refused shows as "catalogue not available": the list of catalogues is just empty.
- One instance that is down makes all of them unusable: the constructor fails.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from pydantic import SecretStr

from scope_dask.errors import nearest
from scope_dask.remote import Passing, text_of, without
from scope_dask.sources.kowalski.answers import data_of, read_body
from scope_dask.sources.kowalski.errors import KowalskiAuthError, KowalskiError, KowalskiQueryError
from scope_dask.sources.kowalski.options import Instance

_CONNECT_SECONDS = 10.0
_CATALOG_NAMES = {"query_type": "info", "query": {"command": "catalog_names"}}


class Connection:
    """A Kowalski instance; nothing is sent before the first query.

    Parameters
    ----------
    instance : Instance
    timeout : float
        Seconds that a query may take.
    """

    def __init__(self, instance: Instance, timeout: float) -> None:
        self.instance = instance
        self.timeout = instance.timeout or timeout
        self.catalogs: tuple[str, ...] | None = None
        self._penquins: Any = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<{self.instance.name} at {self.instance.url}>"

    def may_have(self, catalogs: tuple[str, ...]) -> bool:
        """Tell whether the instance has these catalogues, as far as is known."""
        return self.catalogs is None or set(catalogs) <= set(self.catalogs)

    def send(self, query: Mapping[str, Any], catalogs: tuple[str, ...]) -> Any:
        """Send a query once and return its data.

        Raises
        ------
        Passing
            If there was no usable answer, and asking again may help.
        KowalskiError
            If it would not.
        """
        failure: Exception
        try:
            opened = self._open()
            self._check(catalogs)
            try:
                return self._post(opened, query)
            except KowalskiAuthError:
                if self.instance.token is not None:
                    raise
            self.close(opened)  # a token that came from a user name and password may have expired
            return self._post(self._open(), query)
        except KowalskiError as error:
            asked = f"{query['query_type']} on {', '.join(catalogs) or 'the catalogues'}"
            failure = type(error)(f"Kowalski instance {self.instance.name}, {asked}: {self._clean(error)}")
        except Passing as error:
            failure = Passing(self._clean(error), error.wait, error.timeout)
        raise failure  # without the exceptions before it: those of requests hold the headers

    def ping(self) -> bool:
        """Tell whether the instance answers and takes the credentials."""
        try:
            return bool(self._open().ping(name=self.instance.name))
        except (KowalskiError, Passing):
            return False

    def close(self, opened: Any = None) -> None:
        """End the session (or only if it is still `opened`); the next query begins another."""
        with self._lock:
            if self._penquins is not None and opened in (None, self._penquins):
                self._penquins.instances[self.instance.name]["session"].close()
                self._penquins = None

    def _open(self) -> Any:
        """Return the penquins client, logged in."""
        with self._lock:
            if self._penquins is None:
                opened = self._login()
                names = opened.instances[self.instance.name]["catalogs"]
                try:
                    # penquins has an empty list where the question for the catalogues was refused.
                    self.catalogs = tuple(names or self._post(opened, _CATALOG_NAMES))
                except BaseException:
                    opened.instances[self.instance.name]["session"].close()
                    raise
                self._penquins = opened
            return self._penquins

    def _login(self) -> Any:
        from penquins import Kowalski  # type: ignore[import-untyped]
        from urllib3.util.retry import Retry

        # Beside a token, a user name alone would have penquins look for the password in ~/.netrc.
        credentials = ("token",) if self.instance.token is not None else ("username", "password")
        login = {key: _revealed(getattr(self.instance, key)) for key in ("protocol", "host", "port", *credentials)}
        limits = (min(_CONNECT_SECONDS, self.timeout), self.timeout)
        try:
            opened = Kowalski(instances={self.instance.name: login}, timeout=limits, max_retries=0)
        except ValueError as error:
            failure = _failed_login(error.__context__)
        else:
            for adapter in opened.instances[self.instance.name]["session"].adapters.values():
                adapter.max_retries = Retry(0, read=False)  # without its list of statuses that raise
            return opened
        raise failure

    def _check(self, catalogs: tuple[str, ...]) -> None:
        missing = [name for name in catalogs if name not in (self.catalogs or ())]
        if missing:
            raise KowalskiQueryError(f"it has no catalogue {missing[0]}{nearest(missing[0], self.catalogs or ())}")

    def _post(self, opened: Any, query: Mapping[str, Any]) -> Any:
        import requests
        from urllib3.exceptions import HTTPError

        parts = opened.instances[self.instance.name]
        # The database gives up a query when we have.
        body = {**query, "kwargs": {"max_time_ms": max(int(self.timeout * 1000), 1), **query.get("kwargs", {})}}
        limit = time.monotonic() + self.timeout
        limits = (min(_CONNECT_SECONDS, self.timeout), self.timeout)
        address = urljoin(parts["base_url"], "api/queries")
        try:
            with parts["session"].post(
                address, json=body, headers=parts["headers"], timeout=limits, stream=True
            ) as response:
                content = read_body(response, limit)
                return data_of(response.status_code, response.headers, content)
        except (requests.RequestException, HTTPError, OSError) as error:
            failure = _passing(error, self.timeout)
        raise failure

    def _clean(self, error: BaseException) -> str:
        """Return the text of an error without the secrets that a server may have repeated."""
        secrets = [self.instance.token, self.instance.password]
        if self._penquins is not None:
            with contextlib.suppress(KeyError):
                secrets.append(self._penquins.instances[self.instance.name]["token"])
        return without(str(error), secrets)


def _revealed(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _failed_login(cause: BaseException | None) -> Exception:
    """Return what it means that penquins could not log in, from the exception that it wrapped."""
    import requests

    if isinstance(cause, requests.RequestException | OSError | ValueError):
        return _passing(cause)
    return KowalskiAuthError(f"the login failed ({cause})")


def _passing(error: BaseException, timeout: float = 0.0) -> Passing:
    """Return what a failure below HTTP means."""
    import requests
    from urllib3.exceptions import TimeoutError as PoolTimeoutError

    if isinstance(error, requests.Timeout | PoolTimeoutError | TimeoutError) or "timed out" in str(error):
        return Passing(f"no whole answer within {timeout:g} s" if timeout else "no answer in time", timeout=True)
    root = _root(error)
    return Passing(f"{type(root).__name__}: {text_of(str(root).rpartition('connection: ')[2].encode())}")


def _root(error: BaseException) -> BaseException:
    """Return the exception at the bottom of those that requests and urllib3 wrap around it."""
    inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    return _root(inner) if isinstance(inner, BaseException) else error
