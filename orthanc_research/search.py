"""A planned find, carried out: page by page, complete, also on servers that cap their answers.

An administrator may cap what a find gives (LimitFindResults, LimitFindInstances in Orthanc's configuration), and such
an answer looks complete. Observed with a cap of 3 on 12 series: 1.12.7 and 1.13.0 go on with `Since` (3, 3, 3, 3, 0);
1.10.1 gives one more than the cap and does not go on; with a criterion outside the index the cap comes before the
criterion. So a client's first find that answers anything is followed by two requests that learn the cap, once for
instances and once for the other levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orthanc_research.errors import ResponseError
from orthanc_research.rest import Level, Rest
from orthanc_research.tables import FindPlan

__all__ = ["answers"]

_PROBE = 10_000
Json = dict[str, Any]


def answers(rest: Rest, plan: FindPlan) -> tuple[list[Json], dict[Level, dict[str, Json]]]:
    """What a planned find answers, and the resources to join by level: {level: {ID: object}}.

    One request a page. `ResponseError` when this server cuts its answers short and there is no way to go on.
    """
    found: list[Json] = []
    while not plan.empty:
        body = plan.request(len(found))
        # One more than the page, so that a last page that is just full is known to be the last.
        more = {"Limit": body["Limit"] + 1} if plan.paged else {}
        page = rest.tools.find({**body, **more})
        full = plan.paged and len(page) > body["Limit"]
        found += page[: body["Limit"]] if full else page
        if plan.complete(len(found)) or (plan.paged and not page):
            break
        if not full and not _cut(rest, plan, len(page), str(body["Level"])):
            break
    return found, _related(rest, plan, found)


def _related(rest: Rest, plan: FindPlan, found: Sequence[Json]) -> dict[Level, dict[str, Json]]:
    related: dict[Level, dict[str, Json]] = {}
    for level in plan.parents if found else ():
        ids = list(plan.ask(level, found, related))
        pages = (ids[start : start + plan.page] for start in range(0, len(ids), plan.page))
        related[level] = {value["ID"]: value for page in pages for value in rest.tools.bulk_content(page, level)}
    return related


def _cut(rest: Rest, plan: FindPlan, count: int, level: str) -> bool:
    """True when a page that is not full may go on because the server cut it."""
    cap = _cap(rest, level)
    if cap is None:
        return False
    if plan.paged and rest.capabilities().has("extended-find"):
        return True
    if count < cap and plan.paged:
        return False
    raise ResponseError(
        f"This Orthanc gives at most {cap} answers to a find (LimitFindResults and LimitFindInstances in its "
        "configuration), and these cannot be paged: ask for less, by dates or studies, or have the limit raised."
    )


def _cap(rest: Rest, level: str) -> int | None:
    """How many answers a find at this level gives at most, when that is less than there are resources."""
    kind: Level = "Instance" if level == "Instance" else "Series"
    if kind not in rest.find_caps:
        rest.find_caps[kind] = _probe(rest, kind)
    return rest.find_caps[kind]


def _probe(rest: Rest, kind: Level) -> int | None:
    counts = rest.system.statistics()
    there = min(int(counts["CountInstances" if kind == "Instance" else "CountSeries"]), _PROBE)
    given = len(rest.tools.find({"Level": kind, "Query": {}, "Limit": _PROBE}))
    if given >= there:
        return None
    # Asked again, since something may have been deleted between the two.
    again = len(rest.tools.find({"Level": kind, "Query": {}, "Limit": _PROBE}))
    return given if again == given else None
