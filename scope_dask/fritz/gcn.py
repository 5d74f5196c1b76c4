"""GCN events, and the sources within their localisations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from scope_dask.fritz.client import Fritz
from scope_dask.fritz.errors import FritzInputError, FritzNotFoundError
from scope_dask.fritz.sources import sources

EVENTS = "/api/gcn_event"
PROBABILITY = 0.95


def time_of(dateobs: str) -> datetime:
    """Return the time (UTC) that names an event.

    Raises
    ------
    FritzInputError
        If it is no time such as ``2023-05-21T05:30:43``.
    """
    try:
        found = datetime.fromisoformat(dateobs)
    except ValueError:
        raise FritzInputError({"times of events that are not like 2023-05-21T05:30:43": [repr(dateobs)]}) from None
    return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)


def gcn_events(fritz: Fritz, start: datetime, end: datetime | None = None) -> list[dict[str, Any]]:
    """Return the events from `start` to `end` (UTC; by default now), in the order of their times.

    Raises
    ------
    FritzError
    """
    query = {"startDate": _iso(start), "endDate": _iso(end), "sortBy": "dateobs", "sortOrder": "asc"}
    found = [event for page in fritz.pages(EVENTS, "events", query, most=100) for event in page]
    return sorted(found, key=lambda event: str(event["dateobs"]))


def gcn_event(fritz: Fritz, dateobs: str) -> dict[str, Any] | None:
    """Return an event with its localisations and tags, or None where there is none of that time.

    Raises
    ------
    FritzError
    """
    try:
        return dict(fritz.get(f"{EVENTS}/{time_of(dateobs).isoformat()}"))
    except FritzNotFoundError:
        return None


def sources_of_event(
    fritz: Fritz,
    dateobs: str,
    days: float = 7.0,
    group_ids: Sequence[int] | None = None,
    *,
    probability: float = PROBABILITY,
    detected: bool = True,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the sources within the localisation of an event page by page, in the order of their ids.

    Parameters
    ----------
    fritz : Fritz
    dateobs : str
        Time of the event.
    days : float
        How long after the event.
    group_ids : sequence of int, optional
        By default all groups that the token can see.
    probability : float
        Of the part of the localisation that counts.
    detected : bool
        Only sources with a detection in these days.

    Raises
    ------
    FritzError
    """
    start = time_of(dateobs)
    query = {
        "localizationDateobs": start.isoformat(),
        "localizationCumprob": probability,
        "startDate": start.isoformat(),
        "endDate": _iso(start + timedelta(days=days)),
        "requireDetections": detected,
    }
    yield from sources(fritz, group_ids, **query)


def _iso(time: datetime | None) -> str | None:
    if time is None:
        return None
    return (time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)).isoformat()
