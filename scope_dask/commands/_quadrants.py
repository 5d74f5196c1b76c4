"""The options that name CCDs and quadrants, shared by the commands that read by quadrant."""

from __future__ import annotations

from collections.abc import Sequence

from scope_dask.commands._parser import values
from scope_dask.errors import OptionError

CCDS, QUADS = 16, 4
CCD_RANGE = values("--ccd-range", "a CCD, or the first and the last", int, (1, CCDS), aliases=("--ccd",), most=2)
QUAD_RANGE = values(
    "--quad-range", "a quadrant, or the first and the last", int, (1, QUADS), aliases=("--quad",), most=2
)


def numbers_between(bounds: Sequence[int], last: int, name: str) -> list[int]:
    """Return the numbers that one number or an inclusive range means.

    Parameters
    ----------
    bounds : sequence of int
        One number, or the first and the last.
    last : int
        The largest that there is: `CCDS` or `QUADS`.
    name : str
        Of the option, for messages.

    Raises
    ------
    OptionError
        If there are more than two, one is outside 1 to `last`, or the range is backwards.

    Examples
    --------
    >>> numbers_between([3], CCDS, "--ccd-range"), numbers_between([2, 4], QUADS, "--quad-range")
    ([3], [2, 3, 4])
    """
    found = " ".join(map(str, bounds))
    if len(bounds) not in (1, 2) or not all(1 <= number <= last for number in bounds) or bounds[0] > bounds[-1]:
        raise OptionError(f"{name} is {found}, expected one number or a first and a last one, from 1 to {last}")
    return list(range(bounds[0], bounds[-1] + 1))
