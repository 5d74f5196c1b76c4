"""``check-quads-for-sources``: which quadrants of ZTF fields have sources in a catalogue of Kowalski."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scope_dask.commands._parser import Call, Command, flag, option, values
from scope_dask.commands._quadrants import CCDS, QUADS
from scope_dask.commands._threads import side_by_side
from scope_dask.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

    from scope_dask.sources.kowalski import Kowalski

FIELDS = 2000
ARGUMENTS = (
    values("--fields", f"ZTF fields; 0 to {FIELDS - 1} if not given", int),
    option(
        "--catalog",
        "catalogue of sources or of features",
        default="ZTF_sources_20240117",
        config=("kowalski", "collections", "sources"),
    ),
    flag("--count-sources", "count the sources of each quadrant"),
    option("--minobs", "only sources with as many epochs at least", int, 0),
    flag("--save", "write the quadrants to a JSON file"),
    option("--filename", "of this file, without .json", default="catalog_completeness"),
)


def counts_by_field(
    kowalski: Kowalski, fields: Sequence[int], catalog: str, min_epochs: int = 0
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield each field with the number of sources of its quadrants, in the order of `fields`.

    Parameters
    ----------
    kowalski : Kowalski
    fields : sequence of int
    catalog : str
        Of sources or features.
    min_epochs : int
        Count the sources with as many epochs at least.

    Yields
    ------
    int, pandas.DataFrame
        The field; ``field``, ``ccd``, ``quad``, ``n`` of the quadrants that have sources.

    Raises
    ------
    KowalskiError
        If the service does not answer as it should.
    """
    from scope_dask.sources.kowalski import quadrant_counts

    def count(field: int) -> pd.DataFrame:
        return quadrant_counts(kowalski, field, min_epochs=min_epochs, catalog=catalog)

    yield from zip(fields, side_by_side(count, fields, kowalski.options.max_queries), strict=True)


def nested(table: pd.DataFrame, counts: bool) -> dict[str, list[int] | dict[str, int]]:
    """Return the quadrants of a field as ``{ccd: [quads]}``, or ``{ccd: {quad: count}}``, fit for JSON.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"ccd": [1, 1, 16], "quad": [1, 2, 4], "n": [25, 7, 3]})
    >>> nested(table, counts=False)
    {'1': [1, 2], '16': [4]}
    >>> nested(table, counts=True)
    {'1': {'1': 25, '2': 7}, '16': {'4': 3}}
    """
    found: dict[str, dict[str, int]] = {}
    for ccd, quad, n in zip(table["ccd"], table["quad"], table["n"], strict=True):
        found.setdefault(str(ccd), {})[str(quad)] = int(n)
    if counts:
        return dict(found)
    return {ccd: [int(quad) for quad in quads] for ccd, quads in found.items()}


def run(call: Call) -> None:
    """Ask for the quadrants with sources, print and perhaps save them."""
    from scope_dask.formats.atomic import replacing
    from scope_dask.sources.kowalski import Kowalski

    options = call.options
    fields = list(range(FIELDS)) if options.fields is None else list(dict.fromkeys(options.fields))
    if options.minobs < 0 or min(fields) < 0:
        raise OptionError(f"--minobs is {options.minobs} and the first field {min(fields)}, expected 0 or more")
    kowalski = Kowalski.from_config(call.config)
    file = Path(options.filename.removesuffix(".json") + ".json")
    if call.dry_run:
        call.say(f"would ask {kowalski} for the quadrants of {len(fields)} fields in {options.catalog}")
        call.say(f"would write {file}" if options.save else "would write nothing")
        return
    quadrants: dict[str, dict[str, list[int] | dict[str, int]]] = {}
    for field, table in counts_by_field(kowalski, fields, options.catalog, options.minobs):
        if len(table):
            quadrants[str(field)] = nested(table, options.count_sources)
        if len(table) or options.fields is not None:
            sources = f", {table['n'].sum()} sources" if options.count_sources else ""
            call.say(f"field {field}: {len(table)} of {CCDS * QUADS} quadrants have sources{sources}")
    call.say(f"{len(quadrants)} of {len(fields)} fields have sources in {options.catalog}")
    if options.save:
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(quadrants))
        call.say(f"saved as {file}")


COMMAND = Command(
    "check-quads-for-sources",
    "Find the quadrants of ZTF fields that have sources in a catalogue.",
    ARGUMENTS,
    run,
    on_worker=True,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
