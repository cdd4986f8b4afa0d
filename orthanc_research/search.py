"""A planned find, carried out: page by page, complete, also on servers that cap their answers.

An administrator may cap what a find gives (LimitFindResults, LimitFindInstances in Orthanc's configuration), and such
an answer looks complete. Observed with a cap of 3 on 12 series: 1.12.7 and 1.13.0 go on with `Since` (3, 3, 3, 3, 0);
1.10.1 gives one more than the cap and does not go on; with a criterion outside the index the cap comes before the
criterion. So a client's first find that answers anything is followed by a request that learns how much there is, and,
unless it was given all of that, by one that learns the cap, once for instances and once for the other levels: a cap, or
that so many answers at least are given. What is not below that is asked about again, at most once a minute, and after
this client has stored something.

Pages are no snapshot. Each asks for one answer more than it needs, and that one must be the first of the next page;
and no resource of that level may have come meanwhile, by the change log, from before the first page until after the
last. What is deleted leaves no trace in that log, but moves the pages. That costs a find of several pages three small
requests: where the log ends, before (with the first page's IDs once more, since nobody knew that there would be a
second) and after.

A find by a text is `loose` from 1.12.5 on (`plan`): its pages are of candidates, of which fewer may be answers. Their
number is asked for first, one request more, and of several pages once more at the end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orthanc_research.errors import ResponseError
from orthanc_research.rest import Level, Rest
from orthanc_research.tables import LEVELS, FindPlan

__all__ = ["Known", "answers"]

_PROBE = 10_000
_LEAST = 1000  # candidates a page, however few answers are wanted
_FRESH = 60.0  # seconds
_TRIES = 3
_CHANGES = 1000
_COUNTS: dict[Level, str] = {
    "Patient": "CountPatients",
    "Study": "CountStudies",
    "Series": "CountSeries",
    "Instance": "CountInstances",
}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a server's finds: its cap, or that `floor` answers at least are given; learnt at `when`."""

    cap: int | None
    floor: int
    when: float


def answers(rest: Rest, plan: FindPlan) -> tuple[list[Json], dict[Level, dict[str, Json]]]:
    """What a planned find answers, and the resources to join by level: {level: {ID: object}}.

    One request a page of each of the plan's pieces. `ResponseError` when this server cuts its answers short and there
    is no way to go on, or when what it lists changes while it is listed, three times in a row.
    """
    found: dict[str, Json] = {}
    for piece in plan.pieces():
        found |= {answer["ID"]: answer for answer in _whole(rest, piece)}
        if plan.complete(len(found)):
            break
    return list(found.values()), _related(rest, plan, list(found.values()))


def _whole(rest: Rest, plan: FindPlan) -> list[Json]:
    """All pages, of one moment."""
    for _ in range(_TRIES):
        found = _candidates(rest, plan) if plan.loose and not plan.empty else _paged(rest, plan)
        if found is not None:
            return found
    raise ResponseError("Resources come and go while they are listed: the pages of this find do not fit; ask again.")


def _paged(rest: Rest, plan: FindPlan) -> list[Json] | None:
    """All pages; None when they are not those of one moment."""
    found: list[Json] = []
    expected: Any = None
    start: int | None = None
    while not plan.empty:
        body = plan.request(len(found))
        # One more than the page, so that a last page that is just full is known to be the last.
        more = {"Limit": body["Limit"] + 1} if plan.paged else {}
        page = rest.tools.find({**body, **more})
        if expected is not None and (not page or page[0].get("ID") != expected):
            return None
        full = plan.paged and len(page) > body["Limit"]
        expected = page[body["Limit"]].get("ID") if full else None
        found += page[: body["Limit"]] if full else page
        if plan.complete(len(found)) or (plan.paged and not page):
            break
        if not full and not _cut(rest, plan, len(page), str(body["Level"])):
            break
        if start is None:
            start = _end_of_log(rest)
            if _ids(rest, {**body, **more}) != [answer.get("ID") for answer in page]:
                return None
    return None if start is not None and _has_grown(rest, start, str(plan.body["Level"])) else found


def _candidates(rest: Rest, plan: FindPlan, cap: int | None = None) -> list[Json] | None:
    """The answers among the candidates of a loose find, page by page; None when they are not those of one moment."""
    level = str(plan.body["Level"])
    wanted = plan.page if plan.limit is None else min(plan.page, max(_LEAST, plan.limit))
    step = wanted if cap is None else min(wanted, cap)
    there = rest.tools.count_resources(plan.counting)
    start = _end_of_log(rest) if there > step else None
    found: list[Json] = []
    for since in range(0, there, step):
        page = rest.tools.find({**plan.body, "Since": since, "Limit": step})
        looked_at = min(step, there - since)
        if len(page) < looked_at:
            known = _known(rest, plan, looked_at, next(each for each in LEVELS if each == level)).cap
            if known is not None and known < step:
                return _candidates(rest, plan, known)
        found += page
        if plan.complete(len(found)):
            break
    if start is None:
        return found
    same = rest.tools.count_resources(plan.counting) == there and not _has_grown(rest, start, level)
    return found if same else None


def _end_of_log(rest: Rest) -> int:
    return int(rest.changes.last()["Last"])


def _ids(rest: Rest, body: Json) -> list[str]:
    """The IDs of a page without their content, which is a fraction of the work."""
    content = ("Expand", "RequestedTags", "ResponseContent")
    found: list[Any] = rest.tools.find({key: value for key, value in body.items() if key not in content})
    return [str(each) for each in found]


def _has_grown(rest: Rest, start: int, level: str) -> bool:
    """Whether resources of this level came after this position of the change log."""
    end = _end_of_log(rest)
    while start < end:
        answer = rest.changes.read(start, _CHANGES)
        if any(change["ChangeType"] == f"New{level}" for change in answer["Changes"]):
            return True
        if answer["Done"] or int(answer["Last"]) <= start:
            return False
        start = int(answer["Last"])
    return False


def _related(rest: Rest, plan: FindPlan, found: Sequence[Json]) -> dict[Level, dict[str, Json]]:
    related: dict[Level, dict[str, Json]] = {}
    for level in plan.parents if found else ():
        ids = list(plan.ask(level, found, related))
        pages = (ids[start : start + plan.page] for start in range(0, len(ids), plan.page))
        related[level] = {value["ID"]: value for page in pages for value in rest.tools.bulk_content(page, level)}
    return related


def _cut(rest: Rest, plan: FindPlan, count: int, level: str) -> bool:
    """True when a page that is not full may go on because the server cut it."""
    known = _known(rest, plan, count, next(each for each in LEVELS if each == level))
    if known.cap is None:
        return False
    if plan.paged and rest.capabilities().has("extended-find"):
        return True
    # The cap is one of candidates: letters outside ASCII are compared after it.
    plain = all(text.isascii() for text in plan.body["Query"].values())
    if count < known.cap and plan.paged and plain:
        return False
    raise ResponseError(
        f"This Orthanc gives at most {known.cap} answers to a find (LimitFindResults and LimitFindInstances in its "
        "configuration), and these cannot be paged: ask for less, by dates or studies, or have the limit raised."
    )


def _known(rest: Rest, plan: FindPlan, count: int, level: Level) -> Known:
    kind: Level = "Instance" if level == "Instance" else "Series"
    there = [rest.find_caps[key] for key in {level, kind} if key in rest.find_caps]
    known: Known | None = max(there, key=lambda each: each.when, default=None)
    now = time.monotonic()
    # An unpaged find may have been cut before its criterion was looked at, so its own count says nothing.
    enough = known is not None and (count < known.floor if plan.paged else False)
    if known is None or (known.cap is None and not enough and now - known.when > _FRESH):
        counts = rest.system.statistics()
        if count >= int(counts[_COUNTS[level]]) and not plan.loose:
            # All there is was given. Of the other levels, which share a cap and have more, that says nothing.
            known = rest.find_caps[level] = Known(None, count, now)
        else:
            known = rest.find_caps[kind] = _probe(rest, kind, int(counts[_COUNTS[kind]]), max(_PROBE, plan.page + 1))
    return known


def _probe(rest: Rest, kind: Level, there: int, most: int) -> Known:
    now = time.monotonic()
    given = len(rest.tools.find({"Level": kind, "Query": {}, "Limit": most}))
    if given < min(there, most):
        # Asked again, since something may have been deleted between the two.
        again = len(rest.tools.find({"Level": kind, "Query": {}, "Limit": most}))
        if again == given:
            return Known(given, given, now)
    return Known(None, given, now)
