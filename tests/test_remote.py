"""Texts of remote services in messages: short, without mark-up, without secrets."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from scope_dask.remote import short, text_of, without

SECRET = "7f4ec8f3-1d4b-4c63-9d44-0c5dd1b6e1b0"


@pytest.mark.parametrize("place", [0, 100, 165, 180, 196, 199, 300])
def test_a_secret_that_a_cut_text_ends_in_is_hidden_as_well(place: int) -> None:
    text = "." * place + SECRET + "." * 300
    for cut in (short(text), text_of(text.encode())):
        clean = without(cut, [SecretStr(SECRET), None])
        assert SECRET[:4] not in clean


def test_a_secret_at_the_end_of_a_page_is_hidden() -> None:
    page = b"<style>" + b"x" * 3970 + b"</style>" + SECRET.encode() + b"<p>more</p>"
    assert without(text_of(page), [SECRET]) == "**********…"


def test_a_text_without_secrets_is_as_it_was() -> None:
    assert without("7f4… and 7f4e", [SECRET, None, ""]) == "7f4… and 7f4e"
    assert without(f"token {SECRET}, {SECRET}", [SECRET]) == "token **********, **********"
