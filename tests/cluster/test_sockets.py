"""Connections of a cluster: what OpenSSL says of one is not taken for an error of another."""

from __future__ import annotations

import _ssl
import ctypes
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scope_dask.cluster.keys import make_keys

EPIPE, SYSTEM = 32, 2  # an error of the system, as a write to a connection whose peer is gone leaves it


def leave_an_error() -> None:
    """Add an entry to OpenSSL's list of errors of this thread."""
    openssl = ctypes.PyDLL(getattr(_ssl, "__file__", None))
    if not hasattr(openssl, "ERR_set_error"):
        pytest.skip("this Python does not show OpenSSL's functions")
    openssl.ERR_new()
    openssl.ERR_set_error(SYSTEM, EPIPE, None)


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """The ends of a connection as a scheduler and its client make them."""
    security = make_keys(tmp_path / "tls")
    server, client = socket.socketpair()
    accepted = []

    def accept() -> None:
        context = security.get_listen_args("scheduler")["ssl_context"]
        accepted.append(context.wrap_socket(server, server_side=True))

    thread = threading.Thread(target=accept)
    thread.start()
    with security.get_connection_args("client")["ssl_context"].wrap_socket(client) as own:
        thread.join()
        with accepted[0] as other:
            own.settimeout(0)
            yield own, other


def test_an_error_of_another_connection_is_not_taken_for_its_own(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    own, other = ends
    for _ in range(2):  # the first time it reads what belongs to the handshake, which empties the list
        leave_an_error()
        with pytest.raises(ssl.SSLWantReadError):  # there is nothing to read, and nothing is wrong
            own.recv_into(bytearray(8))
    leave_an_error()
    assert own.send(b"question") == 8
    assert other.recv(8) == b"question"
    other.sendall(b"answer")
    leave_an_error()
    assert own.recv(8) == b"answer"


def test_an_error_of_its_own_is_still_raised(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    own, other = ends
    socket.socket.shutdown(other, socket.SHUT_RDWR)
    with pytest.raises((BrokenPipeError, ssl.SSLError)):
        own.send(b"question")
    assert own.fileno() >= 0
