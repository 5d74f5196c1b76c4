"""A Kowalski for tests: a real HTTP server that answers from lists of documents, and fails as it is told.

It knows the part of the protocol that scope_dask uses: login, ping, the queries ``info``, ``find``, ``find_one``,
``count_documents``, ``estimated_document_count``, ``aggregate``, ``cone_search`` and ``near``; tokens, the limit of a
body, the messages of refused queries, and the relaxed extended JSON of the answers. Answers that have no order of
their own come in a shuffled one.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import kowalski_documents as mongo
from bson import json_util
from faulty_http import Fault, FaultyHandler, FaultyServer, html, message

__all__ = ["Fault", "KowalskiServer", "html", "message"]

LIMIT_BYTES = 1 << 20
QUERY_TYPES = (
    "find",
    "find_one",
    "count_documents",
    "estimated_document_count",
    "aggregate",
    "cone_search",
    "near",
    "info",
)
PROTECTED = ("users", "filters", "queries")


class KowalskiServer(FaultyServer):
    """A running server.

    Parameters
    ----------
    collections : dict of str to list of dict
        Documents of each catalogue.
    tokens : tuple of str
        Tokens that are taken.
    users : dict of str to str
        User names and passwords.
    port : int
        0: any that is free.

    Attributes
    ----------
    queries : list of dict
        Every query that came with a valid token and was read, in order; those that were made to fail too.
    answered : int
        Queries that were answered as they should be.
    logins : int
    peak : int
        The most queries that were under way at a time.
    pause : float
        Seconds that every query takes at least.
    """

    def __init__(
        self,
        collections: Mapping[str, list[dict[str, Any]]],
        tokens: tuple[str, ...] = ("correct-horse",),
        users: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.collections = {name: list(documents) for name, documents in collections.items()}
        self.tokens = set(tokens)
        self.users = dict(users or {})
        self.queries: list[dict[str, Any]] = []
        self.answered = self.logins = self.peak = 0
        self.pause = 0.0
        self._running = 0
        super().__init__(_Handler, port)

    def count(self, query_type: str | None = None) -> int:
        """Return how many queries of a type came, the listing of catalogues left out."""
        types = [query["query_type"] for query in self.queries]
        return types.count(query_type) if query_type else len(types) - types.count("info")

    def may_fail(self, request: dict[str, Any]) -> bool:
        return bool(request["query_type"] != "info")

    @contextlib.contextmanager
    def under_way(self, query: dict[str, Any]) -> Iterator[None]:
        with self.lock:
            self.queries.append(query)
            self._running += 1
            self.peak = max(self.peak, self._running)
        try:
            yield
        finally:
            with self.lock:
                self._running -= 1

    def data(self, request: dict[str, Any]) -> Any:
        """Return the data of a query."""
        query_type, query, kwargs = request["query_type"], request["query"], request.get("kwargs", {})
        if query_type not in QUERY_TYPES:
            raise KeyError(f"query_type {query_type} not in {QUERY_TYPES}")
        longest = kwargs.get("max_time_ms", 300000)
        if not isinstance(longest, int) or longest < 1:
            raise ValueError("max_time_ms must be int >= 1")
        if query_type == "info":
            return sorted(set(self.collections) - set(PROTECTED), reverse=True)
        if query_type in ("cone_search", "near"):
            around = mongo.cone_search if query_type == "cone_search" else mongo.near
            return {c: around(self._documents(c), query, what, kwargs) for c, what in query["catalogs"].items()}
        return self._of_one(query_type, self._documents(query["catalog"]), query, kwargs)

    def render(self, answer: Mapping[str, Any]) -> bytes:
        """Return the body of an answer."""
        return json_util.dumps(answer, json_options=json_util.RELAXED_JSON_OPTIONS).encode()

    def _of_one(self, query_type: str, documents: list[dict[str, Any]], query: dict[str, Any], kwargs: Any) -> Any:
        """Return the data of a query of one catalogue."""
        if query_type == "estimated_document_count":
            return len(documents)
        if query_type == "aggregate":
            return mongo.aggregate(documents, query["pipeline"])
        if not isinstance(query["filter"], dict):
            raise ValueError("1 validation error for Query\n__root__\n  Unsupported filter specification")
        if query_type == "count_documents":
            return sum(mongo.matches(document, query["filter"]) for document in documents)
        if query_type == "find_one":
            return next((d for d in documents if mongo.matches(d, query["filter"])), mongo.NOTHING)
        return mongo.find(documents, query["filter"], query.get("projection"), kwargs)

    def _documents(self, catalog: str) -> list[dict[str, Any]]:
        if catalog in PROTECTED:
            raise ValueError("Protected collection")
        return self.collections.get(catalog, [])


class _Handler(FaultyHandler):
    """One connection."""

    @property
    def kowalski(self) -> KowalskiServer:
        return self.server_object

    def respond(self) -> None:
        if self.command == "GET":
            self._get()
        elif self.command == "POST":
            self._post()
        else:
            self._error(405, "Method Not Allowed")

    def _get(self) -> None:
        if self._authorised():
            self.json(200, {"status": "success", "message": "greetings from Kowalski!"})

    def _post(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if self.path == "/api/auth":
            self._login(json.loads(body))
        elif self.path != "/api/queries":
            self.json(404, {"status": "error", "message": "Not Found"})
        elif self._authorised():
            if length > LIMIT_BYTES:
                text = f"Maximum request body size {LIMIT_BYTES} exceeded, actual body size {length}"
                self.answer(413, text.encode(), {"Content-Type": "text/plain"})
                return
            try:
                query = json.loads(body)
            except ValueError as error:
                self._error(400, f"JSONDecodeError: {error}")
                return
            with self.kowalski.under_way(query), contextlib.suppress(ConnectionError):
                self._query(query)

    def _login(self, credentials: dict[str, str]) -> None:
        self.kowalski.logins += 1
        missing = next((key for key in ("username", "password") if not credentials.get(key)), None)
        if missing:
            self._error(400, f"missing {missing}")
        elif self.kowalski.users.get(credentials["username"]) != credentials["password"]:
            self._error(401, "Unauthorized")
        else:
            token = f"token-{self.kowalski.logins}-of-{credentials['username']}"
            self.kowalski.tokens.add(token)
            self.json(200, {"status": "success", "token": token})

    def _authorised(self) -> bool:
        token = self.headers.get("Authorization")
        if not token:
            self._error(401, "Unauthorized")
            return False
        if token.removeprefix("Bearer ") not in self.kowalski.tokens:
            self._error(400, "token has expired" if token.startswith("token-") else "token is invalid")
            return False
        return True

    def _query(self, query: dict[str, Any]) -> None:
        time.sleep(self.kowalski.pause)
        fault = self.kowalski.next_fault(query)
        if fault is not None and fault.kind == "status":
            headers = {"Content-Type": "application/json", **fault.headers}
            self.answer(fault.status, fault.body.encode(), headers)
            return
        if fault is not None and fault.kind == "reset":
            self.reset()
            return
        try:
            answer = {"status": "success", "message": "Successfully executed query"}
            data = self.kowalski.data(query)
        except Exception as error:
            self._error(400, f"{type(error).__name__}: {error}")
            return
        if data is not mongo.NOTHING:
            answer["data"] = data
        self._send(self.kowalski.render(answer), fault)

    def _send(self, body: bytes, fault: Fault | None) -> None:
        """Send an answer, or what the fault leaves of it."""
        kind = fault.kind if fault is not None else ""
        if kind == "delay":
            time.sleep(fault.seconds)  # type: ignore[union-attr]
        elif kind == "cut":
            body = body[: len(body) // 2]
        elif kind in ("broken", "drip"):
            self.head(200, len(body), {"Content-Type": "application/json"})
            if kind == "broken":
                self.wfile.write(body[: len(body) // 2])
            for byte in body if kind == "drip" else b"":
                self.wfile.write(bytes([byte]))
                time.sleep(fault.seconds)  # type: ignore[union-attr]
            self.close_connection = True
            return
        self.kowalski.answered += kind != "cut"
        self.answer(200, body, {"Content-Type": "application/json; charset=utf-8"})

    def _error(self, status: int, text: str) -> None:
        self.json(status, {"status": "error", "message": text})
