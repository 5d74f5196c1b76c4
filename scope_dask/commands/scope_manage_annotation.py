"""``scope-manage-annotation``: post, change and delete a key of an annotation of one or many sources on Fritz."""

from __future__ import annotations

import math
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands._parser import Call, Command, option, values
from scope_dask.errors import OptionError, SchemaError

if TYPE_CHECKING:
    from scope_dask.fritz import Fritz
    from scope_dask.fritz.checks import Findings

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
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return text


def change_of(call: Call) -> tuple[Change, Findings]:
    """Return what a command line asks for, and what is wrong with its ids, origin and values.

    Raises
    ------
    OptionError, SourceError, SchemaError
        If an option is missing, or the file is absent or lacks a column.
    """
    options = call.options
    writes = options.action != "delete"
    if writes and options.key is None:
        raise OptionError(f"--action {options.action} needs --key")
    if options.action == "post" and not options.group_ids:
        raise OptionError("--action post needs --group-ids: without groups everybody would see the annotation")
    if options.action != "post" and options.group_ids:
        said = f"--group-ids is not used with --action {options.action}: the annotations keep their groups"
        warnings.warn(said, UserWarning, stacklevel=2)
    path = Path(options.source)
    if path.suffix.lower() in (".csv", ".h5", ".hdf5", ".parquet"):
        ids, values = _of_file(path, options.key if writes else None)
    elif writes and options.value is None:
        raise OptionError(f"--action {options.action} of one source needs --value")
    else:
        ids, values = [options.source], [number_or_text(options.value) if writes else None]
    groups = tuple(dict.fromkeys(options.group_ids or ())) if options.action == "post" else ()
    change = Change(options.action, options.origin, options.key, dict(zip(ids, values, strict=True)), groups)
    return change, _findings(ids, values, options.origin, options.key if writes else None)


def _of_file(path: Path, key: str | None) -> tuple[list[Any], list[Any]]:
    """Return the ids of a file, and their values, None where there is no key."""
    import pandas as pd

    from scope_dask.formats import read_table

    table = read_table(path)
    if missing := [name for name in ("obj_id", key) if name and name not in table.columns]:
        raise SchemaError(f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
    ids = [None if pd.isna(name) else str(name) for name in table["obj_id"]]
    return ids, [_plain(value) for value in table[key]] if key else [None] * len(table)


def _findings(ids: list[Any], values: list[Any], origin: str, key: str | None) -> Findings:
    """Return what is wrong with ids, origin and values."""
    import pandas as pd

    from scope_dask.fritz.annotations import origin_problems
    from scope_dask.fritz.checks import Findings, id_problems

    known = [name for name in ids if name is not None]
    found = Findings(id_problems(known))
    found.add({"rows without obj_id": [str(row) for row, name in enumerate(ids) if name is None]})
    found.add({"sources that are there twice": [name for name, count in Counter(known).items() if count > 1]})
    found.add(origin_problems(origin))
    if key is not None:
        pairs = list(zip(ids, values, strict=True))
        found.add({f"sources without {key}": [str(name) for name, value in pairs if pd.isna(value)]})
        found.add({f"sources whose {key} is infinite": [str(name) for name, value in pairs if _infinite(value)]})
    return found


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)


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


def run(call: Call) -> int:
    """Change annotations, or tell what would be changed; one line a source; 1 where a source is not there."""
    import pandas as pd

    from scope_dask.commands._resuming import Resumed, journal_of
    from scope_dask.formats import write_table
    from scope_dask.fritz import Fritz
    from scope_dask.fritz.groups import check_groups
    from scope_dask.fritz.saving import saving

    change, found = change_of(call)
    if call.dry_run:
        found.refuse()
        call.say(f"would {change.action} on {Fritz.from_config(call.config)}, annotation {change.origin}:")
        for obj_id, value in change.values.items():
            call.say(f"{obj_id}: {change.key or 'all keys'}" + (f" = {value}" if change.action != "delete" else ""))
        return 0
    request = [change.action, change.origin, change.key, change.values, change.group_ids]
    result = RESULT / f"{Path(call.options.source).stem}_{change.action}_{change.origin}.csv"
    with Fritz.from_config(call.config) as fritz:
        if change.group_ids:
            found.look(lambda: check_groups(fritz, change.group_ids))
        found.refuse()
        with Resumed(journal_of(result), request) as resumed:

            def save() -> None:
                done = [resumed.done.get(obj_id) for obj_id in change.values]
                write_table(pd.DataFrame({"obj_id": list(change.values), "done": done}), result)

            with saving(save) as step:
                for obj_id, value in change.values.items():
                    if obj_id not in resumed.done:
                        resumed.add(obj_id, _applied(fritz, change, obj_id, value))
                        step()
                    call.say(f"{obj_id}: {resumed.done[obj_id]}")
            resumed.finish()
    return 1 if ABSENT in resumed.done.values() else 0


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
