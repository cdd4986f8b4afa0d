"""Answers of /tools/find and /tools/bulk-content → a frame whose columns and dtypes depend on the plan alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from orthanc_research.errors import ResponseError
from orthanc_research.tables.columns import Problems, column_of, empty_column, frame_of, typed
from orthanc_research.tables.levels import children_key, columns_for, depth, level_of
from orthanc_research.tables.plan import FindPlan
from orthanc_research.tables.schema import FACTS, LEVELS, Level, column_type

__all__ = ["empty_frame", "find_frame", "issues"]

Json = Mapping[str, Any]
Related = Mapping[Level, Mapping[str, Json]]


def find_frame(plan: FindPlan, answers: Sequence[Json], parents: Related | None = None) -> pd.DataFrame:
    """The DataFrame of a find: index `ID`, the plan's columns, and `Issues`; the same dtypes for any data and for none.

    `parents` holds, for each level in `plan.parents`, {ID: answer of bulk-content}. Answers that came twice, that
    differ in case from an identifier asked for, or that lie outside `within` are dropped; `limit` is applied. What does
    not parse is NA, and named in `Issues`. `ResponseError` when an answer is not one of Orthanc's, or a parent is
    missing (it was deleted meanwhile).
    """
    related = parents or {}
    rows = _distinct(_lifted(plan, answers, related))
    if plan.inside is not None:
        rows = [row for row in rows if _ancestor(plan.level, row, plan.inside.level, related) in plan.inside.ids]
    for name in plan.exact:
        rows = _exactly(name, plan, rows, related)
    if plan.limit is not None:
        rows = rows[: plan.limit]
    problems: Problems = {}
    columns = {name: column_of(name, _values(name, plan.level, rows, related), problems) for name in plan.columns}
    return frame_of([str(row["ID"]) for row in rows], columns, problems)


def empty_frame(level: Level, columns: Iterable[str] | None = None) -> pd.DataFrame:
    """No rows, with the columns and dtypes that a find has."""
    names = columns_for(level) if columns is None else tuple(columns)
    return frame_of([], {name: empty_column(name) for name in names}, {})


def issues(frame: pd.DataFrame) -> pd.DataFrame:
    """What did not parse, one row a finding: `Column` and `Issue`, indexed by `ID` as the frame is.

    >>> issues(empty_frame("Study")).columns.tolist()
    ['Column', 'Issue']
    """
    texts = frame["Issues"].dropna() if "Issues" in frame.columns else pd.Series([], dtype="str")
    found = [(key, *part.partition(": ")[::2]) for key, text in texts.items() for part in str(text).split("; ")]
    data = {
        "Column": typed(column_type("Column"), [column for _, column, _ in found]),
        "Issue": typed(column_type("Issue"), [issue for _, _, issue in found]),
    }
    index = pd.Index([key for key, _, _ in found], dtype=frame.index.dtype, name=frame.index.name)
    return pd.DataFrame(data, index=index)


def _lifted(plan: FindPlan, answers: Sequence[Json], related: Related) -> list[Json]:
    if not plan.lifted:
        return list(answers)
    return list(related[plan.level].values()) if answers else []


def _distinct(answers: Iterable[Json]) -> list[Json]:
    """One answer for each ID: pages are no snapshot, and a resource can move from one page to the next."""
    found: dict[str, Json] = {}
    for answer in answers:
        if not isinstance(answer, Mapping) or not isinstance(answer.get("ID"), str):
            raise ResponseError("An answer of /tools/find is no resource: it has no ID.")
        found.setdefault(answer["ID"], answer)
    return list(found.values())


def _ancestor(level: Level, row: Json, target: Level, related: Related) -> str | None:
    """The Orthanc ID of the row's ancestor at `target`; None when it cannot be known."""
    identifier: str | None = row["ID"]
    current: Json = row
    for above in reversed(LEVELS[depth(target) : depth(level)]):
        identifier = current.get(f"Parent{above}")
        if above != target:
            current = related.get(above, {}).get(identifier or "", {})
    return identifier


def _exactly(name: str, plan: FindPlan, rows: list[Json], related: Related) -> list[Json]:
    """The rows whose identifier is what was asked for, letter by letter, where Orthanc ignored the case."""
    wanted = set(plan.query.tags[name].split("\\"))  # maybe thousands
    patterns = [_pattern(each) for each in wanted if set("*?") & set(each)]
    kept = []
    for row, value in zip(rows, _values(name, plan.level, rows, related), strict=True):
        text = str(value or "").strip(" \0")
        texts = {text, *(part.strip(" \0") for part in text.split("\\"))}
        if texts & wanted or any(pattern.fullmatch(each) for pattern in patterns for each in texts):
            kept.append(row)
    return kept


def _pattern(wild: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(character, re.escape(character)) for character in wild), re.DOTALL)


def _values(name: str, level: Level, rows: Sequence[Json], related: Related) -> list[Any]:
    if name in FACTS:
        return [row.get(name) for row in rows]
    counted = _COUNTED.get((name, level))
    if counted is not None:
        return counted(name, rows, related)
    home = level_of(name, level)
    if depth(home) == depth(level) or not related:
        return [_tag(name, row, None) for row in rows]
    above = f"Parent{LEVELS[depth(level) - 1]}"
    # Rows of one parent share all that lies above it.
    known: dict[Any, Json | None] = {}
    found = []
    for row in rows:
        key = row.get(above)
        if key not in known:
            known[key] = _parent(level, row, home, related)
        found.append(_tag(name, row, known[key]))
    return found


def _tag(name: str, row: Json, parent: Json | None) -> Any:
    """A tag where an answer may have it: asked for, its own, its patient's, or its parent's."""
    for key in ("RequestedTags", "MainDicomTags", "PatientMainDicomTags"):
        found = row.get(key)
        if found and name in found:
            return found[name]
    if parent is None:
        return None
    for key in ("MainDicomTags", "PatientMainDicomTags"):
        found = parent.get(key)
        if found and name in found:
            return found[name]
    return None


def _parent(level: Level, row: Json, home: Level, related: Related) -> Json | None:
    """The answer that carries the tags of the row's ancestor at `home`; studies carry their patient's."""
    if home == "Patient" and (level == "Study" or "Study" in related):
        home = "Study"
    if home == level or home not in related:
        return None
    parent = related[home].get(_ancestor(level, row, home, related) or "")
    if parent is None:
        raise ResponseError(
            "A resource of the answer has no parent on the server: it was deleted meanwhile. Ask again."
        )
    return parent


def _children(name: str, rows: Sequence[Json], related: Related) -> list[Any]:
    key = {"NumberOfPatientRelatedStudies": "Patient", "NumberOfStudyRelatedSeries": "Study"}.get(name, "Series")
    below = children_key(key)  # type: ignore[arg-type]
    return [len(row[below]) if isinstance(row.get(below), list) else _tag(name, row, None) for row in rows]


def _instances_below(name: str, rows: Sequence[Json], related: Related) -> list[Any]:
    if "Series" not in related:
        return [_tag(name, row, None) for row in rows]
    _complete(rows, related["Series"])
    counts: Counter[str] = Counter()
    for series in related["Series"].values():
        counts[str(series.get("ParentStudy"))] += 1 if name.endswith("Series") else len(series.get("Instances", ()))
    return [sum(counts[study] for study in row.get("Studies", [row["ID"]])) for row in rows]


def _complete(studies: Sequence[Json], series: Mapping[str, Json]) -> None:
    if any(child not in series for study in studies for child in study.get("Series", ())):
        raise ResponseError("A study's series is missing in the answer: it was deleted meanwhile. Ask again.")


def _modalities(name: str, rows: Sequence[Json], related: Related) -> list[Any]:
    if "Series" not in related:
        return [_sorted_modalities(_tag(name, row, None)) for row in rows]
    found: dict[str, set[str]] = {}
    _complete(rows, related["Series"])
    for series in related["Series"].values():
        modality = str(series.get("MainDicomTags", {}).get("Modality") or "").strip()
        if modality:
            found.setdefault(str(series.get("ParentStudy")), set()).add(modality)
    return ["\\".join(sorted(found.get(row["ID"], ()))) for row in rows]


def _sorted_modalities(text: Any) -> Any:
    # The server's order differs between versions; sorted, groupby sees one group.
    return "\\".join(sorted(part.strip() for part in text.split("\\"))) if isinstance(text, str) else text


_COUNTED: Mapping[tuple[str, Level], Callable[[str, Sequence[Json], Related], list[Any]]] = {
    ("NumberOfPatientRelatedStudies", "Patient"): _children,
    ("NumberOfStudyRelatedSeries", "Study"): _children,
    ("NumberOfSeriesRelatedInstances", "Series"): _children,
    ("NumberOfPatientRelatedSeries", "Patient"): _instances_below,
    ("NumberOfPatientRelatedInstances", "Patient"): _instances_below,
    ("NumberOfStudyRelatedInstances", "Study"): _instances_below,
    ("ModalitiesInStudy", "Study"): _modalities,
}
