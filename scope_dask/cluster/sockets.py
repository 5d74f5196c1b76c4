"""TLS sockets that do not take the error of another connection for their own.

OpenSSL keeps a list of errors for each thread. CPython does not empty it before it reads or writes (python/cpython
#148594), and since OpenSSL 3.4 a connection whose peer has died leaves an entry there: the next connection that waits
for data is then taken for broken. A scheduler lost its clients and other workers with a job that ended.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from typing import Any

from distributed.security import Security

_own = threading.local()


def forget_errors() -> None:
    """Empty OpenSSL's list of errors of this thread.

    Any handshake does it as it begins; this one never gets an answer. It takes 2 µs.
    """
    if not hasattr(_own, "handshake"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        _own.handshake = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    with contextlib.suppress(ssl.SSLWantReadError):
        _own.handshake.do_handshake()


class Socket(ssl.SSLSocket):
    """A TLS socket whose errors are its own."""

    def read(self, *args: Any, **kwargs: Any) -> Any:
        forget_errors()
        return super().read(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        forget_errors()
        return super().send(*args, **kwargs)


class OwnErrors(Security):
    """Dask's security, with such sockets."""

    def get_connection_args(self, role: str) -> dict[str, Any]:
        return _with_sockets(super().get_connection_args(role))

    def get_listen_args(self, role: str) -> dict[str, Any]:
        return _with_sockets(super().get_listen_args(role))


def _with_sockets(arguments: dict[str, Any]) -> dict[str, Any]:
    if arguments["ssl_context"] is not None:
        arguments["ssl_context"].sslsocket_class = Socket
    return arguments
