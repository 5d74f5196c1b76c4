"""A real HTTP server for tests of remote services, which fails as it is told."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HTML = "<html><head><title>{0}</title><style>p {{}}</style></head><body><h1>{0}</h1><p>nginx</p></body></html>"


@dataclass
class Fault:
    """What happens to a request instead of an answer.

    `kind` is ``status`` (this status, with `body` as HTML or JSON), ``reset`` (no answer, the connection is reset),
    ``cut`` (half of the right answer as if it were whole), ``broken`` (the connection ends within the answer),
    ``delay`` (the right answer after `seconds`), or ``drip`` (the right answer, a byte every `seconds`).

    With `performed` a server that keeps state does what was asked for before it fails, or `seconds` afterwards.
    """

    kind: str = "status"
    status: int = 502
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    performed: bool = False


def html(status: int, text: str = "Bad Gateway", **headers: str) -> Fault:
    """Return a proxy's page."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault("status", status, HTML.format(f"{status} {text}"), {"Content-Type": "text/html", **named})


def message(status: int, text: str) -> Fault:
    """Return an error of the service itself."""
    return Fault("status", status, json.dumps({"status": "error", "message": text}))


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class FaultyServer:
    """A running server.

    Parameters
    ----------
    handler : type
        A `FaultyHandler`; its objects find this server in ``server_object``.
    port : int
        0: any that is free.

    Attributes
    ----------
    rate : float
        Fraction of the requests that fail, in one of the ways `kinds`.
    """

    def __init__(self, handler: type[FaultyHandler], port: int = 0) -> None:
        self.rate, self.kinds = 0.0, (html(502),)
        self.connections: set[socket.socket] = set()
        self.lock = threading.RLock()
        self.random = random.Random(1)
        self._faults: list[tuple[Callable[[Any], bool], list[Fault]]] = []
        bound = type("Handler", (handler,), {"server_object": self})
        self._http = _Server(("127.0.0.1", port), bound)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    def close(self) -> None:
        """End the server and every connection."""
        self._http.shutdown()
        for connection in self.connections.copy():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._http.server_close()
        self._thread.join()

    def may_fail(self, request: Any) -> bool:
        """Whether faults that are not told which requests they are for hit this one."""
        return True

    def fail(self, *faults: Fault, when: Callable[[Any], bool] | None = None) -> None:
        """Have the next requests (that `when` is true of) fail, one after the other."""
        self._faults.append((when or self.may_fail, list(faults)))

    def fail_often(self, rate: float, *kinds: Fault) -> None:
        """Have this fraction of the requests fail, in one of these ways, until told otherwise."""
        self.rate, self.kinds = rate, kinds

    def forget_faults(self) -> None:
        self._faults.clear()
        self.rate = 0.0

    def next_fault(self, request: Any) -> Fault | None:
        with self.lock:
            for when, faults in self._faults:
                if faults and when(request):
                    return faults.pop(0)
            if self.may_fail(request) and self.random.random() < self.rate:
                return self.random.choice(self.kinds)
            return None


class FaultyHandler(BaseHTTPRequestHandler):
    """One connection."""

    server_object: Any
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server_object.connections.add(self.connection)

    def finish(self) -> None:
        self.server_object.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def respond(self) -> None:
        """Answer the request."""
        raise NotImplementedError

    def do_GET(self) -> None:
        self.respond()

    def do_HEAD(self) -> None:
        self.respond()

    def do_POST(self) -> None:
        self.respond()

    def do_PUT(self) -> None:
        self.respond()

    def do_PATCH(self) -> None:
        self.respond()

    def do_DELETE(self) -> None:
        self.respond()

    def reset(self) -> None:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def json(self, status: int, content: Mapping[str, Any]) -> None:
        self.answer(status, json.dumps(content).encode(), {"Content-Type": "application/json; charset=utf-8"})

    def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        with contextlib.suppress(ConnectionError):  # a client that gave up
            self.head(status, len(body), headers)
            if self.command != "HEAD":
                self.wfile.write(body)

    def head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
