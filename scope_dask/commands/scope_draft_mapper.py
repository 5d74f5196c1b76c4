"""``scope-draft-mapper``: a first taxonomy mapper for the columns of a table, to be looked through."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, option, values
from scope_dask.errors import OptionError, SchemaError

if TYPE_CHECKING:
    from scope_dask.fritz.mappers import Draft

ARGUMENTS = (
    option("--file", "table whose columns are classes: csv, h5 or parquet", required=True),
    option("--taxonomy-map", "file of the mapper that is made; <file>_mapper.json if not given"),
    values("--taxonomy-ids", "taxonomies whose classes are taken; all that the token sees if not given", int),
)


def run(call: Call) -> None:
    """Draft a mapper, or tell what would be done."""
    from scope_dask.formats import read_table
    from scope_dask.fritz import Fritz
    from scope_dask.fritz.mappers import draft_mapper, write_mapper
    from scope_dask.fritz.taxonomies import taxonomies_with

    options = call.options
    columns = [str(name) for name in read_table(options.file).columns]
    path = Path(options.taxonomy_map or f"{Path(options.file).stem}_mapper.json")
    if path.exists():
        raise OptionError(f"{path} is there already: move it away, or name another with --taxonomy-map")
    with Fritz.from_config(call.config) as fritz:
        if call.dry_run:
            which = ", ".join(map(str, options.taxonomy_ids)) if options.taxonomy_ids else "that the token sees"
            call.say(f"would ask {fritz} for the taxonomies {which}")
            call.say(f"would look for classes named {', '.join(columns)}")
            call.say(f"would write {path}")
            return
        draft = draft_mapper(columns, taxonomies_with(fritz, options.taxonomy_ids))
    if not draft.mapper:
        raise SchemaError(f"no column of {options.file} is a class of the taxonomies; it has {', '.join(columns)}")
    write_mapper(draft.mapper, path)
    _tell(call, draft)
    call.say(f"{len(draft.mapper)} columns are in {path}: look it through before you upload with it")


def _tell(call: Call, draft: Draft) -> None:
    """Print a line for each column that has a class, and one for all the others."""
    for column, entry in draft.mapper.items():
        others = draft.ambiguous.get(column, [])[1:]
        also = f", which is in {', '.join(map(str, others))} as well" if others else ""
        call.say(f"{column}: {entry.fritz_label} of taxonomy {entry.taxonomy_id}{also}")
    if draft.unmatched:
        call.say(f"not in the mapper, as no class has this name: {', '.join(draft.unmatched)}")


COMMAND = Command(
    "scope-draft-mapper",
    "Draft a taxonomy mapper for the columns of a table from the taxonomies of Fritz.",
    ARGUMENTS,
    run,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
