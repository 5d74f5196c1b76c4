"""Photometry and GCN events of the test Fritz, and what all of its endpoints have in common."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

ALL_ACLS = frozenset({"Upload data", "Classify", "Annotate", "Comment", "Post taxonomy", "Manage sources"})
PER_PAGE, MOST_PER_PAGE, MOST_ROWS = 100, 500, 10_000

Body = dict[str, Any]


class ApiError(Exception):
    """An answer with status ``error``."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class User:
    """A token's owner."""

    id: int
    name: str
    groups: set[int]
    acls: frozenset[str] = ALL_ACLS


@dataclass
class Observations:
    """What a Fritz knows of points, instruments and events."""

    sources: dict[str, Body] = field(default_factory=dict)
    photometry: list[Body] = field(default_factory=list)
    events: dict[str, Body] = field(default_factory=dict)
    instruments: dict[int, str] = field(default_factory=lambda: {7: "SEDM", 41: "ZTF"})
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1001))

    def page(self, found: list[Any], query: Body) -> tuple[int, int, list[Any]]:
        try:
            number, size = int(query.get("pageNumber", 1)), int(query.get("numPerPage", PER_PAGE))
        except ValueError:
            raise ApiError(400, "Invalid page number value.") from None
        if number < 1 or size < 1:
            raise ApiError(400, "Invalid page number value.")
        size = min(size, MOST_PER_PAGE)
        return number, size, found[(number - 1) * size : number * size]

    def within(self, obj_id: str, ra: float, dec: float, radius: float) -> bool:
        a = np.radians([self.sources[obj_id]["ra"], self.sources[obj_id]["dec"], ra, dec])
        haversine = np.sin((a[1] - a[3]) / 2) ** 2 + np.cos(a[1]) * np.cos(a[3]) * np.sin((a[0] - a[2]) / 2) ** 2
        return bool(2 * np.degrees(np.arcsin(np.sqrt(haversine))) <= radius)

    def get_instruments(self, user: User, query: Body, body: Body) -> Any:
        named = [{"id": number, "name": name} for number, name in self.instruments.items()]
        return [entry for entry in named if query.get("name") in (None, entry["name"])]

    def get_photometry(self, user: User, query: Body, body: Body, obj_id: str) -> Any:
        if obj_id not in self.sources:
            raise ApiError(403, "Insufficient permissions")
        return [point for point in self.photometry if point["obj_id"] == obj_id]

    def put_photometry(self, user: User, query: Body, body: Body) -> Any:
        columns = {key: value for key, value in body.items() if isinstance(value, list) and key != "group_ids"}
        count = max(map(len, columns.values()))
        if count > MOST_ROWS:
            raise ApiError(400, f"Maximum number of photometry rows to put is {MOST_ROWS}")
        if body["obj_id"] not in self.sources or body["instrument_id"] not in self.instruments:
            raise ApiError(400, "Invalid obj_id or instrument_id")
        same = {key: value for key, value in body.items() if key not in columns and key != "group_ids"}
        known = {self._key(point): point["id"] for point in self.photometry}
        ids = []
        for k in range(count):
            point = {"origin": "None", **same, **{name: values[k] for name, values in columns.items()}}
            if "limiting_mag" not in point or (point["mag"] is None) != (point["magerr"] is None):
                raise ApiError(400, f"Error parsing packet row {k}")
            if self._key(point) not in known:
                known[self._key(point)] = number = next(self.numbers)
                self.photometry.append({"id": number, **point})
            ids.append(known[self._key(point)])
        return {"ids": ids, "upload_id": "u"}

    def _key(self, point: Body) -> tuple[Any, ...]:
        return tuple(point[k] for k in ("obj_id", "instrument_id", "origin", "mjd", "mag", "magerr", "filter"))

    def add_event(self, dateobs: str, ra: float, dec: float, radius: float, tags: Collection[str] = ()) -> None:
        """Add a GCN event whose localisation is a cone (deg)."""
        self.events[dateobs] = {"dateobs": dateobs, "tags": sorted(tags), "cone": (ra, dec, radius)}

    def get_events(self, user: User, query: Body, body: Body) -> Any:
        start, end = query.get("startDate", ""), query.get("endDate", "9")
        found = sorted((d for d in self.events if start <= d <= end), reverse=query.get("sortOrder") != "asc")
        _, _, page = self.page(found, query)
        return {"events": [self.events[d] for d in page], "totalMatches": len(found)}

    def get_event(self, user: User, query: Body, body: Body, dateobs: str) -> Any:
        if dateobs not in self.events:
            raise ApiError(404, "GCN event not found")
        return self.events[dateobs]

    def localised(self, found: list[str], query: Body) -> Iterator[str]:
        if "startDate" not in query or "endDate" not in query:
            raise ApiError(400, "Need start and end date when restricting to localization")
        event = self.events.get(query["localizationDateobs"])
        if event is None:
            said = f"Localization {query['localizationDateobs']} not found"
            raise ApiError(400, f"Invalid localization query parameters ({said})")
        for obj_id in found:
            times = [p["mjd"] for p in self.photometry if p["obj_id"] == obj_id and p["mag"] is not None]
            seen = any(_mjd(query["startDate"]) <= mjd <= _mjd(query["endDate"]) for mjd in times)
            if self.within(obj_id, *event["cone"]) and (seen or query.get("requireDetections") == "false"):
                yield obj_id


def _mjd(time: str) -> float:
    return datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp() / 86400.0 + 40587.0
