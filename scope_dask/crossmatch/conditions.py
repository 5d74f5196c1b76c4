"""Conditions on the rows of a catalogue: the part of Kowalski's filters that local files can meet, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scope_dask.errors import OptionError, nearest

_COMPARE = {
    "$eq": pc.equal,
    "$gt": pc.greater,
    "$gte": pc.greater_equal,
    "$lt": pc.less,
    "$lte": pc.less_equal,
}
_NEGATED = {"$ne": "$eq", "$nin": "$in"}
OPERATORS = (*_COMPARE, "$in", *_NEGATED)


class Condition(NamedTuple):
    """A comparison that the values of a column must meet; several values for ``$in`` and ``$nin``."""

    column: str
    operator: str
    value: Any

    def met(self, column: pa.ChunkedArray) -> np.ndarray:
        """Tell which values meet it; a missing one meets ``$ne`` and ``$nin`` only, as in the database.

        Raises
        ------
        OptionError
            If the column is of another type than the value.
        """
        if self.operator in _NEGATED:
            return ~self._replace(operator=_NEGATED[self.operator]).met(column)
        try:
            if self.operator == "$in":
                found = pc.is_in(column, pa.array(self.value))
            else:
                found = _COMPARE[self.operator](column, pa.scalar(self.value))
        except pa.ArrowException as error:
            raise OptionError(
                f"the filter {self.column}: {{{self.operator}: {self.value!r}}} does not fit the column, which is "
                f"{column.type} ({error})"
            ) from error
        return np.asarray(pc.fill_null(found, False).to_numpy(), dtype=bool)


def conditions_of(wanted: Mapping[str, Any], where: str) -> tuple[Condition, ...]:
    """Return the conditions of a filter such as ``{"parallax": {"$gt": 1}, "flag": 0}``.

    Parameters
    ----------
    wanted : mapping
        Column to value, or to comparisons.
    where : str
        Whose filter it is, for errors.

    Raises
    ------
    OptionError
        If a comparison is not one of `OPERATORS`.

    Examples
    --------
    >>> [tuple(c) for c in conditions_of({"parallax": {"$gt": 1}, "flag": 0}, "Gaia")]
    [('parallax', '$gt', 1), ('flag', '$eq', 0)]
    """
    found = []
    for column, comparisons in wanted.items():
        for operator, value in (comparisons if isinstance(comparisons, Mapping) else {"$eq": comparisons}).items():
            if column.startswith("$") or operator not in OPERATORS:
                name = column if column.startswith("$") else operator
                raise OptionError(
                    f"the filter of {where} has {name!r}{nearest(name, OPERATORS)}, which a copy in files cannot meet: "
                    f"there are comparisons of columns with {', '.join(OPERATORS)}"
                )
            found.append(Condition(column, operator, tuple(value) if isinstance(value, list) else value))
    return tuple(found)
