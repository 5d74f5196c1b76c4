"""The parser that all documented commands share, on argparse.

A command is a module ``scope_dask/commands/<name with underscores>.py`` with one `Command` in it, and a line
``<name> = "scope_dask.commands.<name_with_underscores>:main"`` below ``[project.scripts]``:

>>> from scope_dask.commands._parser import Call, Command, flag, option, values
>>> def run(call: Call) -> None:
...     for ccd in call.options.ccd_range:
...         call.say(f"field {call.options.field}, CCD {ccd}")
...     if call.dry_run:
...         return
>>> COMMAND = Command(
...     "show-ccds",
...     "Print CCDs.",
...     (
...         option("--field", "ZTF field", int, 301),
...         values("--ccd-range", "first and last CCD", int, [1, 16], aliases=("--ccd",), most=2),
...         option("--catalog", "features", default="F_DR16", config=("kowalski", "collections", "features")),
...         flag("--whole-field", "all CCDs"),
...     ),
...     run,
... )
>>> main = COMMAND.main  # ends with ``if __name__ == "__main__": sys.exit(main())``
>>> main(["-field", "296", "--ccd_range", "3", "--whole-field", "True"])
field 296, CCD 3
0

What every command gets from here:

- in the name of an option ``_`` is ``-`` and one dash is two, where that makes a known option;
- a flag takes an optional true/false/1/0; ``--verbose`` an optional integer;
- lists are separated by spaces; of an option given twice the last holds; the value of an option may begin with dashes;
- an unknown option or a stray word ends the command with 2 and the nearest known names;
- ``--config-path``, ``--check-configs``, ``--default-config-name``, ``--dry-run``, ``--verbose`` and ``--help``;
- what is not given comes from the environment, then from config.yaml, then from the default;
- errors of scope_dask are one sentence on standard error: exit 2 for usage, 1 for a failed run, 130 for Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from scope_dask.commands._arguments import Argument, boolean, cluster, flag, option, values, verbose
from scope_dask.commands.scope import one_sentence, show_log
from scope_dask.errors import OptionError, RunError, SourceError

if TYPE_CHECKING:
    from scope_dask.user_config import UserConfig

__all__ = ["COMMON", "Argument", "Call", "Command", "boolean", "cluster", "flag", "option", "values", "verbose"]

COMMON = (
    verbose(),
    option("--config-path", "configuration file; config.yaml of the working folder if not given"),
    flag("--check-configs", "print where the configuration differs from the defaults, before anything else"),
    option("--default-config-name", "file with the defaults, for --check-configs", default="config.defaults.yaml"),
    flag("--dry-run", "check everything, print what would be read, sent and written, and do nothing"),
)


@dataclass(frozen=True)
class Call:
    """What a command is called with.

    Attributes
    ----------
    options : argparse.Namespace
        Every option by its name with underscores, ``options.query_size_limit``.
    config : UserConfig
    given : frozenset of str
        Names (with underscores) of the options on the command line.
    """

    options: argparse.Namespace
    config: UserConfig
    given: frozenset[str] = field(default_factory=frozenset)

    @property
    def verbose(self) -> int:
        return int(self.options.verbose)

    @property
    def dry_run(self) -> bool:
        return bool(self.options.dry_run)

    def say(self, text: object, level: int = 1) -> None:
        """Print a line on standard output, where ``--verbose`` is `level` or more."""
        if self.verbose >= level:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()


@dataclass(frozen=True)
class Command:
    """A documented command: its name, its options and what it does.

    Attributes
    ----------
    name, description : str
    arguments : tuple of Argument
        Its own options; of two with the same name the later holds, also before the common ones.
    run : callable
        Takes a `Call`; returns an exit code, or None for 0.
    on_worker : bool or callable
        With ``--cluster``, which it then has, the command runs as a whole on one worker; a function of the `Call` tells
        whether it does.
    """

    name: str
    description: str
    arguments: tuple[Argument, ...]
    run: Callable[[Call], int | None]
    on_worker: bool | Callable[[Call], bool] = False

    @property
    def known(self) -> dict[str, Argument]:
        """All options by name, its own first."""
        own = {argument.name: argument for argument in (*self.arguments, *([cluster()] if self.on_worker else []))}
        return own | {argument.name: argument for argument in COMMON if argument.name not in own}

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Parse the command line (by default that of the process), run, and return the exit code.

        Raises
        ------
        SystemExit
            2 for wrong usage, 1 for a failed run, 130 when interrupted, after one sentence on standard error.
        """
        with one_sentence(), _failed_queries(), _plain_warnings():
            words = sys.argv[1:] if argv is None else argv
            call = self.parse(words)
            with _log() if call.verbose else contextlib.nullcontext():
                if call.options.check_configs:
                    _print_differences(call)
                whole = self.on_worker(call) if callable(self.on_worker) else self.on_worker
                if whole and call.options.cluster and not call.dry_run:
                    from scope_dask.commands._on_worker import run_on_worker

                    return run_on_worker(self.name, words, call.options.cluster)
                return self.run(call) or 0

    def parse(self, argv: Sequence[str]) -> Call:
        """Return what a command line asks for; what it leaves out comes from environment, file and defaults.

        Raises
        ------
        OptionError
            If an option is unknown, lacks its value or has a wrong one, or a word belongs to no option.
        SystemExit
            After ``--help``.
        """
        known = self.known
        parser = self.parser()
        found, stray = parser.parse_known_args(_spelt(argv, known))
        if stray:
            raise OptionError(f"stray word {stray[0]!r}: every value follows its option; {self.name} --help lists them")
        from scope_dask.user_config import read_user_config

        given = frozenset(vars(found))
        config = read_user_config(getattr(found, "config_path", None))
        for argument in known.values():
            if argument.dest not in given:
                setattr(found, argument.dest, argument.absent(config))
            elif argument.most is not None and len(getattr(found, argument.dest)) > argument.most:
                raise OptionError(f"{argument.name} takes {argument.most} values at most")
        return Call(found, config, given)

    def parser(self) -> argparse.ArgumentParser:
        """Return the argparse parser; options that are not given are absent from its result."""
        parser = _Parser(self.name, description=self.description, allow_abbrev=False)
        for argument in self.known.values():
            more: dict[str, Any] = {"const": argument.const} if argument.nargs == "?" else {}
            parser.add_argument(
                argument.name,
                *argument.aliases,
                dest=argument.dest,
                help=_help(argument).replace("%", "%%"),
                type=argument.convert,
                nargs=argument.nargs,
                choices=argument.choices,
                metavar=_metavar(argument),
                default=argparse.SUPPRESS,
                **more,
            )
        return parser


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are those of scope_dask."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message.removeprefix("argument "))


def _metavar(argument: Argument) -> str | None:
    if argument.kind is boolean:
        return "true|false"
    return "{" + ",".join(argument.choices) + "}" if argument.choices else argument.dest.upper()


def _help(argument: Argument) -> str:
    """Return the help with where the value comes from otherwise."""
    default = " ".join(map(str, argument.default)) if isinstance(argument.default, list | tuple) else argument.default
    places = [f"${argument.environment}"] if argument.environment else []
    places += [f"{': '.join(argument.config)} of config.yaml"] if argument.config else []
    if default not in (None, ""):
        places.append(str(default).lower() if isinstance(default, bool) else str(default))
    elif not argument.required:
        places.append("none")
    return f"{argument.help} (default: {', else '.join(places)})" if places else f"{argument.help} (required)"


def _spelt(argv: Sequence[str], known: Mapping[str, Argument]) -> list[str]:
    """Return the words with every option as argparse knows it, single values joined to it by ``=``.

    Raises
    ------
    OptionError
        If options are unknown, or one lacks its value.
    """
    spellings = {_plain(name): (name, a) for a in known.values() for name in (a.name, *a.aliases)}
    spellings |= {"help": ("--help", _HELP), "h": ("--help", _HELP)}
    words = iter(argv)
    result: list[str] = []
    unknown: list[str] = []
    for word in words:
        if not _is_option(word):
            result += [] if unknown else [word]
            continue
        name, equals, value = word.partition("=")
        spelling, argument = spellings.get(_plain(name), ("", None))
        if argument is None:
            unknown.append(name)
        elif equals or argument.nargs is not None:
            result.append(f"{spelling}{equals}{value}")
        else:
            following = next(words, None)
            another = following and _is_option(following) and _plain(following.partition("=")[0]) in spellings
            if following is None or (another and not argument.verbatim):
                raise OptionError(f"{argument.name} needs a value: {argument.noun}")
            result.append(f"{spelling}={following}")
    if unknown:
        names = list(dict.fromkeys(name for name, _ in spellings.values()))
        raise OptionError("; ".join(_not_known(name, names) for name in unknown))
    return result


_HELP = Argument("--help", "", nargs="?")


def _plain(name: str) -> str:
    """Return the name of an option without its dashes in front, ``-`` for ``_``."""
    return name.lstrip("-").replace("_", "-")


def _is_option(word: str) -> bool:
    """Whether a word is meant as an option: a dash, then no number; values with spaces are none."""
    if not word.startswith("-") or word == "-" or " " in word.partition("=")[0]:
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False


def _not_known(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(f"--{_plain(name)}", names, n=3, cutoff=0.5)
    hint = f" (did you mean {' or '.join(close)}?)" if close else "; --help lists all"
    return f"there is no option {name}{hint}"


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as one line each, without the place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        sys.stderr.write(f"Warning: {message}\n")

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def _log() -> Iterator[None]:
    """Show what the library reports on the standard error of now."""
    logger = logging.getLogger("scope_dask")
    before = list(logger.handlers)
    show_log()
    try:
        yield
    finally:
        logger.handlers[:] = before


@contextlib.contextmanager
def _failed_queries() -> Iterator[None]:
    """Make a service that does not answer a failed run; for the library it is a source that cannot be read."""
    try:
        yield
    except SourceError as error:
        from scope_dask.sources.kowalski.errors import KowalskiAuthError, KowalskiError

        if not isinstance(error, KowalskiError) or isinstance(error, KowalskiAuthError):
            raise
        raise RunError(str(error)) from error


def _print_differences(call: Call) -> None:
    """Print the values that the user's file has and the defaults have not; what it leaves out is as they say."""
    from pathlib import Path

    from scope_dask.mapping import packaged_configs
    from scope_dask.user_config import NAME, check_configs, read_file

    name = call.options.default_config_name
    beside = Path(call.options.config_path or NAME).parent / name
    file = beside if beside.exists() else packaged_configs() / name
    differences = [d for d in check_configs(call.config, read_file(file)) if d.found is not None]
    call.say("\n".join(map(str, differences)) or f"{call.config.path} has the values of {file}", level=0)
