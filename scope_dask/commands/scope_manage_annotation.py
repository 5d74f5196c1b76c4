"""``scope-manage-annotation``: post, change and delete a key of an annotation of one or many sources on Fritz."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands._parser import Call, Command, option, values
from scope_dask.errors import OptionError, SchemaError

if TYPE_CHECKING:
    from scope_dask.fritz import Fritz

ABSENT = "is not on Fritz"
ACTIONS = ("post", "update", "delete")
RESULT = Path("fritzAnnotations")  # folder of the result files

ARGUMENTS = (
    option("--action", "what to do", choices=ACTIONS, required=True),
    option("--source", "id of a source, or a file with obj_id: csv, h5 or parquet", required=True),
    values("--group-ids", "groups on Fritz, for --action post", int),
    option("--origin", "name of the annotation", required=True),
    option("--key", "key of the annotation; --action delete: only this key, or the whole annotation if not given"),
    option("--value", "value for the key; of a file it is in the column that --key names", verbatim=True),
)


@dataclass(frozen=True)
class Change:
    """What happens to annotations of one origin.

    Attributes
    ----------
    action : {"post", "update", "delete"}
    origin : str
    key : str or None
    values : dict of str to object
        Source to value.
    group_ids : tuple of int
    """

    action: str
    origin: str
    key: str | None
    values: dict[str, Any]
    group_ids: tuple[int, ...]


def number_or_text(text: str) -> int | float | str:
    """Return a text as an integer, else as a finite number, else as it is."""
    import math

    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return text


def change_of(call: Call) -> Change:
    """Return what a command line asks for.

    Raises
    ------
    OptionError, SourceError, SchemaError
        If an option is missing, or the file is absent, lacks a column or has sources without a value.
    """
    options = call.options
    writes = options.action != "delete"
    if writes and options.key is None:
        raise OptionError(f"--action {options.action} needs --key")
    if options.action == "post" and not options.group_ids:
        raise OptionError("--action post needs --group-ids: without groups everybody would see the annotation")
    groups = tuple(dict.fromkeys(options.group_ids or ()))
    path = Path(options.source)
    if path.suffix.lower() in (".csv", ".h5", ".hdf5", ".parquet"):
        found = _of_file(path, options.key if writes else None)
    elif writes and options.value is None:
        raise OptionError(f"--action {options.action} of one source needs --value")
    else:
        found = {options.source: number_or_text(options.value) if writes else None}
    return Change(options.action, options.origin, options.key, found, groups)


def _of_file(path: Path, key: str | None) -> dict[str, Any]:
    """Return the values of the sources of a file, None where there is no key."""
    import pandas as pd

    from scope_dask.formats import read_table
    from scope_dask.fritz import FritzInputError

    table = read_table(path)
    if missing := [name for name in ("obj_id", key) if name and name not in table.columns]:
        raise SchemaError(f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    ids = table["obj_id"]
    column = table[key] if key else pd.Series([None] * len(table), dtype=object)
    found = {str(name): _plain(value) for name, value in zip(ids, column, strict=True)}
    problems = {
        "sources that are there twice": sorted(set(ids[ids.duplicated()].astype(str))),
        "rows without obj_id": [str(row) for row in ids.index[ids.isna()]],
        f"sources without {key}": [
            str(name) for name, value in zip(ids, column, strict=True) if key and pd.isna(value)
        ],
    }
    if any(problems.values()):
        raise FritzInputError({what: where for what, where in problems.items() if where})
    return found


def _plain(value: Any) -> Any:
    """Return a value of a table as plain Python has it."""
    return value.item() if hasattr(value, "item") else value


def apply(fritz: Fritz, change: Change, obj_id: str, value: Any) -> str:
    """Change the annotation of one source, and return what changed; it is safe to do so again.

    Raises
    ------
    FritzError
    """
    from scope_dask.fritz.annotations import annotation, delete_annotation, post_annotation, update_annotation

    found, key = annotation(fritz, obj_id, change.origin), change.key
    data = {} if found is None else dict(found["data"])
    if found is None and change.action != "post":
        return f"has no annotation {change.origin}"
    if change.action == "delete":
        if key is not None and key not in data:
            return f"{change.origin} has no {key}"
        if key is None or set(data) == {key}:
            delete_annotation(fritz, found or {})
            return f"{change.origin} is deleted, with {', '.join(f'{k} = {v}' for k, v in data.items())}"
        return _without(fritz, found or {}, key)
    assert key is not None
    if key in data and (change.action == "post" or data[key] == value):
        more = "" if data[key] == value else ": it is changed by --action update"
        return f"{change.origin}: {key} = {data[key]} is there already{more}"
    if found is None:
        post_annotation(fritz, obj_id, change.origin, {key: value}, change.group_ids)
    else:
        update_annotation(fritz, found, {key: value})
    return f"{change.origin}: {key} = {value}" + (f", was {data[key]}" if key in data else "")


def _without(fritz: Fritz, found: dict[str, Any], key: str) -> str:
    """Delete one key of an annotation, and keep the others."""
    from scope_dask.fritz.annotations import replace_annotation

    value = found["data"][key]
    replace_annotation(fritz, found, {name: value for name, value in found["data"].items() if name != key})
    return f"{found['origin']}: {key} = {value} is deleted"


def check(fritz: Fritz, change: Change) -> None:
    """Check ids, origin and groups before the first write.

    Raises
    ------
    FritzInputError
        With all that is wrong.
    """
    from scope_dask.fritz import FritzInputError
    from scope_dask.fritz.groups import check_groups
    from scope_dask.fritz.sources import ID

    problems: dict[str, Any] = {}
    if bad := [repr(name) for name in change.values if not ID.fullmatch(name)]:
        problems["ids that are not made of letters, digits and _-.+"] = bad
    if not change.origin[:1].isalnum() and not change.origin.startswith("_"):
        problems["origins that do not begin with a letter, digit or underscore"] = [change.origin]
    if change.group_ids:
        try:
            check_groups(fritz, change.group_ids)
        except FritzInputError as error:
            problems |= error.problems
    if problems:
        raise FritzInputError(problems)


def run(call: Call) -> int:
    """Change annotations, or tell what would be changed; one line a source; 1 where a source is not there."""
    import pandas as pd

    from scope_dask.commands._resuming import Resumed, journal_of
    from scope_dask.formats import write_table
    from scope_dask.fritz import Fritz

    change = change_of(call)
    if call.dry_run:
        call.say(f"would {change.action} on {Fritz.from_config(call.config)}, annotation {change.origin}:")
        for obj_id, value in change.values.items():
            call.say(f"{obj_id}: {change.key or 'all keys'}" + (f" = {value}" if change.action != "delete" else ""))
        return 0
    request = [change.action, change.origin, change.key, change.values, change.group_ids]
    result = RESULT / f"{Path(call.options.source).stem}_{change.action}_{change.origin}.csv"
    with Fritz.from_config(call.config) as fritz:
        check(fritz, change)
        with Resumed(journal_of(result), request) as resumed:
            for obj_id, value in change.values.items():
                if obj_id not in resumed.done:
                    resumed.add(obj_id, _applied(fritz, change, obj_id, value))
                call.say(f"{obj_id}: {resumed.done[obj_id]}")
            done = [resumed.done[obj_id] for obj_id in change.values]
            write_table(pd.DataFrame({"obj_id": list(change.values), "done": done}), result)
            resumed.finish()
    return 1 if ABSENT in done else 0


def _applied(fritz: Fritz, change: Change, obj_id: str, value: Any) -> str:
    """Change the annotation of one source; a source that is not there does not keep others from being changed."""
    from scope_dask.fritz import FritzNotFoundError

    try:
        return apply(fritz, change, obj_id, value)
    except FritzNotFoundError:
        return ABSENT


COMMAND = Command(
    "scope-manage-annotation", "Post, change or delete a key of an annotation of sources on Fritz.", ARGUMENTS, run
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
