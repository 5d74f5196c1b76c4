"""Asking Kowalski: what is retried, what is not, and what the errors say."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from dask.tokenize import tokenize
from kowalski_server import Fault, KowalskiServer, html, message
from kowalski_sky import FEATURES, SOURCES, TOKEN, access, instance, running
from pydantic import SecretStr

import scope_dask.sources.kowalski as kowalski_package
from scope_dask.errors import OptionError, SourceError
from scope_dask.remote import pause
from scope_dask.sources.kowalski import (
    Instance,
    Kowalski,
    KowalskiAuthError,
    KowalskiError,
    KowalskiOptions,
    KowalskiQueryError,
    KowalskiTimeoutError,
    KowalskiUnavailableError,
    disconnect,
    kowalski_options,
)
from scope_dask.user_config import read_user_config

COUNT = {"query_type": "count_documents", "query": {"catalog": SOURCES, "filter": {"field": 296}}}
N_296 = 35


@pytest.fixture
def server() -> Iterator[KowalskiServer]:
    with running() as server:
        yield server


@pytest.mark.parametrize(
    "fault",
    [
        html(429, "Too Many Requests"),
        html(502),
        html(504, "Gateway Time-out"),
        message(500, "Internal Server Error"),
        message(400, "AutoReconnect: connection closed"),
        html(200, "maintenance"),
        Fault("reset"),
        Fault("cut"),
        Fault("broken"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_what_may_pass_is_asked_again(server: KowalskiServer, fault: Fault) -> None:
    server.fail(fault, fault)
    assert access(server).query(COUNT, SOURCES) == N_296
    assert server.count() == 3


def test_three_failures_end_a_query_with_the_last_reason(server: KowalskiServer) -> None:
    server.fail(*[message(500, "Internal Server Error")] * 3)
    said = (
        r"Kowalski instance kowalski \(http://127\.0\.0\.1:\d+\) did not answer the count_documents on "
        r"ZTF_sources_20240117 in 3 attempts, the last time: HTTP 500: .*Internal Server Error.*what is done is kept"
    )
    with pytest.raises(SourceError, match=said) as caught:
        access(server).query(COUNT, SOURCES)
    assert type(caught.value) is KowalskiUnavailableError
    assert server.count() == 3


def test_a_page_is_quoted_without_its_mark_up(server: KowalskiServer) -> None:
    server.fail(html(502))
    with pytest.raises(KowalskiUnavailableError, match="HTTP 502: 502 Bad Gateway 502 Bad Gateway nginx; run it again"):
        access(server, attempts=1).query(COUNT, SOURCES)


def test_pauses_grow_and_the_service_may_ask_for_longer_ones(server: KowalskiServer) -> None:
    server.fail(html(429, Retry_After="1"))
    start = time.monotonic()
    access(server).query(COUNT, SOURCES)
    assert 1.0 <= time.monotonic() - start < 20.0
    for attempt in (1, 2, 3):
        assert 2.0**attempt / 2 <= pause(attempt, backoff=2.0) <= 2.0**attempt
    assert pause(30, backoff=2.0) == pause(10_000, backoff=2.0) == 300.0


@pytest.mark.parametrize("fault", [Fault("delay", seconds=60.0), Fault("drip", seconds=0.5)], ids=lambda f: f.kind)
def test_a_query_ends_with_its_time_limit(server: KowalskiServer, fault: Fault) -> None:
    kowalski = access(server, timeout=0.8, attempts=2)
    assert kowalski.ping() == {"kowalski": True}
    server.fail(fault, fault)
    start = time.monotonic()
    with pytest.raises(KowalskiTimeoutError, match=r"in 2 attempts, the last time: no whole answer within 0\.8 s"):
        kowalski.query(COUNT, SOURCES)
    assert 1.6 <= time.monotonic() - start < 20.0
    assert [query["kwargs"]["max_time_ms"] for query in server.queries[-2:]] == [800, 800]


def test_a_service_that_is_not_there(server: KowalskiServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    away = Instance("gloria", "127.0.0.1", port, "http", SecretStr(TOKEN))
    with pytest.raises(KowalskiUnavailableError, match=r"instance gloria .* in 3 attempts.*refused"):
        access(away).query(COUNT, SOURCES)
    assert access(away).ping() == {"gloria": False}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"query_type": "find", "query": {"catalog": SOURCES, "filter": 3}}, "Unsupported filter specification"),
        ({"query_type": "fnd", "query": {"catalog": SOURCES}}, "query_type fnd not in"),
        ({**COUNT, "kwargs": {"max_time_ms": 0}}, "max_time_ms must be int >= 1"),
    ],
)
def test_a_refused_query_is_not_sent_again(server: KowalskiServer, query: dict, said: str) -> None:
    with pytest.raises(KowalskiQueryError, match=f"instance kowalski, {query['query_type']} on .*HTTP 400.*{said}"):
        access(server).query(query, SOURCES)
    assert server.count() == 1


def test_a_body_beyond_one_mebibyte_is_refused_with_the_reason(server: KowalskiServer) -> None:
    ids = list(range(10**13, 10**13 + 70_000))
    query = {"query_type": "find", "query": {"catalog": SOURCES, "filter": {"_id": {"$in": ids}}}}
    with pytest.raises(KowalskiQueryError, match=r"HTTP 413: Maximum request body size 1048576 exceeded"):
        access(server).query(query, SOURCES)


def test_a_wrong_token_is_named_by_its_instance_and_not_shown(server: KowalskiServer) -> None:
    secret = "battery-staple"
    kowalski = access(instance(server, token=SecretStr(secret)))
    with pytest.raises(
        KowalskiAuthError, match=r"instance kowalski.*refuses the credentials.*token is invalid"
    ) as caught:
        kowalski.query(COUNT, SOURCES)
    error = caught.value
    assert secret not in f"{error}{error!r}{error.__context__!r}{error.__cause__!r}{kowalski!r}{kowalski.options!r}"
    assert server.count() == 0


def test_a_token_that_the_server_repeats_is_not_shown(server: KowalskiServer) -> None:
    server.fail(message(400, f"ValueError: header Authorization: {TOKEN} is odd"))
    with pytest.raises(KowalskiQueryError, match=r"Authorization: \*{10} is odd") as caught:
        access(server).query(COUNT, SOURCES)
    assert TOKEN not in repr(caught.value)


def test_user_name_and_password_log_in_again_when_the_token_expires() -> None:
    with running(users={"ada": "swordfish"}) as server:
        kowalski = access(instance(server, username="ada", password=SecretStr("swordfish")))
        assert kowalski.query(COUNT, SOURCES) == N_296
        server.tokens.clear()
        assert kowalski.query(COUNT, SOURCES) == N_296
        assert server.logins == 2


def test_a_wrong_password_is_not_shown() -> None:
    with running(users={"ada": "swordfish"}) as server:
        kowalski = access(instance(server, username="ada", password=SecretStr("marlin")))
        with pytest.raises(KowalskiAuthError, match=r"the login failed.*Unauthorized") as caught:
            kowalski.query(COUNT, SOURCES)
        assert "marlin" not in repr(caught.value)


def test_the_next_instance_answers_for_one_that_fails(server: KowalskiServer) -> None:
    with running() as other:
        for _ in range(2):  # whichever has its turn
            server.fail(*[html(502)] * 3)
            assert access(server, other).query(COUNT, SOURCES) == N_296
        assert other.answered + server.answered >= 2


def test_instances_take_turns(server: KowalskiServer) -> None:
    with running() as other:
        kowalski = access(server, other)
        for _ in range(10):
            kowalski.query(COUNT, SOURCES)
        assert server.count() == other.count() == 5


def test_a_query_goes_to_an_instance_that_has_the_catalogue(server: KowalskiServer) -> None:
    del server.collections[FEATURES]
    query = {"query_type": "estimated_document_count", "query": {"catalog": FEATURES}}
    with running() as other:
        kowalski = access(server, other)
        assert [kowalski.query(query, FEATURES) for _ in range(4)] == [5] * 4
        assert server.count() == 0
        assert kowalski.catalogs() == {"kowalski": (SOURCES,), "gloria": (SOURCES, FEATURES)}


def test_a_catalogue_that_nobody_has(server: KowalskiServer) -> None:
    with pytest.raises(
        KowalskiQueryError, match=r"has no catalogue ZTF_sources_2024 \(did you mean 'ZTF_sources_20240117'"
    ):
        access(server).query(COUNT, "ZTF_sources_2024")
    with (
        running() as other,
        pytest.raises(KowalskiError, match=r"instance kowalski.*nothing; .*instance gloria|gloria.*kowalski"),
    ):
        access(server, other).query(COUNT, "nothing")


def test_nothing_is_sent_before_the_first_query(server: KowalskiServer) -> None:
    access(server)
    assert server.queries == []


def test_access_travels_to_workers_and_names_no_secret(server: KowalskiServer) -> None:
    kowalski = access(server)
    sent = pickle.loads(pickle.dumps(kowalski))
    assert sent.options == kowalski.options
    assert sent.query(COUNT, SOURCES) == N_296
    other = Kowalski(
        replace(kowalski.options, instances=(instance(server, "gloria", token=SecretStr("x")),), timeout=9.0)
    )
    assert tokenize(kowalski) == tokenize(other)


def test_a_user_name_beside_a_token_is_of_no_use(server: KowalskiServer, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # without ~/.netrc
    assert access(instance(server, token=SecretStr(TOKEN), username="ada")).query(COUNT, SOURCES) == N_296


def test_importing_it_loads_no_client_and_sends_nothing(tmp_path) -> None:
    names = "answers catalogs client connection errors features lightcurves limit options queries reader sources tables"
    code = "; ".join(f"import scope_dask.sources.kowalski.{name}" for name in names.split())
    code += "; import sys; print(sorted({'penquins', 'requests', 'bson', 'astropy', 'distributed'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]"


def test_every_name_of_the_package_is_there() -> None:
    for name in kowalski_package.__all__:
        assert getattr(kowalski_package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'read_kowalsky'"):
        kowalski_package.read_kowalsky  # noqa: B018


def test_a_ping(server: KowalskiServer) -> None:
    assert access(server).ping() == {"kowalski": True}
    disconnect()
    assert access(instance(server, token=SecretStr("wrong"))).ping() == {"kowalski": False}


def test_options_of_a_file_and_the_environment(tmp_path, monkeypatch) -> None:
    for name in ("KOWALSKI", "GLORIA", "MELMAN"):
        monkeypatch.delenv(f"{name}_INSTANCE_TOKEN", raising=False)
    file = tmp_path / "config.yaml"
    file.write_text(
        "kowalski:\n  port: 8000\n  protocol: http\n  timeout: 77\n  max_timestamp_hjd: 2459000.5\n"
        "  collections: {sources: mine}\n"
        "  hosts:\n    kowalski: {token: null}\n"
        "    gloria: {token: abc, host: example.org, port: 443, protocol: https}\n"
        "    private: {username: ada, password: swordfish, timeout: 5}\n"
    )
    monkeypatch.setenv("MELMAN_INSTANCE_TOKEN", "def")
    monkeypatch.setenv("MELMAN_INSTANCE_HOST", "127.0.0.1")
    options = kowalski_options(read_user_config(file), attempts=7)
    known = {i.name: i for i in options.instances}
    assert [name for name, i in known.items() if i.usable] == ["gloria", "melman", "private"]
    assert known["gloria"].url == "https://example.org:443"
    assert known["melman"].url == "http://127.0.0.1:8000"
    assert known["private"].url == "http://private.caltech.edu:8000"
    assert known["private"].timeout == 5.0
    assert known["melman"].token == SecretStr("def")
    assert (options.timeout, options.attempts, options.max_timestamp_hjd) == (77.0, 7, 2459000.5)
    assert (options.collections.sources, options.collections.alerts) == ("mine", "ZTF_alerts")
    assert "swordfish" not in repr(options)


def test_a_login_directly_below_kowalski(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("KOWALSKI_INSTANCE_TOKEN", raising=False)
    file = tmp_path / "config.yaml"
    file.write_text("kowalski: {host: example.org, username: ada, password: swordfish}\n")
    usable = [i for i in kowalski_options(read_user_config(file)).instances if i.usable]
    assert [(i.name, i.url) for i in usable] == [("kowalski", "https://example.org:443")]


def test_options_that_cannot_be(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("KOWALSKI", "GLORIA", "MELMAN"):
        monkeypatch.delenv(f"{name}_INSTANCE_TOKEN", raising=False)
    with pytest.raises(OptionError, match="no Kowalski instance has credentials: set KOWALSKI_INSTANCE_TOKEN"):
        Kowalski()
    one = (Instance("a", token=SecretStr("t")),)
    (tmp_path / "config.yaml").write_text("kowalski: {timeout: long}\n")
    with pytest.raises(OptionError, match="kowalski: timeout is 'long', expected a number"):
        Kowalski()
    with pytest.raises(OptionError, match="attempts of Kowalski is 0, expected 1 or more"):
        KowalskiOptions(one, attempts=0)
    with pytest.raises(OptionError, match="timeout of Kowalski is 0, expected more than 0"):
        KowalskiOptions(one, timeout=0)
    with pytest.raises(OptionError, match="protocol of the instance a is 'ftp', expected http or https"):
        Instance("a", protocol="ftp")
    with pytest.raises(OptionError, match="each name must be there once"):
        KowalskiOptions(one * 2)
    with pytest.raises(OptionError, match="timeout of the instance a is -1, expected more than 0 s"):
        Instance("a", timeout=-1)
