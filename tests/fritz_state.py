"""What the test Fritz keeps, and what its endpoints do with it; shapes, defaults and traps as in SkyPortal."""

from __future__ import annotations

import base64
import math
import re
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fritz_observations import ApiError, Body, Observations, User

PUBLIC = 1
ID = re.compile(r"[a-zA-Z0-9_\-;:+.]+")


@dataclass
class FritzState(Observations):
    """Everything that a Fritz knows; the methods are its endpoints (`fritz_server.ROUTES`)."""

    users: dict[str, User] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=lambda: {PUBLIC: "Sitewide Group"})
    taxonomies: dict[int, Body] = field(default_factory=dict)
    classifications: dict[int, Body] = field(default_factory=dict)
    votes: dict[tuple[int, int], int] = field(default_factory=dict)
    labels: set[tuple[str, int, int]] = field(default_factory=set)
    annotations: dict[int, Body] = field(default_factory=dict)
    comments: dict[int, Body] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._clock = datetime(2026, 11, 1)

    def now(self) -> str:
        self._clock += timedelta(microseconds=1500)
        return self._clock.isoformat()

    def add_group(self, number: int, name: str) -> None:
        self.groups[number] = name

    def add_source(self, obj_id: str, ra: float = 1.0, dec: float = 2.0, groups: Collection[int] = (PUBLIC,)) -> None:
        """Save a source directly."""
        made = {"id": obj_id, "ra": ra, "dec": dec, "created_at": self.now(), "origin": None, "alias": None}
        self.sources.setdefault(obj_id, {**made, "saved": {}})
        self.sources[obj_id]["saved"] |= {group: self.now() for group in groups}

    def add_classification(self, author: User, obj_id: str, label: str, taxonomy: int, **more: Any) -> int:
        """Post a classification directly, and return its id."""
        body = {"obj_id": obj_id, "classification": label, "taxonomy_id": taxonomy, "vote": False, "label": False}
        return self._classify(author, {**body, **more})

    # --- groups, taxonomies

    def get_groups(self, user: User, query: Body, body: Body) -> Any:
        listed = [{"id": number, "name": name} for number, name in self.groups.items()]
        if "name" in query:
            return [group for group in listed if group["name"] == query["name"]]
        mine = [group for group in listed if group["id"] in user.groups]
        return {"user_groups": mine, "user_accessible_groups": mine, "all_groups": listed}

    def get_taxonomies(self, user: User, query: Body, body: Body) -> Any:
        return list(self.taxonomies.values())

    def post_taxonomy(self, user: User, query: Body, body: Body) -> Any:
        if "class" not in body.get("hierarchy", {}):
            raise ApiError(400, "Hierarchy does not validate against the schema.")
        self._groups(user, body.get("group_ids") or [PUBLIC])
        for other in self.taxonomies.values():
            other["isLatest"] = other["isLatest"] and other["name"] != body["name"]
        number = next(self.numbers)
        kept = {key: body.get(key) for key in ("name", "version", "hierarchy", "provenance")}
        self.taxonomies[number] = {"id": number, "isLatest": True, **kept}
        return {"taxonomy_id": number}

    # --- sources

    def get_source(self, user: User, query: Body, body: Body, obj_id: str) -> Any:
        if obj_id not in self.sources or not set(self.sources[obj_id]["saved"]) & user.groups:
            raise ApiError(404, "Source not found")
        return self._shape(obj_id, user, query) | {"ebv": 0.1, "duplicates": [], "followup_requests": []}

    def _shape(self, obj_id: str, user: User, query: Body) -> Body:
        """A source as it is seen: classifications with groups and without votes, in no fixed order."""
        kept = {key: value for key, value in self.sources[obj_id].items() if key != "saved"}
        saved = self.sources[obj_id]["saved"].items()
        groups = [{"id": g, "name": self.groups[g], "saved_at": at} for g, at in saved if g in user.groups]
        mine = [e for e in self.classifications.values() if e["obj_id"] == obj_id and set(e["groups"]) & user.groups]
        named = [{**e, "groups": [{"id": g, "name": self.groups[g]} for g in e["groups"]]} for e in reversed(mine)]
        shape = {**kept, "groups": groups, "classifications": named, "annotations": self._below("annotations", obj_id)}
        if query.get("includeLabellers") == "true":
            shape["labellers"] = [{"id": u} for u in sorted({u for o, u, _ in self.labels if o == obj_id})]
        if query.get("includeComments") == "true":
            shape["comments"] = self._below("comments", obj_id)
        return shape

    def get_sources(self, user: User, query: Body, body: Body) -> Any:
        found = [o for o in self.sources if set(self.sources[o]["saved"]) & self._asked_groups(user, query)]
        if "sourceID" in query:
            found = [o for o in found if query["sourceID"] in o]
        if "radius" in query:
            found = [o for o in found if self.within(o, *(float(query[key]) for key in ("ra", "dec", "radius")))]
        if "localizationDateobs" in query:
            found = list(self.localised(found, query))
        if query.get("sortBy") == "id":
            found = sorted(found, reverse=query.get("sortOrder") != "asc")
        else:  # when they were saved, the last first; that can tie
            found = sorted(found, key=lambda o: max(self.sources[o]["saved"].values()), reverse=True)
        number, size, page = self.page(found, query)
        shapes = [self._shape(o, user, query) for o in page]
        return {"totalMatches": len(found), "sources": shapes, "pageNumber": number, "numPerPage": size}

    def _asked_groups(self, user: User, query: Body) -> set[int]:
        if "group_ids" not in query:
            return user.groups
        asked = {int(g) for g in query["group_ids"].split(",")}
        if not asked <= user.groups:
            raise ApiError(400, f"Group ids {sorted(asked - user.groups)} are not accessible to the user")
        return asked

    def post_source(self, user: User, query: Body, body: Body) -> Any:
        obj_id, ra, dec = body.get("id"), body.get("ra"), body.get("dec")
        if not obj_id:
            raise ApiError(400, "Failed to post source: 'id'")
        if not ID.fullmatch(obj_id):
            raise ApiError(400, "Failed to post source: Invalid characters in ID")
        if ra is None or dec is None or not math.isfinite(ra + dec):
            raise ApiError(400, "Failed to post source: RA/Declination must not be null")
        groups = self._groups(user, body.get("group_ids") or sorted(user.groups), "Failed to post source: ")
        new = sorted(groups.difference(self.sources.get(obj_id, {"saved": {}})["saved"]))
        self.add_source(obj_id, ra, dec, groups)  # an existing one keeps its position
        self.sources[obj_id]["origin"] = body.get("origin", self.sources[obj_id]["origin"])
        return {"id": obj_id, "saved_to_groups": new}

    def delete_source(self, user: User, query: Body, body: Body, obj_id: str) -> Any:
        if body.get("group_id") not in self.sources.get(obj_id, {"saved": {}})["saved"]:
            raise ApiError(400, "Source is not saved to this group")
        del self.sources[obj_id]["saved"][body["group_id"]]
        return {}

    def post_source_groups(self, user: User, query: Body, body: Body) -> Any:
        saved = self.sources[body["objId"]]["saved"]
        for group in body["inviteGroupIds"]:
            if group in saved:
                raise ApiError(400, f"Source already saved to group w/ ID {group}")
        saved |= {group: self.now() for group in self._groups(user, body["inviteGroupIds"])}
        return {}

    def post_labels(self, user: User, query: Body, body: Body, obj_id: str) -> Any:
        self.labels |= {(obj_id, user.id, group) for group in body["groupIds"]}
        return {}

    def delete_labels(self, user: User, query: Body, body: Body, obj_id: str) -> Any:
        self.labels -= {(obj_id, user.id, group) for group in body["groupIds"]}
        return {}

    def _groups(self, user: User, wanted: Collection[int], before: str = "") -> set[int]:
        if not set(wanted) <= user.groups & set(self.groups):
            raise ApiError(400, f"{before}Cannot find one or more groups with IDs: {list(wanted)}.")
        return set(wanted)

    # --- classifications

    def get_classifications(self, user: User, query: Body, body: Body, obj_id: str) -> Any:
        mine = [e for e in self.classifications.values() if e["obj_id"] == obj_id and set(e["groups"]) & user.groups]
        bare = [{key: value for key, value in entry.items() if key != "groups"} for entry in reversed(mine)]
        return [
            {**e, "votes": [{"voter_id": u, "vote": v} for (c, u), v in self.votes.items() if c == e["id"]]}
            for e in bare
        ]

    def post_classification(self, user: User, query: Body, body: Body) -> Any:
        """Many of them are not atomic: those before a bad one stay."""
        if "classifications" in body:
            return {"classification_ids": [self._classify(user, one) for one in body["classifications"]]}
        return {"classification_id": self._classify(user, body)}

    def _classify(self, user: User, body: Body) -> int:
        before = "Error posting classification: "
        if body["obj_id"] not in self.sources:
            raise ApiError(400, f"{before}Cannot find object with ID {body['obj_id']}.")
        if body["taxonomy_id"] not in self.taxonomies:
            raise ApiError(400, f"{before}Cannot find a taxonomy with ID: {body['taxonomy_id']}.")
        label, probability = body["classification"], body.get("probability")
        if label not in _classes(self.taxonomies[body["taxonomy_id"]]["hierarchy"]):
            raise ApiError(400, f"{before}That classification ({label}) is not in the allowed classes")
        if probability is not None and not math.isnan(probability) and not 0 <= probability <= 1:
            raise ApiError(400, f"{before}That probability ({probability}) is outside the allowable range (0-1).")
        groups = self._groups(user, body.get("group_ids") or [PUBLIC], before)
        number = next(self.numbers)
        self.classifications[number] = {
            "id": number, "obj_id": body["obj_id"], "classification": label, "taxonomy_id": body["taxonomy_id"],
            "probability": None if probability is None or math.isnan(probability) else probability,
            "origin": body.get("origin"), "ml": body.get("ml", False), "groups": sorted(groups),
            "author_id": user.id, "author_name": user.name, "created_at": self.now(), "modified": self.now(),
        }  # fmt: skip
        if body.get("vote", True):
            self.votes[number, user.id] = 1
        self._label(user, body, body["obj_id"], groups)
        return number

    def _label(self, user: User, body: Body, obj_id: str, groups: Collection[int]) -> None:
        if body.get("label", True):
            self.labels |= {(obj_id, user.id, group) for group in groups}

    def _classification(self, user: User, number: str) -> Body:
        if int(number) not in self.classifications:
            raise ApiError(400, f"Cannot find a classification with ID: {number}.")
        return self.classifications[int(number)]

    def put_classification(self, user: User, query: Body, body: Body, number: str) -> Any:
        entry = self._classification(user, number)
        groups = self._groups(user, body.pop("group_ids", entry["groups"]))
        self.classifications.pop(entry["id"])  # an updated row moves
        self.classifications[entry["id"]] = entry | {"ml": False} | body | {"groups": sorted(groups)}
        return {}

    def delete_classification(self, user: User, query: Body, body: Body, number: str) -> Any:
        entry = self._classification(user, number)
        del self.classifications[entry["id"]]
        self._label(user, body, entry["obj_id"], entry["groups"])
        return {}

    def post_vote(self, user: User, query: Body, body: Body, number: str) -> Any:
        entry = self._classification(user, number)
        self.votes[entry["id"], user.id] = body["vote"]
        self._label(user, {}, entry["obj_id"], entry["groups"])
        return {}

    # --- annotations, comments

    def _below(self, kind: str, obj_id: str) -> list[Body]:
        return [entry for entry in getattr(self, kind).values() if entry["obj_id"] == obj_id]

    def get_annotations(self, user: User, query: Body, body: Body, obj_id: str) -> Any:
        return self._below("annotations", obj_id)

    def post_annotation(self, user: User, query: Body, body: Body, obj_id: str) -> Any:
        if extra := set(body) - {"origin", "data", "group_ids"}:
            raise ApiError(400, f"Extra inputs are not permitted: {sorted(extra)}")
        if obj_id not in self.sources:
            raise ApiError(404, f"Obj {obj_id} not found")
        if not re.match(r"^\w+", body["origin"]) or not isinstance(body["data"], dict):
            raise ApiError(400, "Input `origin` must begin with alphanumeric/underscore")
        if any(isinstance(value, float) and not math.isfinite(value) for value in body["data"].values()):
            raise ApiError(500, "Internal server error: Token NaN is invalid [SQL: INSERT INTO annotations ...]")
        if any(entry["origin"] == body["origin"] for entry in self._below("annotations", obj_id)):
            raise ApiError(400, "Annotation already exists with this origin; use PUT")
        number = next(self.numbers)
        groups = sorted(self._groups(user, body.get("group_ids") or user.groups))
        kept = {"origin": body["origin"], "data": body["data"], "obj_id": obj_id, "author_id": user.id}
        self.annotations[number] = {"id": number, **kept, "groups": groups, "created_at": self.now()}
        return {"annotation_id": number}

    def put_annotation(self, user: User, query: Body, body: Body, obj_id: str, number: str) -> Any:
        self._entry(self.annotations, number)["data"] = body["data"]
        return {}

    def delete_annotation(self, user: User, query: Body, body: Body, obj_id: str, number: str) -> Any:
        del self.annotations[self._entry(self.annotations, number)["id"]]
        return {}

    def _entry(self, entries: dict[int, Body], number: str) -> Body:
        if int(number) not in entries:
            raise ApiError(400, f"Could not find any accessible entry with ID {number}.")
        return entries[int(number)]

    def get_comments(self, user: User, query: Body, body: Body, obj_id: str) -> Any:
        return self._below("comments", obj_id)

    def post_comment(self, user: User, query: Body, body: Body, obj_id: str) -> Any:
        attachment = body.get("attachment")
        content = base64.b64decode(attachment["body"].rpartition("base64,")[2], validate=True) if attachment else None
        groups = sorted(self._groups(user, body.get("group_ids") or [PUBLIC]))
        kept = {"obj_id": obj_id, "author_id": user.id, "text": body["text"], "groups": groups, "content": content}
        for entry in self._below("comments", obj_id):
            if all(entry[key] == value for key, value in kept.items()):
                return {"comment_id": entry["id"], "message": "Same comment already exists."}
        number = next(self.numbers)
        name = attachment["name"] if attachment else None
        self.comments[number] = {"id": number, "bot": True, "attachment_name": name, **kept}
        return {"comment_id": number}

    def delete_comment(self, user: User, query: Body, body: Body, obj_id: str, number: str) -> Any:
        del self.comments[self._entry(self.comments, number)["id"]]
        return {}


def call(state: FritzState, endpoint: Callable[..., Any], user: User, query: Body, body: Body, *ids: str) -> Any:
    """Return the data of a request; what is raised besides `ApiError` is the service's 500."""
    try:
        return endpoint(state, user, query, body, *ids)
    except ApiError:
        raise
    except Exception as error:
        raise ApiError(500, f"{error}\n{traceback.format_exc()}") from error


def _classes(hierarchy: Body) -> Iterator[str]:
    yield hierarchy["class"]
    for below in hierarchy.get("subclasses", []):
        yield from _classes(below)
