"""The options of commands: their names, values and where they come from when they are not given."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from scope_dask.errors import OptionError

if TYPE_CHECKING:
    from scope_dask.user_config import UserConfig

_NOUNS = {"int": "an integer", "float": "a number", "str": "text", "boolean": "true or false"}
_WORDS = {"true": True, "1": True, "false": False, "0": False}


def boolean(text: Any) -> bool:
    """Return the truth that ``true``, ``false``, ``1`` or ``0`` stands for, in any case.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if isinstance(text, bool):
        return text
    if (found := _WORDS.get(str(text).lower())) is None:
        raise ValueError(f"{text!r} is neither true nor false")
    return found


@dataclass(frozen=True)
class Argument:
    """An option of a command; made by `option`, `values` and `flag`.

    Attributes
    ----------
    name : str
        Such as ``--query-size-limit``, with dashes between the words.
    help : str
    kind : callable
        Makes the value of a word: ``int``, ``float``, ``str``, ``SecretStr`` or a function that raises ValueError.
    default : object
        Where the option is given nowhere.
    nargs : {None, "?", "+"} or int
        As of argparse; None is exactly one value.
    const : object
        The value of an option given bare, where `nargs` is ``"?"``.
    aliases : tuple of str
    choices : tuple of str, optional
    config : tuple of str
        Keys of config.yaml that hold the value where the option is not given.
    environment : str
        Variable that holds it; comes before config.yaml.
    required : bool
        Whether it must be given somewhere.
    most : int, optional
        Most values of a list.
    verbatim : bool
        Whether the next word is the value whatever it is, even an option of this command.
    """

    name: str
    help: str
    kind: Callable[[Any], Any] = str
    default: Any = None
    nargs: str | int | None = None
    const: Any = None
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] | None = None
    config: tuple[str, ...] = ()
    environment: str = ""
    required: bool = False
    most: int | None = None
    verbatim: bool = False

    @property
    def dest(self) -> str:
        """Name among the parsed options: ``query_size_limit``."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def many(self) -> bool:
        return self.nargs == "+" or isinstance(self.nargs, int)

    def convert(self, text: Any) -> Any:
        """Return the value of a word, for argparse; secrets of the configuration stay as they are."""
        if isinstance(text, SecretStr):
            return text
        try:
            return self.kind(text)
        except (TypeError, ValueError):
            raise argparse.ArgumentTypeError(f"{text!r} is not {self.noun}") from None

    @property
    def noun(self) -> str:
        name = getattr(self.kind, "__name__", "value")
        return _NOUNS.get(name, f"a {name.replace('_', ' ')}")

    def absent(self, config: UserConfig) -> Any:
        """Return the value where the option is not on the command line.

        Raises
        ------
        OptionError
            If the environment or the file has a value of another kind, or a required one is nowhere.
        """
        if self.environment and (text := os.environ.get(self.environment)):
            return self._read(text.split() if self.many else text, f"the environment variable {self.environment}")
        if self.config and (found := config.get(*self.config)) is not None:
            return self._read(found, f"{config.path}: {': '.join(self.config)}")
        if self.required and self.default is None:
            places = f" or {': '.join(self.config)} in config.yaml" if self.config else ""
            raise OptionError(f"{self.name} is missing: give it{places}; --help says what it is")
        return list(self.default) if isinstance(self.default, list | tuple) else self.default

    def _read(self, found: Any, where: str) -> Any:
        try:
            if not self.many:
                return self.convert(found)
            return [self.convert(item) for item in (found if isinstance(found, list | tuple) else [found])]
        except argparse.ArgumentTypeError as error:
            raise OptionError(f"{where}: {error}") from None


def option(name: str, help: str, kind: Callable[[Any], Any] = str, default: Any = None, **more: Any) -> Argument:
    """Return an option with one value; `more` are further fields of `Argument`."""
    return Argument(name, help, kind, default, **more)


def values(name: str, help: str, kind: Callable[[Any], Any] = str, default: Any = None, **more: Any) -> Argument:
    """Return an option with a list of values, separated by spaces; ``most`` bounds their number."""
    return Argument(name, help, kind, default, **{"nargs": "+", **more})


def flag(name: str, help: str, default: bool = False, **more: Any) -> Argument:
    """Return an option that is true when given, unless ``false`` or ``0`` follows."""
    return Argument(name, help, boolean, default, nargs="?", const=True, **more)


def cluster() -> Argument:
    """Return the option ``--cluster`` of all commands that compute; `scope_dask.cluster.connect` knows its values."""
    return option("--cluster", "compute on this cluster: an address tcp://…, the name of a launched one, or a profile")


def verbose(default: int = 1) -> Argument:
    """Return the option ``--verbose``: 1 when given bare, 0 is silence."""
    return Argument("--verbose", "how much to print; 0: nothing", int, default, nargs="?", const=1)
