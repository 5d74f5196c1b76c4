"""What the scheduler's HTTP server answers below ``/scope``."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from tornado.web import RequestHandler

from scope_dask.watching import metrics, page

if TYPE_CHECKING:
    from scope_dask.watching.scheduler import Runs


class _Answer(RequestHandler):
    """An answer made when it is asked for."""

    kind = "text/html; charset=utf-8"

    def initialize(self, runs: Runs) -> None:
        self.runs = runs

    def get(self) -> None:
        self.set_header("Content-Type", self.kind)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Connection", "close")  # one that is kept is still answered when its scheduler has closed
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(self.content())

    def content(self) -> str:
        """Return the body."""
        raise NotImplementedError


class _Page(_Answer):
    def content(self) -> str:
        return page.document(self.runs.figures(), self.runs.cluster())


class _Fragment(_Answer):
    def content(self) -> str:
        return page.content(self.runs.figures(), self.runs.cluster())


class _Json(_Answer):
    kind = "application/json"

    def content(self) -> str:
        told: dict[str, Any] = {"cluster": dataclasses.asdict(self.runs.cluster())}
        return json.dumps(told | {"runs": [figures.as_dict() for figures in self.runs.figures()]})


class _Metrics(_Answer):
    kind = "text/plain; version=0.0.4; charset=utf-8"

    def content(self) -> str:
        return metrics.text(self.runs.figures())


class _Slash(RequestHandler):
    def get(self) -> None:
        self.redirect("../scope")


def routes(runs: Runs) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Return the routes; whatever stands before ``/scope`` is the prefix of a server or a proxy."""
    answers = {"": _Page, "/now": _Fragment, "/runs.json": _Json, "/metrics": _Metrics}
    return [
        *((f".*/scope{path}", answer, {"runs": runs}) for path, answer in answers.items()),
        (".*/scope/", _Slash, {}),
    ]
