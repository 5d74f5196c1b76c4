"""Asking Fritz: what is sent again and what is not, how often, how fast, and what the errors say."""

from __future__ import annotations

import logging
import pickle
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_http import Fault, html
from fritz_observations import User
from fritz_server import TOKEN, FritzServer, Request, status_page, write_then
from pydantic import SecretStr

from scope_dask.errors import OptionError, RunError, UsageError
from scope_dask.fritz import (
    Fritz,
    FritzAnswerError,
    FritzAuthError,
    FritzError,
    FritzInputError,
    FritzNotFoundError,
    FritzOptions,
    FritzRefusedError,
    FritzTimeoutError,
    FritzUnavailableError,
    fritz_options,
)
from scope_dask.fritz.limit import RateLimit
from scope_dask.user_config import read_user_config

Access = Callable[..., Fritz]
SAVE = {"id": "ZTFJ1", "ra": 10.0, "dec": 20.0, "group_ids": [360]}
IN_PASSING = [
    html(429, "Too Many Requests"),
    html(500, "Internal Server Error"),
    html(502),
    html(503, "Service Unavailable"),
    html(504, "Gateway Time-out"),
    Fault("status", 503, '{"status": "error", "message": "System provisioning"}'),
    Fault("status", 500, '{"status": "error", "message": "psycopg2.OperationalError"}'),
    html(200, "maintenance"),
    Fault("reset"),
    Fault("cut"),
    Fault("broken"),
]


def names(fault: Fault) -> str:
    return f"{fault.kind}-{fault.status}"


@pytest.mark.parametrize("fault", IN_PASSING, ids=names)
def test_what_may_pass_is_asked_again(server: FritzServer, fritz: Fritz, fault: Fault) -> None:
    server.fail(fault, fault)
    assert [group["id"] for group in fritz.get("/api/groups")["user_groups"]] == [1, 360, 361]
    assert server.count("GET") == 3


@pytest.mark.parametrize("fault", [*IN_PASSING, html(405, "Not Allowed")], ids=names)
def test_a_write_that_may_pass_is_sent_again(server: FritzServer, fritz: Fritz, fault: Fault) -> None:
    server.fail(fault, fault)
    assert fritz.send("POST", "/api/sources", SAVE)["id"] == "ZTFJ1"
    assert server.count("POST") == 3


def test_a_service_that_restarts_is_waited_for(server: FritzServer, fritz: Fritz) -> None:
    server.fail(status_page("POST"), status_page("POST"))
    fritz.send("POST", "/api/sources", SAVE)
    server.fail(status_page("GET"))
    assert fritz.get("/api/sources/ZTFJ1")["ra"] == 10.0


def test_a_method_that_the_service_itself_refuses_is_not_sent_again(server: FritzServer, fritz: Fritz) -> None:
    with pytest.raises(FritzRefusedError, match=r"Fritz PATCH /api/groups: it refuses this \(HTTP 405: HTTP 405: Met"):
        fritz.send("PATCH", "/api/groups", {})
    assert server.count("PATCH") == 1


def test_the_last_reason_is_in_the_error(server: FritzServer, fritz: Fritz) -> None:
    server.fail(*[html(502)] * 3)
    said = (
        r"Fritz \(http://127\.0\.0\.1:\d+\) did not answer GET /api/groups in 3 attempts, the last time: "
        r"HTTP 502: 502 Bad Gateway 502 Bad Gateway nginx; run it again later, what is done is kept"
    )
    with pytest.raises(RunError, match=said) as caught:
        fritz.get("/api/groups")
    assert type(caught.value) is FritzUnavailableError
    assert server.count("GET") == 3


def test_an_exception_of_the_service_is_not_provoked_ten_times(server: FritzServer, access: Access) -> None:
    fault = Fault("status", 500, '{"status": "error", "message": "Incorrect padding"}')
    server.fail(*[fault] * 10)
    with pytest.raises(FritzUnavailableError, match="in 3 attempts, the last time: HTTP 500: Incorrect padding"):
        access(attempts=10).send("POST", "/api/sources", SAVE)
    assert server.count("POST") == 3


def test_time_limits(server: FritzServer, access: Access) -> None:
    server.fail(*[Fault("delay", seconds=60.0)] * 2)
    start = time.monotonic()
    with pytest.raises(FritzTimeoutError, match=r"in 2 attempts, the last time: no whole answer within 0\.3 s"):
        access(timeout=0.3, attempts=2).get("/api/groups")
    assert 0.6 <= time.monotonic() - start < 20.0


def test_the_service_may_ask_for_a_longer_pause(server: FritzServer, fritz: Fritz) -> None:
    server.fail(html(429, "Too Many Requests", Retry_After="1"))
    start = time.monotonic()
    fritz.get("/api/groups")
    assert 1.0 <= time.monotonic() - start < 20.0


def test_a_service_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    away = Fritz(FritzOptions(SecretStr(TOKEN), "127.0.0.1", port, "http", attempts=2, backoff=0.01))
    with pytest.raises(FritzUnavailableError, match=r"in 2 attempts, the last time: ConnectError: .*refused"):
        away.get("/api/groups")


def test_redirections_are_not_followed_with_the_token(server: FritzServer, fritz: Fritz) -> None:
    server.fail(html(301, "Moved", Location="https://elsewhere.example/api/groups"))
    with pytest.raises(FritzRefusedError, match=r"it redirects to https://elsewhere\.example"):
        fritz.get("/api/groups")


def test_refusals_are_typed_and_keep_status_and_message(fritz: Fritz) -> None:
    long = "x" * 300
    with pytest.raises(FritzNotFoundError, match=r"Fritz GET /api/sources/ZTFJ9: .*HTTP 404: Source not found") as gone:
        fritz.get("/api/sources/ZTFJ9")
    assert (gone.value.status, gone.value.message) == (404, "Source not found")
    with pytest.raises(FritzRefusedError, match="HTTP 400: Failed to post source: 'id'") as refused:
        fritz.send("POST", "/api/sources", {"id": "", "ra": 1.0, "dec": 1.0})
    assert isinstance(refused.value, UsageError)
    body = {"obj_id": long, "classification": "variable", "taxonomy_id": 1017}
    with pytest.raises(FritzRefusedError, match=f"Cannot find object with ID {'x' * 20}x*…") as cut:
        fritz.send("POST", "/api/classification", body)
    assert long in cut.value.message
    with pytest.raises(FritzRefusedError, match="HTTP 400: Invalid API endpoint"):
        fritz.get("/api/archive")


def test_a_refused_token_is_named_by_what_it_needs_and_not_shown(
    server: FritzServer, access: Access, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "0c0ffee0-0000-0000-0000-000000000000"
    with pytest.raises(FritzAuthError, match=r"refuses the token \(HTTP 401.*check the token \(fritz: token, F") as bad:
        access(token=SecretStr(secret)).get("/api/groups")
    server.state.users[secret] = User(12, "reader", {1}, frozenset())
    reader = access(token=SecretStr(secret))
    with pytest.raises(FritzAuthError, match="that it has the permission 'Classify'") as lacking:
        reader.send("POST", "/api/classification", {}, acl="Classify")
    server.fail(Fault("status", 400, f'{{"status": "error", "message": "no such thing: token {secret}"}}'))
    with pytest.raises(FritzRefusedError, match=r"no such thing: token \*{10}") as repeated:
        reader.get("/api/groups")
    assert isinstance(bad.value, UsageError)
    everything = [caplog.text, repr(reader), repr(reader.options), repr(pickle.loads(pickle.dumps(reader.options)))]
    for error in (bad.value, lacking.value, repeated.value):
        everything += [str(error), repr(error), error.message, repr(error.__context__), repr(error.__cause__)]
        assert error.__context__ is None
    assert not [text for text in everything if secret in text]


def test_the_token_is_sent_as_the_service_wants_it(
    server: FritzServer, fritz: Fritz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fritz.get("/api/groups")
    assert server.requests[-1].headers["Authorization"] == f"token {TOKEN}"


@pytest.mark.parametrize("token", ["", "two words", "a\nb", "ключ"])
def test_a_token_that_cannot_be_one_is_refused_unseen(token: str) -> None:
    with pytest.raises(
        OptionError, match=r"^the token of Fritz is empty or has blanks or other characters that no tok"
    ):
        FritzOptions(SecretStr(token))


def test_nothing_is_sent_that_json_does_not_have(server: FritzServer, fritz: Fritz) -> None:
    with pytest.raises(FritzInputError, match="nothing was sent: values that are not finite: POST /api/sources"):
        fritz.send("POST", "/api/sources", {**SAVE, "ra": float("nan")})
    assert server.requests == []


def test_the_limit_of_requests_lets_a_burst_pass_and_then_spaces_evenly() -> None:
    limit = RateLimit(rate=5.0, burst=10.0)
    waits = [limit.reserve(100.0) for _ in range(13)]
    assert waits == pytest.approx([0.0] * 10 + [0.2, 0.4, 0.6], abs=1e-9)
    assert limit.reserve(200.0) == 0.0


def test_with_the_default_limit_nginx_refuses_nothing_and_without_it_does(server: FritzServer, access: Access) -> None:
    server.limited = True
    defaults = FritzOptions()
    slow = access(rate=defaults.rate, burst=defaults.burst)
    start = time.monotonic()
    for _ in range(14):  # one after the other: a busy machine would bunch the arrivals of threads
        slow.get("/api/groups")
    assert server.refused == 0
    assert server.count("GET") == 14
    assert time.monotonic() - start >= 0.75
    quick = access()
    with pytest.raises(FritzUnavailableError, match="HTTP 429: 429 Too Many Requests"):
        [quick.get("/api/groups") for _ in range(40)]


def test_clients_with_the_same_options_share_the_limit(access: Access) -> None:
    one, other = access(rate=10.0, burst=1.0), access(rate=10.0, burst=1.0)
    start = time.monotonic()
    for client in (one, other, one, other):
        client.get("/api/groups")
    assert time.monotonic() - start >= 0.29


@pytest.mark.parametrize("fault", [html(504, "Gateway Time-out"), html(502), Fault("reset")], ids=names)
def test_what_was_written_before_the_answer_was_lost_is_not_written_again(
    server: FritzServer, fritz: Fritz, fault: Fault
) -> None:
    server.state.add_source("ZTFJ1", groups=[360])
    body = {"obj_id": "ZTFJ1", "classification": "variable", "taxonomy_id": 1017, "group_ids": [360]}

    def done() -> dict[str, int] | None:
        found = fritz.get("/api/sources/ZTFJ1")["classifications"]
        return {"classification_id": found[0]["id"]} if found else None

    server.fail(write_then(fault), when=lambda request: request.method == "POST")
    answer = fritz.send("POST", "/api/classification", body, done=done)
    assert list(server.state.classifications) == [answer["classification_id"]]
    server.fail(fault, when=lambda request: request.method == "POST")  # and this time it was not written
    fritz.send("POST", "/api/classification", {**body, "classification": "periodic"}, done=lambda: None)
    assert len(server.state.classifications) == 2


def test_what_was_surely_not_written_is_not_read_back(server: FritzServer, fritz: Fritz) -> None:
    server.fail(html(429), html(405), status_page("GET"))
    asked: list[int] = []
    with pytest.raises(FritzUnavailableError, match="System provisioning"):
        fritz.send("POST", "/api/sources", SAVE, done=lambda: asked.append(1))
    assert asked == []


def test_a_plus_is_itself_in_a_path_and_escaped_in_a_query(server: FritzServer, fritz: Fritz) -> None:
    server.state.add_source("ZTFJ12+34", groups=[360])
    assert fritz.get("/api/sources/ZTFJ12+34/classifications") == []
    assert server.requests[-1].path == "/api/sources/ZTFJ12+34/classifications"
    assert fritz.get("/api/sources", {"sourceID": "J12+3"})["totalMatches"] == 1
    assert server.requests[-1].query == {"sourceID": "J12+3"}


def test_pages_have_the_size_that_the_service_gives_and_an_order_that_stays(
    server: FritzServer, access: Access
) -> None:
    for number in range(1203):
        server.state.add_source(f"s{number:04d}", groups=[360])
    query = {"group_ids": [360], "sortBy": "id", "sortOrder": "asc"}
    pages = list(access(page_rows=1000).pages("/api/sources", "sources", query))
    assert [len(page) for page in pages] == [500, 500, 203]
    assert [entry["id"] for page in pages for entry in page] == sorted(server.state.sources)
    assert server.count("GET") == 3


def test_sources_saved_during_the_walk_are_not_yielded_twice(server: FritzServer, access: Access) -> None:
    for number in range(20):
        server.state.add_source(f"s{number:02d}", groups=[360])
    seen = []
    query = {"group_ids": [360], "sortBy": "id", "sortOrder": "asc"}
    for page in access(page_rows=10).pages("/api/sources", "sources", query):
        seen += [entry["id"] for entry in page]
        server.state.add_source("a", groups=[360])  # shifts the next page
    assert sorted(seen) == sorted(set(seen))
    assert set(seen) >= {f"s{number:02d}" for number in range(20)}


def test_sources_that_move_to_an_earlier_page_during_the_walk_are_not_lost(server: FritzServer, access: Access) -> None:
    for number in range(25):
        server.state.add_source(f"s{number:02d}", groups=[360])
    pages = access(page_rows=10).pages("/api/sources", "sources", {"sortBy": "id", "sortOrder": "asc"})
    seen = next(pages)
    del server.state.sources["s00"]  # what was first on the next page is now on the one before
    seen += [entry for page in pages for entry in page]
    assert sorted(entry["id"] for entry in seen) == [f"s{number:02d}" for number in range(25)]


def test_a_list_that_keeps_changing_is_an_error(server: FritzServer, access: Access) -> None:
    for number in range(25):
        server.state.add_source(f"s{number:02d}", groups=[360])

    def save_another(request: Request) -> bool:
        server.state.add_source(f"t{len(server.requests):03d}", groups=[360])
        return False

    server.fail(html(502), when=save_another)
    pages = access(page_rows=10).pages("/api/sources", "sources", {"sortBy": "id", "sortOrder": "asc"})
    with pytest.raises(FritzAnswerError, match=r"entries came where the service counts .* in 5 walks: the list keeps"):
        list(pages)


@pytest.mark.parametrize("text", ["Page number out of range.", "Something else"])
def test_the_end_of_a_list_may_be_an_error_of_the_service(server: FritzServer, access: Access, text: str) -> None:
    for number in range(10):
        server.state.add_source(f"s{number}", groups=[360])

    def second(request: Request) -> bool:
        return request.query.get("pageNumber") == "2"

    server.fail(*[Fault("status", 400, f'{{"status": "error", "message": "{text}"}}')] * 5, when=second)
    fritz = access(page_rows=5)
    query = {"sortBy": "id", "sortOrder": "asc"}
    with pytest.raises(FritzError, match=r"5 entries came where the service counts 10, in 5 walks|Something else"):
        list(fritz.pages("/api/sources", "sources", query))


def test_answers_without_what_they_must_have(server: FritzServer, fritz: Fritz) -> None:
    server.fail(Fault("status", 200, '{"status": "success", "data": {"sauces": []}}'))
    with pytest.raises(FritzAnswerError, match=r"GET /api/sources: the answer has no list 'sources', found \{'sauces'"):
        list(fritz.pages("/api/sources", "sources", {}))


def test_options_come_from_the_environment_then_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRITZ_TOKEN", "FRITZ_HOST", "FRITZ_RATE"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "config.yaml"
    file.write_text("fritz:\n  token: abc\n  host: fritz.example\n  max_attempts: 4\n  sleep_time: 2\n")
    options = fritz_options(read_user_config(file))
    assert options.token == SecretStr("abc")
    assert (options.url, options.attempts, options.backoff) == ("https://fritz.example:443", 4, 2.0)
    assert (options.rate, options.burst) == (5.0, 10.0)
    assert "abc" not in repr(options)
    monkeypatch.setenv("FRITZ_TOKEN", "def")
    monkeypatch.setenv("FRITZ_RATE", "500")
    options = fritz_options(read_user_config(file), host="localhost")
    assert (options.token, options.rate, options.host) == (SecretStr("def"), 500.0, "localhost")


def test_options_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRITZ_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match="there is no token for Fritz: set FRITZ_TOKEN in the environment, or fritz"):
        Fritz()
    for wrong in ({"rate": 0.0}, {"burst": 0.5}, {"attempts": 0}, {"timeout": -1.0}, {"protocol": "ftp"}):
        with pytest.raises(OptionError, match=re.escape(next(iter(wrong)))):
            FritzOptions(**wrong)
    (tmp_path / "config.yaml").write_text("fritz:\n  max_attempts: often\n")
    with pytest.raises(OptionError, match=r"config\.yaml: fritz: attempts is 'often'"):
        fritz_options()
