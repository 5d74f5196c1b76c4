"""Where Fritz is, the token for it, and how it may be used."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from scope_dask.errors import OptionError
from scope_dask.remote import check_limits

if TYPE_CHECKING:
    from scope_dask.user_config import UserConfig

# What is in ``fritz:`` of config.yaml: the field it sets. Fields that are not here have their own name there.
_RENAMED = {"max_attempts": "attempts", "sleep_time": "backoff"}
_KEYS = ("token", "protocol", "host", "port", "max_attempts", "sleep_time", "timeout", "rate", "burst")


@dataclass(frozen=True, slots=True)
class FritzOptions:
    """How Fritz is used; the token prints as asterisks.

    Attributes
    ----------
    token : secret, optional
        Of a user or bot, from its profile page. Reading needs none of the permissions, writing those that the
        functions name.
    host, port, protocol : str, int, str
        The address.
    timeout : float
        Seconds that one attempt may take, from the connection to the last byte. The service itself ends a request
        after 60 s.
    attempts : int
        How often a request is sent that gets no usable answer.
    backoff : float
        Seconds before the second attempt; twice as many before each further one, up to `longest_wait`, and at least
        what the service asks for.
    longest_wait : float
        Most seconds between two attempts.
    rate, burst : float
        Requests per second on average, and how many at once before that counts. The service refuses more than
        5 requests/s and 10 at once of a token, and does not say how long to wait; all programs that use a token at
        the same time share that limit.
    page_rows : int
        Entries of a page; the service gives 500 at most.
    """

    token: SecretStr | None = None
    host: str = "fritz.science"
    port: int = 443
    protocol: str = "https"
    timeout: float = 75.0
    attempts: int = 10
    backoff: float = 5.0
    longest_wait: float = 60.0
    rate: float = 5.0
    burst: float = 10.0
    page_rows: int = 500

    def __post_init__(self) -> None:
        if self.token is not None and not re.fullmatch(r"[!-~]+", self.token.get_secret_value()):
            raise OptionError("the token of Fritz is empty or has blanks or other characters that no token has")
        if self.protocol not in ("http", "https"):
            raise OptionError(f"protocol of Fritz is {self.protocol!r}, expected http or https")
        least = {"attempts": 1, "backoff": 0, "longest_wait": 0, "burst": 1, "page_rows": 1}
        check_limits(self, "Fritz", least, ("timeout", "rate"))

    @property
    def url(self) -> str:
        return f"{self.protocol}://{self.host}:{self.port}"


def fritz_options(config: UserConfig | None = None, **changes: Any) -> FritzOptions:
    """Return the options that a ``config.yaml`` and the environment give.

    ``FRITZ_TOKEN`` (and ``_HOST``, ``_PORT``, ``_PROTOCOL``, ``_TIMEOUT``, ``_RATE``, ``_BURST``, ``_MAX_ATTEMPTS``,
    ``_SLEEP_TIME``) in the environment come first, then ``fritz:`` of the file, then the defaults.

    Parameters
    ----------
    config : UserConfig, optional
        By default that of the working folder.
    **changes
        Fields of `FritzOptions`, in place of what is configured.

    Raises
    ------
    OptionError
        If a value is wrong.
    """
    from scope_dask.mapping import from_mapping
    from scope_dask.user_config import read_user_config

    config = read_user_config() if config is None else config
    values: dict[str, Any] = {}
    for key in _KEYS:
        value = os.environ.get(f"FRITZ_{key.upper()}") or config.get("fritz", key)
        if value is not None:
            values[_RENAMED.get(key, key)] = value
    return from_mapping(FritzOptions, {**values, **changes}, f"{config.path}: fritz")
