"""Taxonomy mappers: which column of a table is which class of which taxonomy of Fritz."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scope_dask.commands._layout import find_file
from scope_dask.errors import SourceError, UsageError
from scope_dask.fritz.checks import Findings, class_problems
from scope_dask.fritz.taxonomies import Taxonomy, classes_of
from scope_dask.mapping import packaged_configs

PACKAGED = ("golden_dataset_mapper.json", "fritz_mapper.json", "DNN_AL_mapper.json", "XGB_AL_mapper.json")
NOT_UPLOADED = "None"
_KEYS = ("fritz_label", "taxonomy_id")
_SUFFIXES = ("_dnn", "_xgb")


class MapperError(UsageError):
    """A file is no taxonomy mapper; everything that is wrong with it is listed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A class of a taxonomy.

    Attributes
    ----------
    fritz_label : str
        Name of the class; ``None`` (the word) where the column is not uploaded.
    taxonomy_id : int
    """

    fritz_label: str
    taxonomy_id: int

    @property
    def uploaded(self) -> bool:
        return self.fritz_label != NOT_UPLOADED


Mapper = dict[str, Entry]


def read_mapper(name: str | os.PathLike[str]) -> Mapper:
    """Read a taxonomy mapper; a bare name is looked for in the working folder, in ``tools/``, among the packaged ones.

    Raises
    ------
    SourceError
        If there is no such file.
    MapperError
        If it is not JSON, or not of the format; everything that is wrong is listed.
    """
    path = find_file(os.fspath(name))
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice.extend(sorted({key for key in keys if keys.count(key) > 1}))
        return dict(pairs)

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except OSError as error:
        raise SourceError(f"the taxonomy mapper {path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise MapperError(f"the taxonomy mapper {path} is not JSON: {error}") from None
    problems = [f"{key!r} is there twice" for key in twice] + list(_problems(content))
    if problems:
        raise MapperError(f"the taxonomy mapper {path} is not of the format: {'; '.join(problems)}")
    return {column: Entry(value["fritz_label"], value["taxonomy_id"]) for column, value in content.items()}


def _problems(content: Any) -> Iterator[str]:
    """Yield a clause on everything that departs from {column: {fritz_label, taxonomy_id}}."""
    if not isinstance(content, Mapping):
        yield f"expected columns and their classes, found {type(content).__name__}"
        return
    if not content:
        yield "it has no entries"
    for column, value in content.items():
        if not isinstance(value, Mapping):
            yield f"{column!r} has {value!r}, expected {' and '.join(_KEYS)}"
            continue
        if wrong := [key for key in _KEYS if key not in value]:
            yield f"{column!r} has no {' and no '.join(wrong)}"
        if other := [key for key in value if key not in _KEYS]:
            yield f"{column!r} has {', '.join(map(repr, other))}, which means nothing"
        label, taxonomy = value.get("fritz_label", "-"), value.get("taxonomy_id", 0)
        if not isinstance(label, str) or not label.strip():
            yield f"the fritz_label of {column!r} is {label!r}, expected the name of a class"
        if not isinstance(taxonomy, int) or isinstance(taxonomy, bool):
            yield f"the taxonomy_id of {column!r} is {taxonomy!r}, expected an integer"


def write_mapper(mapper: Mapping[str, Entry], path: str | os.PathLike[str]) -> None:
    """Write a taxonomy mapper; a file that is there is replaced at once or not at all."""
    from scope_dask.formats.atomic import replacing

    content = {c: {"fritz_label": e.fritz_label, "taxonomy_id": e.taxonomy_id} for c, e in mapper.items()}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def uploaded(mapper: Mapping[str, Entry]) -> Mapper:
    """Return the entries of a mapper that are uploaded."""
    return {column: entry for column, entry in mapper.items() if entry.uploaded}


def check_mapper(mapper: Mapping[str, Entry], taxonomies: Mapping[int, Taxonomy]) -> None:
    """Check that the service has the classes of a mapper.

    Raises
    ------
    FritzInputError
        With all taxonomies and classes that it does not have.
    """
    pairs = list(dict.fromkeys((entry.fritz_label, entry.taxonomy_id) for entry in uploaded(mapper).values()))
    Findings(class_problems(pairs, taxonomies)).refuse()


@dataclass(frozen=True)
class Draft:
    """A first mapper, to be looked through.

    Attributes
    ----------
    mapper : dict of str to Entry
        Columns whose class was found, in the order of the table.
    ambiguous : dict of str to list of int
        Of these, the columns whose class is in several of the latest taxonomies: all their ids, the chosen one first.
    unmatched : list of str
        Columns without a class: they are not in the mapper, and nothing is uploaded from them.
    """

    mapper: Mapper
    ambiguous: dict[str, list[int]]
    unmatched: list[str]


def draft_mapper(columns: Sequence[str], taxonomies: Mapping[int, Taxonomy]) -> Draft:
    """Make a first mapper for the columns of a table.

    A column is a class if its name is that of the class (whatever the case, blanks, ``-`` and ``_``), or a name by
    which the packaged mappers know it (``vnv``, ``vnv_dnn``, ``binary star``). Of several taxonomies that have the
    class the newest is taken; taxonomies that are not the latest of their name count only where no other has it.

    Parameters
    ----------
    columns : sequence of str
    taxonomies : mapping of int to dict
        Those of the service, by id (`scope_dask.fritz.taxonomies.taxonomies`).
    """
    known = _known_labels()
    latest, older = _classes(taxonomies, True), _classes(taxonomies, False)
    mapper, ambiguous, unmatched = {}, {}, []
    for column in dict.fromkeys(map(str, columns)):
        words = [column, *(column.removesuffix(suffix) for suffix in _SUFFIXES if column.endswith(suffix))]
        words += [known[_plain(word)] for word in words if _plain(word) in known]
        found = next((f for c in (latest, older) for word in words if (f := _matches(word, c))), [])
        if not found:
            unmatched.append(column)
            continue
        mapper[column] = found[0]
        if len(found) > 1:
            ambiguous[column] = [entry.taxonomy_id for entry in found]
    return Draft(mapper, ambiguous, unmatched)


def _matches(word: str, classes: Mapping[str, list[Entry]]) -> list[Entry]:
    """Return the classes of this very name (``eclipsing`` is not ``Eclipsing``), else those of its plain one."""
    found = classes.get(_plain(word), [])
    return [entry for entry in found if entry.fritz_label == word] or found


def _classes(taxonomies: Mapping[int, Taxonomy], latest: bool) -> dict[str, list[Entry]]:
    """Return the classes by their plain names, those of the newest taxonomy first."""
    found: dict[str, list[Entry]] = {}
    for key in sorted(taxonomies, reverse=True):
        if bool(taxonomies[key].get("isLatest", True)) == latest:
            for label in dict.fromkeys(classes_of(taxonomies[key]["hierarchy"])):
                found.setdefault(_plain(label), []).append(Entry(label, key))
    return found


def _known_labels() -> dict[str, str]:
    """Return the classes that the packaged mappers have for the columns they know, by the plain name of the column."""
    return {
        _plain(column): entry.fritz_label
        for name in reversed(PACKAGED)
        for column, entry in uploaded(read_mapper(packaged_configs() / name)).items()
    }


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
