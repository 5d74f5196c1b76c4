"""A quadrant of any number of light curves for the test Kowalski: its documents are made as they are asked for."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kowalski_documents as mongo
import numpy as np
import psutil
from kowalski_server import KowalskiServer
from kowalski_sky import SOURCES
from processes import started

PLACE = {"field": 301, "ccd": 2, "quad": 4}
CURVES = 200  # different light curves; more would only make the server slower
RA, DEC, WIDTH = 150.0, 20.0, 0.85
_POLL_SECONDS = 0.05


class _Texts(list[str]):
    """Documents that are JSON already."""


class QuadrantServer(KowalskiServer):
    """A server with one quadrant; every light curve has a match in each catalogue and two alerts.

    Parameters
    ----------
    light_curves : int
    points : int
        Points of a light curve.

    Attributes
    ----------
    most_documents : int
        The most light curves in one answer.
    """

    def __init__(self, light_curves: int, points: int = 150) -> None:
        self.ids = mongo.matchfile_id(*PLACE.values(), 1, 0) + np.arange(light_curves)
        rng = np.random.default_rng(light_curves)
        self.ra = RA + WIDTH * rng.random(light_curves)
        self.dec = DEC + WIDTH * rng.random(light_curves)
        self.most_documents = 0
        self._curves = [_light_curve(rng, points) for _ in range(CURVES)]
        stars = [(RA + WIDTH * rng.random(), DEC + WIDTH * rng.random()) for _ in range(10)]
        bright = [
            {"_id": str(i), "phot_g_mean_mag": 11.0, "bp_rp": 0.5, **mongo.place(*p)} for i, p in enumerate(stars)
        ]
        names = ("AllWISE", "PS1_DR1", "ZTF_alerts", SOURCES)
        super().__init__({**{name: [] for name in names}, "Gaia_EDR3": bright})

    def render(self, answer: Mapping[str, Any]) -> bytes:
        """Return an answer; the light curves in it are text already."""
        if not isinstance(answer["data"], _Texts):
            return super().render(answer)
        return f'{{"status": "success", "message": "", "data": [{",".join(answer["data"])}]}}'.encode()

    def data(self, request: dict[str, Any]) -> Any:
        query_type, query = request["query_type"], request["query"]
        if query_type == "cone_search" and not query["catalogs"].get("Gaia_EDR3", {}).get("filter"):
            return {name: _around(name, query["object_coordinates"]["radec"]) for name in query["catalogs"]}
        if query.get("catalog") != SOURCES:
            return super().data(request)
        if query_type == "aggregate":
            return [{"_id": {"ccd": PLACE["ccd"], "quad": PLACE["quad"]}, "n": len(self.ids)}]
        if "_id" not in query["filter"]:
            first = request["kwargs"]["skip"]
            return [{"_id": int(i)} for i in self.ids[first : first + request["kwargs"]["limit"]]]
        return self._documents_of(query["filter"]["_id"]["$in"])

    def _documents_of(self, ids: Sequence[int]) -> _Texts:
        with self.lock:
            self.most_documents = max(self.most_documents, len(ids))
        return _Texts(self._document(number - int(self.ids[0])) for number in ids)

    def _document(self, number: int) -> str:
        scalars = {"_id": int(self.ids[number]), **PLACE, "filter": 1}
        head = json.dumps({**scalars, **mongo.place(self.ra[number], self.dec[number])})
        return f'{head[:-1]}, "data": {self._curves[number % CURVES]}}}'


def _light_curve(rng: np.random.Generator, points: int) -> str:
    """Return the points of a light curve as JSON."""
    hjd = np.sort(np.round(rng.uniform(2458200, 2459900, points), 5)).tolist()
    mag, magerr = (
        np.round(rng.normal(17, 0.2, points), 5).tolist(),
        np.round(rng.uniform(0.02, 0.05, points), 5).tolist(),
    )
    keys = ("hjd", "mag", "magerr")
    rows = zip(hjd, mag, magerr, strict=True)
    return json.dumps([{**dict(zip(keys, row, strict=True)), "catflags": 0, "programid": 1} for row in rows])


def _around(name: str, radec: Mapping[str, Sequence[float]]) -> dict[str, list[dict[str, Any]]]:
    """Return what a catalogue has around positions: one object there, or two alerts."""
    values = {"classifications": {"braai": 0.5}} if name == "ZTF_alerts" else {"w1mpro": 14.0, "parallax": 1.0}
    count = 1 + (name == "ZTF_alerts")
    return {
        key: [{"_id": str(k), **values, **mongo.place(*place)} for k in range(count)] for key, place in radec.items()
    }


def peaks(command: Sequence[str], folder: Path, timeout: float) -> list[int]:
    """Run a command; return the largest resident memory in bytes of it, then of each process that it started.

    Raises
    ------
    RuntimeError
        If it fails, or does not end in time.
    """
    found: dict[int, int] = {}
    end = time.monotonic() + timeout
    with tempfile.TemporaryFile("w+") as said:
        with started(command, cwd=folder, stdout=said, stderr=said) as process:
            tree = psutil.Process(process.pid)
            while process.poll() is None and time.monotonic() < end:
                with contextlib.suppress(psutil.Error, OSError):
                    for one in [tree, *tree.children(recursive=True)]:
                        found[one.pid] = max(found.get(one.pid, 0), _high_water(one.pid))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"exit code {process.returncode}: {said.read()}")
    return [found.pop(process.pid), *found.values()]


def _high_water(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


@contextlib.contextmanager
def running(light_curves: int, **arguments: Any) -> Iterator[QuadrantServer]:
    """Yield a running server."""
    server = QuadrantServer(light_curves, **arguments)
    try:
        yield server
    finally:
        server.close()
