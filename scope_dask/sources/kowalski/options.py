"""Which Kowalski instances there are, what their collections are called and how they may be used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from scope_dask.errors import OptionError
from scope_dask.remote import check_limits

if TYPE_CHECKING:
    from scope_dask.user_config import UserConfig

PARTITION_ROWS = 1000
PROGRAM_IDS = (1, 2, 3)
_KEYS = ("host", "port", "protocol", "token", "username", "password", "timeout")


@dataclass(frozen=True, slots=True)
class Instance:
    """A Kowalski server and the credentials for it; secrets print as asterisks.

    Attributes
    ----------
    name : str
    host, port, protocol : str, int, str
        The address; a host that is not given is ``<name>.caltech.edu``.
    token, username, password : secrets, optional
        Either a token, or both a user name and a password.
    timeout : float, optional
        Seconds a query may take on this instance; None: that of `KowalskiOptions`.
    """

    name: str
    host: str = ""
    port: int = 443
    protocol: str = "https"
    token: SecretStr | None = None
    username: str | None = None
    password: SecretStr | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        if not self.host:
            object.__setattr__(self, "host", f"{self.name}.caltech.edu")
        if self.protocol not in ("http", "https"):
            raise OptionError(f"protocol of the instance {self.name} is {self.protocol!r}, expected http or https")
        if self.timeout is not None and not self.timeout > 0:
            raise OptionError(f"timeout of the instance {self.name} is {self.timeout}, expected more than 0 s")

    @property
    def url(self) -> str:
        return f"{self.protocol}://{self.host}:{self.port}"

    @property
    def usable(self) -> bool:
        """Whether there are credentials."""
        return self.token is not None or (self.username is not None and self.password is not None)


@dataclass(frozen=True, slots=True)
class Collections:
    """Names of the catalogues."""

    sources: str = "ZTF_sources_20240117"
    features: str = "ZTF_source_features_DR16"
    classifications: str = "ZTF_source_classifications_DR16"
    alerts: str = "ZTF_alerts"
    gaia: str = "Gaia_EDR3"


@dataclass(frozen=True, slots=True)
class KowalskiOptions:
    """How Kowalski is used.

    Attributes
    ----------
    instances : tuple of Instance
        Those without credentials are passed over.
    collections : Collections
    timeout : float
        Seconds that one attempt at a query may take, from the connection to the last byte of the answer.
    attempts : int
        How often a query is sent to an instance that gives no usable answer.
    backoff : float
        Seconds before the second attempt; twice as many before each further one, and at least what the
        service asks for.
    max_queries : int
        Queries that may be under way at a time, in the whole cluster.
    query_rows : int
        Light curves of a query: bounds its time and the memory of the worker.
    max_timestamp_hjd : float
        Points after this heliocentric Julian date (d) are left out; by default the end of data release 16.
    """

    instances: tuple[Instance, ...]
    collections: Collections = field(default_factory=Collections)
    timeout: float = 300.0
    attempts: int = 5
    backoff: float = 2.0
    max_queries: int = 8
    query_rows: int = 500
    max_timestamp_hjd: float = 2459951.5

    def __post_init__(self) -> None:
        least = {"attempts": 1, "max_queries": 1, "query_rows": 1, "backoff": 0}
        check_limits(self, "Kowalski", least, ("timeout",))
        names = [instance.name for instance in self.instances]
        if len(set(names)) < len(names):
            raise OptionError(f"the Kowalski instances are {', '.join(names)}: each name must be there once")
        if not any(instance.usable for instance in self.instances):
            raise OptionError(
                "no Kowalski instance has credentials: set KOWALSKI_INSTANCE_TOKEN (or GLORIA_…, MELMAN_…) in the "
                "environment, or a token, or username and password, below kowalski: hosts: <name> in config.yaml"
            )


def kowalski_options(config: UserConfig | None = None, **changes: Any) -> KowalskiOptions:
    """Return the options that a ``config.yaml`` and the environment give.

    Of each instance, ``<NAME>_INSTANCE_TOKEN`` (and ``_HOST``, ``_PORT``, ``_PROTOCOL``, ``_TIMEOUT``,
    ``_USERNAME``, ``_PASSWORD``) in the environment come first, then ``kowalski: hosts: <name>``, then what stands
    directly below ``kowalski``, then the defaults. A login directly below ``kowalski`` is that of the instance
    ``kowalski``.

    Parameters
    ----------
    config : UserConfig, optional
        By default that of the working folder.
    **changes
        Fields of `KowalskiOptions`, in place of what is configured.

    Raises
    ------
    OptionError
        If no instance has credentials or a value is wrong.
    """
    from scope_dask.mapping import from_mapping
    from scope_dask.user_config import INSTANCES, read_user_config

    config = read_user_config() if config is None else config
    where = f"{config.path}: kowalski"
    hosts = config.get("kowalski", "hosts", default={})
    names = dict.fromkeys([*INSTANCES, *map(str, hosts)])
    values: dict[str, Any] = {
        "instances": tuple(from_mapping(Instance, _instance(name, config), f"{where}: {name}") for name in names),
        "collections": from_mapping(Collections, config.get("kowalski", "collections", default={}), where),
    }
    for key in ("timeout", "max_timestamp_hjd"):
        if (value := config.get("kowalski", key)) is not None:
            values[key] = _number(value, f"{where}: {key}")
    return KowalskiOptions(**{**values, **changes})


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise OptionError(f"{where} is {value!r}, expected a number") from None


def _instance(name: str, config: UserConfig) -> Mapping[str, Any]:
    """Return the fields of an instance that are configured."""
    values: dict[str, Any] = {"name": name}
    for key in _KEYS:
        value = os.environ.get(f"{name.upper()}_INSTANCE_{key.upper()}") or config.get("kowalski", "hosts", name, key)
        if value is None and key != "timeout" and (name == "kowalski" or key in ("port", "protocol")):
            value = config.get("kowalski", key)
        if value is not None:
            values[key] = value
    return values
