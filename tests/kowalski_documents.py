"""Documents as Kowalski's ingesters make them, and the part of MongoDB's language that the test server knows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

NOTHING = object()
_UNITS = {"arcsec": np.pi / 648000, "arcmin": np.pi / 10800, "deg": np.pi / 180, "rad": 1.0}
_COMPARE = {
    "$eq": lambda a, b: a == b,
    "$gt": lambda a, b: a > b,
    "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b,
    "$lte": lambda a, b: a <= b,
    "$in": lambda a, b: a in b,
}

Document = dict[str, Any]


def source_documents(frame: pd.DataFrame, programs: Sequence[Sequence[int]] | None = None) -> list[Document]:
    """Return light curves (columns of ``schema.RAW_LIGHTCURVES``) as documents of a catalogue of sources."""
    return [_source(row, None if programs is None else programs[i]) for i, row in enumerate(frame.to_dict("records"))]


def _source(row: Mapping[str, Any], programs: Sequence[int] | None) -> Document:
    lists = {name: np.asarray(row[name]).tolist() for name in ("hjd", "mag", "magerr", "catflags")}
    lists["programid"] = [1] * len(lists["hjd"]) if programs is None else list(programs)
    points = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    scalars = {name: int(row[name]) for name in ("_id", "field", "ccd", "quad", "filter")}
    rc = 4 * (scalars["ccd"] - 1) + scalars["quad"] - 1
    return {
        **scalars,
        **place(row["ra"], row["dec"]),
        "rc": rc,
        "nobs": len(points),
        "data": [{**point, "expid": i, "chi": 1.0} for i, point in enumerate(points)],
    }


def place(ra: float, dec: float) -> Document:
    """Return the fields of a position (deg)."""
    geometry = {"type": "Point", "coordinates": [ra - 180.0, dec]}
    return {"ra": float(ra), "dec": float(dec), "coordinates": {"radec_geojson": geometry}}


def matchfile_id(field: int, ccd: int, quad: int, band: int, number: int) -> int:
    """Return the ``_id`` of a source of the matchfiles."""
    return 10**13 + field * 10**9 + (4 * (ccd - 1) + quad - 1) * 10**7 + band * 10**6 + number


def reach(value: Any, path: str) -> Iterator[Any]:
    """Yield what a dotted path leads to, of every element of lists on the way."""
    head, _, rest = path.partition(".")
    if isinstance(value, list):
        for element in value:
            yield from reach(element, path)
    elif isinstance(value, dict) and head in value:
        found = value[head]
        if rest:
            yield from reach(found, rest)
        else:
            yield from found if isinstance(found, list) else [found]


def matches(document: Document, condition: Mapping[str, Any]) -> bool:
    """Tell whether a document meets a condition; of a list, one element must (another for each operator)."""
    for path, wanted in condition.items():
        if path.startswith("$"):
            raise ValueError(f"unknown top level operator: {path}")
        operators = wanted if isinstance(wanted, dict) else {"$eq": wanted}
        values = [v for v in reach(document, path) if v is not None]
        if not all(any(_COMPARE[name](v, bound) for v in values) for name, bound in operators.items()):
            return False
    return True


def project(document: Document, projection: Mapping[str, int] | None) -> Document:
    """Return the fields of a document that are asked for."""
    fields = {name: on for name, on in (projection or {}).items() if name != "_id"}
    with_id = not projection or projection.get("_id", 1)
    if not fields:
        kept = document if not projection or not projection.get("_id") else {}
        out = {k: v for k, v in kept.items() if k != "_id"}
    else:
        out = _included(document, [name.split(".") for name in fields])
    return {"_id": document["_id"], **out} if with_id and "_id" in document else out


def _included(value: Any, paths: list[list[str]]) -> Any:
    if isinstance(value, list):
        return [_included(element, paths) for element in value]
    out = {}
    for name in dict.fromkeys(path[0] for path in paths):
        if not isinstance(value, dict) or name not in value:
            continue
        below = [path[1:] for path in paths if path[0] == name]
        if all(below):
            if isinstance(value[name], dict | list):
                out[name] = _included(value[name], below)
        else:
            out[name] = value[name]
    return out


def find(
    documents: list[Document],
    condition: Mapping[str, Any],
    projection: Mapping[str, int] | None,
    kwargs: Mapping[str, Any],
) -> list[Document]:
    """Return what a ``find`` returns; without a sort, in no order."""
    found = [document for document in documents if matches(document, condition)]
    random.Random(len(found)).shuffle(found)
    for name, direction in reversed(kwargs.get("sort", [])):
        found.sort(key=lambda document, name=name: next(reach(document, name)), reverse=direction < 0)
    skip, limit = kwargs.get("skip", 0), kwargs.get("limit", 0)
    return [project(document, projection) for document in found[skip : skip + limit if limit else None]]


def aggregate(documents: list[Document], pipeline: list[dict[str, Any]]) -> list[Document]:
    """Return what a pipeline of ``$match`` and ``$group`` with sums returns."""
    for stage in pipeline:
        ((name, what),) = stage.items()
        if name == "$match":
            documents = [document for document in documents if matches(document, what)]
        elif name == "$group":
            documents = _grouped(documents, what)
        else:
            raise ValueError(f"Pipeline uses forbidden stages: {{'{name}'}}")
    return documents


def _grouped(documents: list[Document], what: Mapping[str, Any]) -> list[Document]:
    groups: dict[tuple[Any, ...], Document] = {}
    for document in documents:
        key = {name: document.get(path[1:]) for name, path in what["_id"].items()}
        group = groups.setdefault(tuple(key.values()), {"_id": key, **{n: 0 for n in what if n != "_id"}})
        for name in group.keys() - {"_id"}:
            step = what[name]["$sum"]
            group[name] += document.get(step[1:], 0) if isinstance(step, str) else step
    return list(groups.values())


def cone_search(
    documents: list[Document], query: Mapping[str, Any], what: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> dict[str, list[Document]]:
    """Return the documents in cones, in no order."""
    cone = query["object_coordinates"]
    radius = cone["cone_search_radius"] * _UNITS[cone["cone_search_unit"]]
    found = _around(documents, cone["radec"], radius, what, kwargs.get("limit", 0))
    for inside in found.values():
        random.Random(len(inside)).shuffle(inside)
    return found


def near(
    documents: list[Document], query: Mapping[str, Any], what: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> dict[str, list[Document]]:
    """Return the documents around positions, the nearest first."""
    radius = query.get("max_distance", np.pi / 10800) * _UNITS[query.get("distance_units", "rad")]
    return _around(documents, query["radec"], radius, what, kwargs.get("limit", 0))


def _around(
    documents: list[Document], radec: Mapping[str, list[float]], radius: float, what: Mapping[str, Any], limit: int
) -> dict[str, list[Document]]:
    chosen = [document for document in documents if matches(document, what.get("filter") or {})]
    where = [document["coordinates"]["radec_geojson"]["coordinates"] for document in chosen]
    lon, lat = np.radians(np.array(where, dtype=np.float64).reshape(-1, 2).T)
    out = {}
    for name, (ra, dec) in radec.items():
        dlon, lat0 = lon - np.radians(ra - 180.0), np.radians(dec)
        half = np.sin((lat - lat0) / 2) ** 2 + np.cos(lat) * np.cos(lat0) * np.sin(dlon / 2) ** 2
        distance = 2 * np.arcsin(np.minimum(1.0, np.sqrt(half)))
        order = [i for i in np.argsort(distance, kind="stable") if distance[i] <= radius]
        picked = [project(chosen[i], what.get("projection")) for i in order[: limit or None]]
        out[name.replace(".", "_")] = picked
    return out
