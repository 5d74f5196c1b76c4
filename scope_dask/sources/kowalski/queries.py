"""The queries, as Kowalski takes them, and the loops that put long answers together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from scope_dask.errors import OptionError
from scope_dask.sources.kowalski.client import Kowalski
from scope_dask.sources.kowalski.errors import KowalskiAnswerError
from scope_dask.sources.selection import Selection

PAGE_ROWS = 10_000
# A body may have 1 MiB: 19 digits and a comma for each id, and room for the rest.
MOST_IDS = 40_000
MOST_POSITIONS = 1000

GEOMETRY = "coordinates.radec_geojson.coordinates"  # [right ascension - 180, declination] in deg

Document = dict[str, Any]


def find(catalog: str, condition: Mapping[str, Any], projection: Mapping[str, int], **kwargs: Any) -> dict[str, Any]:
    """Return the query for the documents that meet a condition, in the order of their ids."""
    return {
        "query_type": "find",
        "query": {"catalog": catalog, "filter": dict(condition), "projection": dict(projection)},
        "kwargs": {"sort": [["_id", 1]], **kwargs},
    }


def around(
    query_type: str,
    positions: Mapping[str, tuple[float, float]],
    radius_arcsec: float,
    catalogs: Mapping[str, Mapping[str, Any]],
    **kwargs: Any,
) -> dict[str, Any]:
    """Return the query for the documents around positions: ``near`` (the nearest first) or ``cone_search``.

    Parameters
    ----------
    query_type : {"near", "cone_search"}
    positions : mapping
        Name to (right ascension, declination) in deg; a name must have no ".".
    radius_arcsec : float
    catalogs : mapping
        Catalogue to ``{"filter": ..., "projection": ...}``.
    **kwargs
        Such as ``limit``, for each position and catalogue.
    """
    radec = {name: list(position) for name, position in positions.items()}
    if query_type == "near":
        where: dict[str, Any] = {"radec": radec, "max_distance": radius_arcsec, "distance_units": "arcsec"}
    else:
        cone = {"cone_search_radius": radius_arcsec, "cone_search_unit": "arcsec", "radec": radec}
        where = {"object_coordinates": cone}
    described = {name: {"filter": {}, **what} for name, what in catalogs.items()}
    return {"query_type": query_type, "query": {**where, "catalogs": described}, "kwargs": kwargs}


def place(selection: Selection, min_epochs: int = 0, catalog: str = "sources") -> dict[str, Any]:
    """Return the condition on field, CCD, quadrant and least number of epochs.

    Epochs are called ``n`` in a catalogue of features and ``nobs`` in one of sources; the name of the catalogue tells.
    """
    given = {name: getattr(selection, name) for name in ("field", "ccd", "quad")}
    condition: dict[str, Any] = {name: _one_of(values) for name, values in given.items() if values is not None}
    if min_epochs:
        condition["n" if "features" in catalog else "nobs"] = {"$gte": int(min_epochs)}
    return condition


def _one_of(values: Sequence[int]) -> dict[str, Any]:
    numbers = [int(value) for value in values]
    return {"$eq": numbers[0]} if len(numbers) == 1 else {"$in": numbers}


def found(
    kowalski: Kowalski, catalog: str, condition: Mapping[str, Any], projection: Mapping[str, int], **kwargs: Any
) -> list[Document]:
    """Return the documents of one ``find``.

    Raises
    ------
    KowalskiAnswerError
        If the answer has no list of documents with ids.
    """
    data = kowalski.query(find(catalog, condition, projection, **kwargs), catalog)
    return documents(data, catalog)


def documents(data: Any, catalog: str) -> list[Document]:
    """Check that an answer is a list of documents, each with its id."""
    if not isinstance(data, list) or not all(isinstance(document, dict) and "_id" in document for document in data):
        raise KowalskiAnswerError(f"{catalog}: the answer is no list of documents with _id: {str(data)[:100]}")
    return data


def pages(
    kowalski: Kowalski,
    catalog: str,
    condition: Mapping[str, Any],
    projection: Mapping[str, int],
    *,
    page_rows: int = PAGE_ROWS,
    skip: int = 0,
    limit: int | None = None,
) -> Iterator[list[Document]]:
    """Yield all documents that meet a condition, in the order of their ids, a page at a time.

    Each page begins after the last id of the one before: nothing is lost or doubled where documents are added
    meanwhile, and a page costs the database the same wherever it is.
    """
    if page_rows < 1:
        raise OptionError(f"page_rows is {page_rows}, expected 1 or more")
    left = limit
    beyond: dict[str, Any] = {}
    while left is None or left > 0:
        rows = page_rows if left is None else min(page_rows, left)
        page = found(kowalski, catalog, {**condition, **beyond}, projection, limit=int(rows), skip=int(skip))
        if page:
            yield page
            beyond, skip = {"_id": {"$gt": page[-1]["_id"]}}, 0
            left = None if left is None else left - len(page)
        if len(page) < rows:
            return


def by_ids(
    kowalski: Kowalski, catalog: str, ids: np.ndarray, projection: Mapping[str, int], rows: int
) -> Iterator[tuple[np.ndarray, list[Document]]]:
    """Yield (ids asked for, documents in their order) for at most `rows` ids at a time; ids must be sorted.

    Raises
    ------
    KowalskiAnswerError
        If a document comes twice, or one that was not asked for.
    """
    step = max(1, min(rows, MOST_IDS))
    for start in range(0, len(ids), step):
        asked = ids[start : start + step]
        page = found(kowalski, catalog, {"_id": {"$in": asked.tolist()}}, projection)
        got = id_array(page, catalog)
        if np.any(np.diff(got) <= 0) or not np.isin(got, asked, assume_unique=True).all():
            raise KowalskiAnswerError(f"{catalog}: of {len(asked)} ids, documents came twice or unasked")
        yield asked, page


def id_array(page: Sequence[Document], catalog: str) -> np.ndarray:
    """Return the ids of documents, exactly.

    Raises
    ------
    KowalskiAnswerError
        If one is not an integer.
    """
    ids = [document["_id"] for document in page]
    other = next((i for i in ids if not isinstance(i, int) or isinstance(i, bool)), None)
    if other is not None:
        raise KowalskiAnswerError(f"{catalog}: the _id {other!r} is no integer")
    return np.array(ids, dtype=np.int64)


def position_names(ra: Any, dec: Any) -> dict[str, tuple[float, float]]:
    """Return positions (deg) under their numbers, fit for a query.

    Raises
    ------
    OptionError
        If they are not as many, or not finite, or no declinations.
    """
    ra, dec = np.asarray(ra, dtype=np.float64).ravel(), np.asarray(dec, dtype=np.float64).ravel()
    if len(ra) != len(dec):
        raise OptionError(f"there are {len(ra)} right ascensions and {len(dec)} declinations")
    bad = np.flatnonzero(~(np.isfinite(ra) & (np.abs(dec) <= 90)))
    if len(bad):
        raise OptionError(f"position {bad[0]} is ({ra[bad[0]]}, {dec[bad[0]]}), expected finite degrees")
    return {str(i): (a, d) for i, (a, d) in enumerate(zip((ra % 360.0).tolist(), dec.tolist(), strict=True))}


def around_all(
    kowalski: Kowalski,
    query_type: str,
    ra: Any,
    dec: Any,
    radius_arcsec: float,
    catalog: str,
    what: Mapping[str, Any],
    **kwargs: Any,
) -> list[list[Document]]:
    """Return the documents of a catalogue around each position, in batches of a thousand positions.

    Raises
    ------
    KowalskiAnswerError
        If a position is missing in an answer.
    """
    named = position_names(ra, dec)
    if not radius_arcsec > 0:
        raise OptionError(f"the radius is {radius_arcsec} arcsec, expected more than 0")
    names = list(named)
    answers: list[list[Document]] = []
    for start in range(0, len(names), MOST_POSITIONS):
        batch = names[start : start + MOST_POSITIONS]
        positions = {name: named[name] for name in batch}
        data = kowalski.query(around(query_type, positions, radius_arcsec, {catalog: what}, **kwargs), catalog)
        there = data.get(catalog) if isinstance(data, dict) else None
        if not isinstance(there, dict) or any(not isinstance(there.get(name), list) for name in batch):
            raise KowalskiAnswerError(f"{catalog}: the {query_type} has no answer for some of {len(batch)} positions")
        answers += [there[name] for name in batch]
    return answers
