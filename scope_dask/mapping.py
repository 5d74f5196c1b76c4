"""Options between dataclasses and YAML, checked once, at the edge. Imports no stage: every command begins here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from scope_dask.errors import OptionError, SourceError, nearest

T = TypeVar("T")


def from_mapping(options: type[T], content: Any, where: str) -> T:
    """Build an options dataclass from plain dicts and lists.

    Raises
    ------
    OptionError
        One sentence on the first thing that is wrong: an unknown key (with the nearest known one), a value of the wrong
        type or outside its range.
    """
    _check_keys(options, content, where)
    try:
        return TypeAdapter(options).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(cause := first.get("ctx", {}).get("error"), OptionError):
            raise OptionError(f"{where}: {cause}") from None
        # A union of types reports each branch with its type's name last: keep the keys only.
        key = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or str(part).isidentifier())
        raise OptionError(f"{where}: {key or 'the document'} is {first['input']!r}; {first['msg']}") from None


def _check_keys(options: type, content: Any, where: str) -> None:
    if not isinstance(content, Mapping):
        raise OptionError(f"{where}: expected keys and values, found {content!r}")
    hints = get_type_hints(options)
    for key, value in content.items():
        if key not in hints:
            raise OptionError(f"{where}: there is no option {key!r}{nearest(key, hints)}; there are {', '.join(hints)}")
        inner = next((t for t in (hints[key], *get_args(hints[key])) if dataclasses.is_dataclass(t)), None)
        if inner is not None and value is not None:
            _check_keys(inner, value, f"{where}: {key}")  # type: ignore[arg-type]


def to_mapping(options: Any) -> Any:
    """Return options as plain dicts and lists, fit for YAML and JSON; the inverse of `from_mapping`."""
    if dataclasses.is_dataclass(options):
        return {f.name: to_mapping(getattr(options, f.name)) for f in dataclasses.fields(options)}
    if isinstance(options, Mapping):
        return {key: to_mapping(value) for key, value in options.items()}
    if isinstance(options, list | tuple):
        return [to_mapping(value) for value in options]
    return options


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """Read a YAML file.

    Raises
    ------
    SourceError
        If it is absent or not YAML.
    """
    try:
        return yaml.safe_load(Path(path).read_bytes())
    except OSError as error:
        raise SourceError(f"the configuration {path} cannot be read: {error.strerror or error}") from None
    except yaml.YAMLError as error:
        raise SourceError(f"the configuration {path} is not YAML: {' '.join(str(error).split())}") from None


def packaged_configs() -> Path:
    """Return the folder of the configurations that travel with the package."""
    installed = Path(__file__).parent / "configs"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "configs"
