"""Which sources there are: by quadrant, field, id and position."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from scope_dask.schema import SOURCES
from scope_dask.sources.kowalski.client import Kowalski
from scope_dask.sources.kowalski.errors import KowalskiAnswerError
from scope_dask.sources.kowalski.queries import (
    GEOMETRY,
    PAGE_ROWS,
    Document,
    around_all,
    by_ids,
    id_array,
    pages,
    place,
)
from scope_dask.sources.selection import Selection, as_ids

SOURCE_FIELDS = {**dict.fromkeys(SOURCES.names, 1), GEOMETRY: 1}


def quadrant_counts(
    kowalski: Kowalski,
    field: Any,
    ccd: Any = None,
    quad: Any = None,
    *,
    min_epochs: int = 0,
    catalog: str | None = None,
) -> pd.DataFrame:
    """Return how many sources each quadrant has, with one query a field.

    Without `min_epochs` the service counts in its index of field, CCD and quadrant; with it, it reads every source.

    Parameters
    ----------
    kowalski : Kowalski
    field, ccd, quad : int or list of int
        ZTF fields; CCDs (1 to 16) and quadrants (1 to 4), by default all.
    min_epochs : int
        Count the sources with as many epochs at least.
    catalog : str, optional
        Of sources (the default) or of features.

    Returns
    -------
    pandas.DataFrame
        ``field``, ``ccd``, ``quad``, ``n``, sorted; quadrants without sources are not there.

    Raises
    ------
    KowalskiError
        If the service does not answer as it should.
    """
    catalog = catalog or kowalski.options.collections.sources
    rows: list[tuple[int, int, int, int]] = []
    for number in Selection.of(field, ccd, quad).field or ():
        condition = place(Selection.of(number, ccd, quad), min_epochs, catalog)
        group = {"$group": {"_id": {"ccd": "$ccd", "quad": "$quad"}, "n": {"$sum": 1}}}
        pipeline = [{"$match": condition}, group]
        answer = kowalski.query(
            {"query_type": "aggregate", "query": {"catalog": catalog, "pipeline": pipeline}}, catalog
        )
        try:
            rows += [(number, int(d["_id"]["ccd"]), int(d["_id"]["quad"]), int(d["n"])) for d in answer]
        except (KeyError, TypeError) as error:
            raise KowalskiAnswerError(f"{catalog}: field {number} cannot be counted by CCD and quadrant") from error
    table = np.array(sorted(rows), dtype=np.int64).reshape(-1, 4)
    return pd.DataFrame(table, columns=["field", "ccd", "quad", "n"])


def count_sources(
    kowalski: Kowalski, field: int, ccd: int, quad: int, *, min_epochs: int = 0, catalog: str | None = None
) -> int:
    """Return how many sources a quadrant has (for many quadrants `quadrant_counts` asks less often)."""
    catalog = catalog or kowalski.options.collections.sources
    condition = place(Selection.of(field, ccd, quad), min_epochs, catalog)
    query = {"query_type": "count_documents", "query": {"catalog": catalog, "filter": condition}}
    answer = kowalski.query(query, catalog)
    if not isinstance(answer, int):
        raise KowalskiAnswerError(f"{catalog}: the count is {answer!r}, expected an integer")
    return int(answer)


def source_ids(
    kowalski: Kowalski,
    field: Any,
    ccd: Any = None,
    quad: Any = None,
    *,
    min_epochs: int = 0,
    skip: int = 0,
    limit: int | None = None,
    page_rows: int = PAGE_ROWS,
    catalog: str | None = None,
) -> np.ndarray:
    """Return the ids of the sources of quadrants or whole fields, asked for page by page.

    Parameters
    ----------
    kowalski : Kowalski
    field, ccd, quad : int or list of int
        ZTF fields; CCDs and quadrants, by default all.
    min_epochs : int
        Only sources with as many epochs at least.
    skip, limit : int, optional
        Leave out as many of the first, return as many at most, in the order of the ids.
    page_rows : int
        Ids of a query.
    catalog : str, optional
        Of sources (the default) or of features.

    Returns
    -------
    numpy.ndarray of int64
        Sorted.

    Raises
    ------
    KowalskiError
        If the service does not answer as it should.
    """
    catalog = catalog or kowalski.options.collections.sources
    condition = place(Selection.of(field, ccd, quad), min_epochs, catalog)
    found = pages(kowalski, catalog, condition, {"_id": 1}, page_rows=page_rows, skip=skip, limit=limit)
    return np.concatenate([np.empty(0, np.int64), *(id_array(page, catalog) for page in found)])


def sources_of(
    kowalski: Kowalski,
    field: Any,
    ccd: Any = None,
    quad: Any = None,
    *,
    min_epochs: int = 0,
    limit: int | None = None,
    page_rows: int = PAGE_ROWS,
) -> Iterator[pd.DataFrame]:
    """Yield the sources of quadrants or whole fields, a page at a time.

    Yields
    ------
    pandas.DataFrame
        The columns of ``schema.SOURCES``, in the order of the ids; for the parameters see `source_ids`.
    """
    catalog = kowalski.options.collections.sources
    condition = place(Selection.of(field, ccd, quad), min_epochs, catalog)
    for page in pages(kowalski, catalog, condition, SOURCE_FIELDS, page_rows=page_rows, limit=limit):
        yield source_frame(page, catalog)


def sources_by_id(kowalski: Kowalski, ids: Any, *, catalog: str | None = None) -> pd.DataFrame:
    """Return the sources with these ids (columns of ``schema.SOURCES``); those that do not exist are not there."""
    catalog = catalog or kowalski.options.collections.sources
    wanted = as_ids(ids)
    found = by_ids(kowalski, catalog, np.empty(0, np.int64) if wanted is None else wanted, SOURCE_FIELDS, PAGE_ROWS)
    frames = [source_frame(page, catalog) for _, page in found]
    return pd.concat([SOURCES.empty(), *frames], ignore_index=True) if frames else SOURCES.empty()


def sources_around(
    kowalski: Kowalski,
    ra: Any,
    dec: Any,
    radius_arcsec: float = 2.0,
    *,
    nearest_first: bool = False,
    most: int | None = None,
    condition: dict[str, Any] | None = None,
    catalog: str | None = None,
) -> pd.DataFrame:
    """Return the sources around each of many positions.

    Parameters
    ----------
    kowalski : Kowalski
    ra, dec : array-like
        Positions in deg, a thousand a query.
    radius_arcsec : float
    nearest_first : bool
        Ask by ``near``, which puts the nearest first, instead of ``cone_search``.
    most : int, optional
        As many sources a position at most; of use with `nearest_first`.
    condition : dict, optional
        What the sources must meet besides.
    catalog : str, optional
        Of sources.

    Returns
    -------
    pandas.DataFrame
        ``position``, the number of the position, then the columns of ``schema.SOURCES``. Sorted by position; within
        it by distance, or by id.

    Raises
    ------
    OptionError, KowalskiError
    """
    catalog = catalog or kowalski.options.collections.sources
    kwargs = {} if most is None else {"limit": int(most)}
    what = {"filter": condition or {}, "projection": SOURCE_FIELDS}
    query_type = "near" if nearest_first else "cone_search"
    answers = around_all(kowalski, query_type, ra, dec, radius_arcsec, catalog, what, **kwargs)
    if not nearest_first:
        answers = [sorted(documents, key=_id) for documents in answers]
    frame = source_frame([document for documents in answers for document in documents], catalog)
    frame.insert(0, "position", np.repeat(np.arange(len(answers)), [len(documents) for documents in answers]))
    return frame


def source_frame(page: list[Document], catalog: str) -> pd.DataFrame:
    """Return documents as a table with the columns of ``schema.SOURCES``.

    Raises
    ------
    KowalskiAnswerError
        If one lacks a field.
    """
    ra, dec = positions_of(page, catalog)
    columns: dict[str, Any] = {"_id": id_array(page, catalog), "ra": ra, "dec": dec}
    for name in ("field", "ccd", "quad", "filter"):
        try:
            columns[name] = np.array([document[name] for document in page], dtype=np.int64)
        except (KeyError, TypeError) as error:
            raise KowalskiAnswerError(
                f"{catalog}: a source has no {name}, so this is no catalogue of ZTF sources by quadrant"
            ) from error
    return pd.DataFrame(columns)


def positions_of(page: list[Document], catalog: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (right ascension, declination) in deg of documents, from ra and dec or else from their coordinates."""
    try:
        pairs = [(d["ra"], d["dec"]) if "ra" in d and "dec" in d else _geometry(d) for d in page]
        table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    except (KeyError, TypeError, ValueError) as error:
        raise KowalskiAnswerError(f"{catalog}: a document has no position") from error
    return table[:, 0].copy(), table[:, 1].copy()


def _geometry(document: Document) -> tuple[float, float]:
    ra, dec = document["coordinates"]["radec_geojson"]["coordinates"]
    return ra + 180.0, dec


def _id(document: Document) -> int:
    return int(document["_id"])
