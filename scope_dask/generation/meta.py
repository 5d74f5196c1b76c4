"""Small files beside the features: ``meta.json``, which many jobs add to, and the ids kept near bright stars."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scope_dask.formats import read_table
from scope_dask.formats.atomic import locked, replacing
from scope_dask.generation.options import Quadrant, SpecificIds

_KEY = "(field, ccd, quad)"


def add_entry(path: Path, what: Quadrant | SpecificIds, entry: Mapping[str, Any]) -> None:
    """Add the entry of a quadrant (or of specific ids) to ``meta.json``; jobs that end together wait for each other."""
    key = "specific_ids" if isinstance(what, SpecificIds) else str((what.field, what.ccd, what.quad))
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")):
        content = _read(path)
        known = content.get(_KEY)
        content[_KEY] = {**(known if isinstance(known, dict) else {}), key: dict(entry)}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_kept_sources(path: Path) -> None:
    """Write ``specific_ids_dropCloseSources.json`` beside a file of features: its ids, positions and names."""
    table = read_table(path)
    columns = [name for name in ("radec_geojson", "fritz_name") if name in table]
    kept = {
        str(row["_id"]): {name: row[name] for name in columns if row[name] == row[name]}
        for row in table[["_id", *columns]].to_dict("records")
    }
    with replacing(path.with_name("specific_ids_dropCloseSources.json")) as temporary:
        temporary.write_text(json.dumps(kept, indent=1))
