"""``scope-download-gcn-sources``: the light curves of the sources within the localisation of a GCN event."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands._parser import Call, Command, option, values
from scope_dask.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

    from scope_dask.fritz import Fritz
    from scope_dask.sources.kowalski import Kowalski

SAVED = "fritzDownload/specific_ids_GCN_sources"

ARGUMENTS = (
    option("--dateobs", "time of the GCN event, such as 2023-05-21T05:30:43", required=True),
    values("--group-ids", "groups on Fritz; all if not given", int),
    option("--days-range", "how many days after the event the sources are detected", float, 7.0),
    option("--radius-arcsec", "light curves within this radius of a source are its own", float, 0.5),
    option("--save-filename", "what the names of the files begin with", default=SAVED),
)


@dataclass(frozen=True)
class Event:
    """Which sources of an event are looked for.

    Attributes
    ----------
    dateobs : str
    group_ids : tuple of int
        Empty: all that the token can see.
    days : float
        After the event, in which they are detected.
    radius_arcsec : float
        Light curves within it are of a source.
    """

    dateobs: str
    group_ids: tuple[int, ...] = ()
    days: float = 7.0
    radius_arcsec: float = 0.5

    def __post_init__(self) -> None:
        from scope_dask.fritz.gcn import time_of

        time_of(self.dateobs)
        for name, value in (("--days-range", self.days), ("--radius-arcsec", self.radius_arcsec)):
            if not value > 0:
                raise OptionError(f"{name} is {value}, expected more than 0")

    def files(self, saved: str) -> tuple[Path, Path]:
        """Return the Parquet and the JSON file."""
        name = f"{saved}.{label_of(self.dateobs)}"
        return Path(f"{name}.parquet"), Path(f"{name}.json")


def label_of(dateobs: str) -> str:
    """Return the time of an event as it stands in names of files: ``2023-05-21T05-30-43``."""
    return dateobs.replace(":", "-")


def light_curves(fritz: Fritz, kowalski: Kowalski, event: Event) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield, after each page of sources, how many sources came so far, and all their light curves.

    Yields
    ------
    int, pandas.DataFrame
        ``ztf_id``, ``fritz_name`` and ``coordinates``, in the order of the ids. A light curve that is near several
        sources belongs to the nearest.

    Raises
    ------
    FritzRefusedError
        If there is no such event.
    FritzError, KowalskiError
    """
    import numpy as np
    import pandas as pd

    from scope_dask.fritz.gcn import sources_of_event
    from scope_dask.sources.kowalski import neighbours

    catalog, count = kowalski.options.collections.sources, 0
    empty = {"_id": np.empty(0, np.int64), "separation": 0.0, "fritz_name": "", "ra": 0.0, "dec": 0.0}
    found = pd.DataFrame(empty, index=range(0))
    yield 0, _named(found)
    for page in sources_of_event(fritz, event.dateobs, event.days, event.group_ids or None):
        count += len(page)
        ra, dec = ([one[name] for one in page] for name in ("ra", "dec"))
        near = neighbours(kowalski, ra, dec, event.radius_arcsec, catalog, ["_id"])
        near["fritz_name"] = np.array([str(one["id"]) for one in page], dtype=object)[near["position"]]
        near = near.astype({"_id": np.int64})[list(found.columns)]
        found = pd.concat([found, near], ignore_index=True) if len(found) else near
        found = found.sort_values(["separation", "fritz_name"], kind="stable").drop_duplicates("_id")
        yield count, _named(found)


def _named(found: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    found = found.sort_values("_id", ignore_index=True)
    places = [
        {"radec_geojson": {"type": "Point", "coordinates": [ra - 180.0, dec]}}
        for ra, dec in zip(found["ra"], found["dec"], strict=True)
    ]
    names = found["fritz_name"].astype("str")
    return pd.DataFrame({"ztf_id": found["_id"].astype("int64"), "fritz_name": names, "coordinates": places})


def download_event(call: Call, fritz: Fritz, kowalski: Kowalski, event: Event, saved: str) -> pd.DataFrame:
    """Write the light curves of the sources of an event to a Parquet and a JSON file, page by page.

    Returns
    -------
    pandas.DataFrame
        As `light_curves` gives it.

    Raises
    ------
    FritzError, KowalskiError
    """
    table, count = None, 0
    for count, table in light_curves(fritz, kowalski, event):
        if count:
            call.say(f"{count} sources, {len(table)} light curves", level=2)
            _write(table, *event.files(saved))
    assert table is not None
    _write(table, *event.files(saved))
    call.say(f"{event.dateobs}: {count} sources with {len(table)} light curves, in {event.files(saved)[0]}")
    return table


def _write(table: pd.DataFrame, parquet: Path, listed: Path) -> None:
    from scope_dask.formats import write_table
    from scope_dask.formats.atomic import replacing

    content: dict[str, Any] = {
        str(number): {"fritz_name": name, "radec_geojson": place["radec_geojson"]}
        for number, name, place in zip(table["ztf_id"], table["fritz_name"], table["coordinates"], strict=True)
    }
    write_table(table, parquet)
    with replacing(listed) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def run(call: Call) -> None:
    """Download the sources of an event, or tell what would be asked."""
    from scope_dask.fritz import Fritz
    from scope_dask.sources.kowalski import Kowalski

    options = call.options
    groups = tuple(dict.fromkeys(options.group_ids or ()))
    event = Event(options.dateobs, groups, options.days_range, options.radius_arcsec)
    kowalski = Kowalski.from_config(call.config)
    with Fritz.from_config(call.config) as fritz:
        if call.dry_run:
            whose = f"the groups {', '.join(map(str, groups))}" if groups else "all groups"
            call.say(f"would ask {fritz} for the sources of {event.dateobs}, {event.days:g} days, of {whose}")
            call.say(f"would ask {kowalski} for their light curves within {event.radius_arcsec:g} arcsec")
            call.say("\n".join(f"would write {file}" for file in event.files(options.save_filename)))
            return
        download_event(call, fritz, kowalski, event, options.save_filename)


COMMAND = Command(
    "scope-download-gcn-sources",
    "Download which light curves belong to the sources within the localisation of a GCN event.",
    ARGUMENTS,
    run,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
