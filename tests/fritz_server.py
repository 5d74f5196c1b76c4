"""A Fritz for tests: a real HTTP server that keeps what it is sent, and fails as it is told.

It knows the endpoints that scope_dask uses: their shapes, permissions, limits and refusals, and nginx in front of them
with its limit of requests and its HTML pages (`fritz_state` holds what is kept).
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from faulty_http import HTML, Fault, FaultyHandler, FaultyServer, html
from fritz_observations import ApiError, User
from fritz_state import PUBLIC, FritzState, call

TOKEN = "7f4ec8f3-1d4b-4c63-9d44-0c5dd1b6e1b0"
HTML_HEADERS = {"Content-Type": "text/html"}
LIMIT_BYTES = 100_000_000
RATE, BURST = 5.0, 10  # of nginx; the shipped configuration spares localhost, and so does this server unless told

_ID, _NUMBER = r"([0-9A-Za-z\-_.+]+)", r"(\d+)"
ROUTES: tuple[tuple[str, str, Any, str], ...] = tuple(
    (method, re.compile(path + "$"), endpoint, acl)  # type: ignore[misc]
    for method, path, endpoint, acl in (
        ("GET", "/api/groups", FritzState.get_groups, ""),
        ("GET", "/api/taxonomy", FritzState.get_taxonomies, ""),
        ("POST", "/api/taxonomy", FritzState.post_taxonomy, "Post taxonomy"),
        ("GET", "/api/instrument", FritzState.get_instruments, ""),
        ("GET", "/api/sources", FritzState.get_sources, ""),
        ("POST", "/api/sources", FritzState.post_source, "Upload data"),
        ("GET", "/api/sources/([^/]+)", FritzState.get_source, ""),
        ("HEAD", "/api/sources/([^/]+)", FritzState.get_source, ""),
        ("DELETE", "/api/sources/([^/]+)", FritzState.delete_source, "Manage sources"),
        ("POST", "/api/source_groups", FritzState.post_source_groups, "Upload data"),
        ("POST", f"/api/sources/{_ID}/labels", FritzState.post_labels, ""),
        ("DELETE", f"/api/sources/{_ID}/labels", FritzState.delete_labels, ""),
        ("GET", f"/api/sources/{_ID}/classifications", FritzState.get_classifications, ""),
        ("POST", "/api/classification", FritzState.post_classification, "Classify"),
        ("PUT", f"/api/classification/{_NUMBER}", FritzState.put_classification, "Classify"),
        ("DELETE", f"/api/classification/{_NUMBER}", FritzState.delete_classification, "Classify"),
        ("POST", f"/api/classification/votes/{_NUMBER}", FritzState.post_vote, ""),
        ("GET", f"/api/sources/{_ID}/annotations", FritzState.get_annotations, ""),
        ("POST", f"/api/sources/{_ID}/annotations", FritzState.post_annotation, "Annotate"),
        ("PUT", f"/api/sources/{_ID}/annotations/{_NUMBER}", FritzState.put_annotation, "Annotate"),
        ("DELETE", f"/api/sources/{_ID}/annotations/{_NUMBER}", FritzState.delete_annotation, "Annotate"),
        ("GET", f"/api/sources/{_ID}/comments", FritzState.get_comments, ""),
        ("POST", f"/api/sources/{_ID}/comments", FritzState.post_comment, "Comment"),
        ("DELETE", f"/api/sources/{_ID}/comments/{_NUMBER}", FritzState.delete_comment, "Comment"),
        ("GET", f"/api/sources/{_ID}/photometry", FritzState.get_photometry, ""),
        ("PUT", "/api/photometry", FritzState.put_photometry, "Upload data"),
        ("GET", "/api/gcn_event", FritzState.get_events, ""),
        ("GET", "/api/gcn_event/([^/]+)", FritzState.get_event, ""),
    )
)


@dataclass(frozen=True)
class Request:
    """What came: the path as it was sent, without the query."""

    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    headers: dict[str, str]


class FritzServer(FaultyServer):
    """A running Fritz.

    Attributes
    ----------
    state : FritzState
    requests : list of Request
        Every request that nginx let through, in order; those that were made to fail too.
    limited : bool
        Whether nginx refuses more than 5 requests/s of a token, and 10 at once.
    refused : int
        How many requests it refused.
    """

    def __init__(self, state: FritzState | None = None, port: int = 0) -> None:
        self.state = state or FritzState()
        self.state.users.setdefault(TOKEN, User(11, "scope_bot", set(self.state.groups)))
        self.requests: list[Request] = []
        self.limited, self.refused = False, 0
        self._due: dict[str, float] = {}
        self.timers: list[threading.Timer] = []
        super().__init__(_Handler, port)

    @property
    def user(self) -> User:
        """The owner of `TOKEN`."""
        return self.state.users[TOKEN]

    def add_group(self, number: int, name: str, mine: bool = True) -> None:
        self.state.add_group(number, name)
        if mine:
            self.user.groups.add(number)

    def close(self) -> None:
        for timer in self.timers:
            timer.cancel()
        super().close()

    def count(self, method: str, path: str = "") -> int:
        """Return how many requests of a method came to a path."""
        return sum(r.method == method and r.path.startswith(path) for r in self.requests)

    def lets_through(self, authorization: str) -> bool:
        """Whether nginx lets another request of this token through (a leaky bucket)."""
        if not self.limited:
            return True
        with self.lock:
            now = time.monotonic()
            due = max(self._due.get(authorization, 0.0), now)
            if due - now > BURST / RATE:
                self.refused += 1
                return False
            self._due[authorization] = due + 1.0 / RATE
            return True


def write_then(fault: Fault, seconds: float = 0.0) -> Fault:
    """Return a fault before which (or that many seconds after which) the service does what it was asked for."""
    return Fault(fault.kind, fault.status, fault.body, fault.headers, seconds, performed=True)


def status_page(method: str) -> Fault:
    """Return what is answered while the service restarts."""
    if method == "GET":
        text = json.dumps({"status": "error", "message": "System provisioning"})
        return Fault("status", 503, text)
    return html(405, "Not Allowed")


PASSING = (
    html(429, "Too Many Requests"),
    html(502),
    Fault("reset"),
    write_then(html(504, "Gateway Time-out")),
    write_then(Fault("reset")),
)


class _Handler(FaultyHandler):
    """One connection."""

    @property
    def fritz(self) -> FritzServer:
        return self.server_object

    def respond(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        token = self.headers.get("Authorization", "")
        if not self.fritz.lets_through(token):
            self._page(429, "Too Many Requests")
        elif length > LIMIT_BYTES:
            self._page(413, "Request Entity Too Large")
        else:
            path, _, query = self.path.partition("?")
            try:
                body = json.loads(content) if content else {}
            except ValueError:
                self._say(500, "Invalid JSON in request body")
                return
            pairs = dict(parse_qsl(query, keep_blank_values=True))
            request = Request(self.command, path, pairs, body, dict(self.headers.items()))
            with self.fritz.lock:
                self.fritz.requests.append(request)
            self._answer(request, self.fritz.next_fault(request))

    def _answer(self, request: Request, fault: Fault | None) -> None:
        """Do what is asked for and say so, or fail."""
        if fault is not None and fault.kind == "delay":
            time.sleep(fault.seconds)
        elif fault is not None and fault.kind in ("status", "reset"):
            if fault.performed:
                self._later(request, fault.seconds)
            if fault.kind == "reset":
                self.reset()
            else:
                self.answer(fault.status, fault.body.encode(), {"Content-Type": "application/json", **fault.headers})
            return
        status, answer = self._done(request)
        content = _shuffled(answer)
        if fault is not None and fault.kind == "cut":
            content = content[: len(content) // 2]
        elif fault is not None and fault.kind == "broken":
            self.head(200, len(content), {"Content-Type": "application/json"})
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        headers = {"Content-Type": "application/json; charset=UTF-8"}
        self.answer(status, b"" if request.method == "HEAD" else content, headers)

    def _later(self, request: Request, seconds: float) -> None:
        if seconds:
            timer = threading.Timer(seconds, self._done, [request])
            self.fritz.timers.append(timer)
            timer.start()
        else:
            self._done(request)

    def _done(self, request: Request) -> tuple[int, dict[str, Any]]:
        """Do what a request asks for; return the status and the content of the answer."""
        try:
            with self.fritz.lock:
                data = self._data(request)
        except ApiError as error:
            return error.status, {"status": "error", "message": str(error), "data": {}, "version": "1.4.0"}
        return 200, {"status": "success", "data": data, "version": "1.4.0"}

    def _data(self, request: Request) -> Any:
        user = self._user(request)
        for method, path, endpoint, acl in ROUTES:
            found = path.match(request.path) if method == request.method else None  # type: ignore[attr-defined]
            if found is not None:
                if acl and acl not in user.acls:
                    raise ApiError(401, "HTTP 401: Unauthorized")
                ids = map(unquote, found.groups())
                return call(self.fritz.state, endpoint, user, request.query, json.loads(json.dumps(request.body)), *ids)
        if request.method == "GET":
            raise ApiError(400, "Invalid API endpoint")
        raise ApiError(405, "HTTP 405: Method Not Allowed")

    def _user(self, request: Request) -> User:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "token":
            form = 'Credentials malformed; expected form "Authorization: token abc123"'
            raise ApiError(401, f"HTTP 401: Unauthorized ({form})")
        if token not in self.fritz.state.users:
            raise ApiError(401, "HTTP 401: Unauthorized")
        return self.fritz.state.users[token]

    def _say(self, status: int, text: str) -> None:
        with contextlib.suppress(ConnectionError):
            self.json(status, {"status": "error", "message": text, "data": {}, "version": "1.4.0"})

    def _page(self, status: int, text: str) -> None:
        self.answer(status, HTML.format(f"{status} {text}").encode(), HTML_HEADERS)


def _shuffled(answer: dict[str, Any]) -> bytes:
    """Return an answer as JSON, its keys in another order every time."""
    keys = list(answer)
    random.shuffle(keys)
    return json.dumps({key: answer[key] for key in keys}, default=lambda value: None).encode()


__all__ = ["PASSING", "PUBLIC", "TOKEN", "Fault", "FritzServer", "Request", "html", "status_page", "write_then"]
