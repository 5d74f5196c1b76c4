"""Features that the service has already: by id, by quadrant and by field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scope_dask.sources.kowalski.client import Kowalski
from scope_dask.sources.kowalski.queries import Document, by_ids, id_array, pages, place
from scope_dask.sources.kowalski.tables import column
from scope_dask.sources.selection import Selection, as_ids

FEATURE_ROWS = 1000


def features_by_id(
    kowalski: Kowalski,
    ids: Any,
    columns: Sequence[str] | None = None,
    *,
    catalog: str | None = None,
    query_rows: int = FEATURE_ROWS,
) -> pd.DataFrame:
    """Return the features of light curves.

    Parameters
    ----------
    kowalski : Kowalski
    ids : array of int
    columns : sequence of str, optional
        By default all that the catalogue has for any of these light curves.
    catalog : str, optional
        Of features.
    query_rows : int
        Ids of a query.

    Returns
    -------
    pandas.DataFrame
        ``_id`` (int64) and the columns, in the order of the ids; light curves that the catalogue does not have are
        not there. For the types see `scope_dask.sources.kowalski.tables.column`.

    Raises
    ------
    KowalskiError
        If the service does not answer as it should.
    """
    wanted = as_ids(ids)
    catalog = catalog or kowalski.options.collections.features
    sorted_ids = np.empty(0, np.int64) if wanted is None else wanted
    found = by_ids(kowalski, catalog, sorted_ids, _projection(columns), query_rows)
    return feature_frame([document for _, page in found for document in page], columns, catalog)


def features_of(
    kowalski: Kowalski,
    field: Any,
    ccd: Any = None,
    quad: Any = None,
    columns: Sequence[str] | None = None,
    *,
    min_epochs: int = 0,
    limit: int | None = None,
    page_rows: int = FEATURE_ROWS,
    catalog: str | None = None,
) -> Iterator[pd.DataFrame]:
    """Yield the features of quadrants or whole fields, a page at a time, in the order of the ids.

    The parameters are those of `source_ids` and `features_by_id`. Name the columns where pages are to be alike: a
    column that no light curve of a page has is otherwise not in it.
    """
    catalog = catalog or kowalski.options.collections.features
    # A catalogue of features counts its epochs as n, whatever its name.
    condition = place(Selection.of(field, ccd, quad), min_epochs, "features")
    for page in pages(kowalski, catalog, condition, _projection(columns), page_rows=page_rows, limit=limit):
        yield feature_frame(page, columns, catalog)


def feature_frame(page: list[Document], columns: Sequence[str] | None, catalog: str) -> pd.DataFrame:
    """Return documents as a table: ``_id`` (int64) and `columns`, by default all that there are."""
    names = list(dict.fromkeys(columns or [name for document in page for name in document]))
    data: dict[str, Any] = {"_id": id_array(page, catalog)}
    for name in names:
        if name != "_id":
            data[name] = column(name, [document.get(name) for document in page])
    return pd.DataFrame(data)


def _projection(columns: Sequence[str] | None) -> dict[str, int]:
    return {} if columns is None else {"_id": 1, **dict.fromkeys(columns, 1)}
