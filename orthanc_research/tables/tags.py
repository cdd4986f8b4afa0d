"""Which tags are wanted, the cheapest route that tells the truth about them, and short JSON → a typed frame.

Keys are numbers ("0010,0020"): names collide, and unknown private elements all have the same one. In /tags and
/instances-tags Orthanc sends null for values over 256 bytes, as it does for binary ones; which of the two it is, the
dictionary knows.

    route            asks                                   when
    "index"          a find (bulk-content before 1.12.5)    every column is of the instance level of the index
    "find"           /tools/find with RequestedTags, too    … or outside the index, on 1.11 and later
    "instances-tags" one request a series                   everything else: it reads the files

Observed on 1.12.7 and 1.13.0: a tag that the index keeps for a level above (PatientName, SeriesDescription …) comes as
the file stored first in that series or patient had it, also with RequestedTags; so such a column is read from the
files. What is outside the index comes whole, whatever its length; what is in it and over 256 bytes is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from pydicom.datadict import dictionary_keyword, dictionary_VR, tag_for_keyword

from orthanc_research.capabilities import Capabilities
from orthanc_research.errors import QueryError
from orthanc_research.tables.columns import Problems, column_of, columns_of, empty_column, frame_of, typed
from orthanc_research.tables.levels import COMPUTED, index_of, own_index
from orthanc_research.tables.schema import OFFSET, column_type, is_binary, tag_of, unknown_keyword
from orthanc_research.tables.values import NOT_SENT

__all__ = [
    "Per",
    "Route",
    "Row",
    "TagsPlan",
    "empty_tags",
    "join_tags",
    "plan_tags",
    "project",
    "tags_frame",
    "too_long",
    "too_many",
]

Tags = Mapping[str, Any]
Row = tuple[str, str, Tags | None]
Route = Literal["index", "find", "instances-tags"]
Per = Literal["Instance", "Series"]

_PRIVATE = re.compile(r"\(?([0-9A-Fa-f]{4}),(?:xx|[0-9A-Fa-f]{2})([0-9A-Fa-f]{2})\)?")
_KEY = re.compile(r"[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}")
# A value over 256 bytes of these is none of its VR: the index may leave it out without any loss.
_NEVER_LONG = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "SS", "US", "SL", "UL", "FL", "FD"})
# A find answers these by counting what is stored, whatever a file holds under the same tag.
_ANSWERED = frozenset({*COMPUTED, "SOPClassesInStudy", "InstanceAvailability"})
# These never reach 256 bytes when they have one value.
_SHORT = frozenset({"AE", "AS", "AT", "CS", "DA", "DT", "TM", "UI", "SS", "US", "SL", "UL", "SV", "UV", "FL", "FD"})
_ROUTES: Mapping[Route, str] = {
    "index": "POST /tools/bulk-content of the series, then /tools/find or bulk-content of 2,000 instances at once",
    "find": "POST /tools/bulk-content of the series, then /tools/find with RequestedTags of 2,000 instances at once",
    "instances-tags": "GET /series/{id}/instances-tags",
}
UNREADABLE = "File: the server cannot read it"


@dataclass(frozen=True, slots=True)
class TagsColumn:
    """A column and where its value is: `path` are keys of short JSON; with `creator` the last one is "gggg,xxee"."""

    name: str
    path: tuple[str, ...]
    creator: str | None = None

    @property
    def plain(self) -> bool:
        """Whether it is a public element at the top of the file."""
        return len(self.path) == 1 and self.creator is None


@dataclass(frozen=True, slots=True)
class TagsPlan:
    """`all` means every element that is not binary. `ignore_length` goes into the request (?ignore-length=…).

    `requested` are the tags ("gggg-eeee") that a find has to ask for beside the index: as numbers, since Orthanc does
    not know the names of retired ones and fails on them.
    """

    columns: tuple[TagsColumn, ...]
    ignore_length: tuple[str, ...] = ()
    all: bool = False
    per: Per = "Instance"
    route: Route = "instances-tags"
    requested: tuple[str, ...] = ()

    @property
    def keys(self) -> frozenset[str]:
        """The short keys at the top of the file that the columns are read from; a private column's end is open."""
        return frozenset(column.path[0] for column in self.columns)

    def explain(self) -> dict[str, Any]:
        """What will be asked, without values."""
        return {
            "per": self.per,
            "route": _ROUTES[self.route] if self.per == "Instance" else "GET /instances/{id}/tags, one a series",
            "columns": None if self.all else [column.name for column in self.columns],
        }


def plan_tags(
    columns: Sequence[str | tuple[str, str]] | None = None,
    *,
    per: str = "Instance",
    capabilities: Capabilities | None = None,
) -> TagsPlan:
    """Read which tags are wanted: keywords, "gggg,eeee", paths "Sequence.Keyword", ("gggg,xxee", creator) for private.

    A path means the first item of each sequence on its way. None wants every element that is not binary. `per` is
    "Instance" or "Series" (one representative instance of each). Without `capabilities` the route is that of every
    version. `QueryError` for what is not DICOM's, and for binary elements.
    """
    if per not in ("Instance", "Series"):
        raise QueryError('per is "Instance" or "Series".')
    kind: Per = "Series" if per == "Series" else "Instance"
    if columns is None:
        return TagsPlan((), (), all=True, per=kind)
    names = [columns] if isinstance(columns, str) else list(columns)
    chosen = list(dict.fromkeys(_column(name) for name in names))
    long = dict.fromkeys(column.path[-1].replace(",", "-") for column in chosen if _may_be_long(column))
    wanted = tuple(column for column in chosen if column.name not in _OURS)
    route, requested = _route(wanted, capabilities) if kind == "Instance" else ("instances-tags", ())
    return TagsPlan(wanted, tuple(long), per=kind, route=route, requested=requested)


def _route(columns: Sequence[TagsColumn], capabilities: Capabilities | None) -> tuple[Route, tuple[str, ...]]:
    plain = all(column.name == _keyword(column) and column_type(column.name).vr != "SQ" for column in columns)
    if capabilities is None or not plain:
        return "instances-tags", ()
    own = own_index("Instance", capabilities)
    kept = index_of("Instance", capabilities)
    if any(column.name in _ANSWERED or (column.name in kept and column.name not in own) for column in columns):
        return "instances-tags", ()
    if any(column.name in own and column_type(column.name).vr not in _NEVER_LONG for column in columns):
        return "instances-tags", ()
    outside = tuple(column.path[0].replace(",", "-") for column in columns if column.name not in own)
    if not outside:
        return "index", ()
    return ("find", outside) if capabilities.has("requested-tags") else ("instances-tags", ())


def _keyword(column: TagsColumn) -> str | None:
    """The keyword of a plain element of the file; None for paths and private elements."""
    if len(column.path) != 1 or column.creator is not None:
        return None
    name = _name(column.path[0])
    return None if "," in name else name


_OURS = ("ID", "ParentSeries", "RepresentativeInstance", "Issues")


def _column(name: Any) -> TagsColumn:
    if isinstance(name, tuple) and len(name) == 2 and all(isinstance(each, str) for each in name):
        return _private(*name)
    if not isinstance(name, str):
        raise QueryError("Columns are DICOM keywords, paths of them, or (tag, private creator).")
    if name in _OURS:
        return TagsColumn(name, ("0000,0000",))
    path = []
    *through, leaf = name.split(".")
    for each in through:
        tag = _tag(each)
        if column_type(each).vr != "SQ":
            raise QueryError(f"{each} is no sequence; a path goes through sequences, as in Sequence.Keyword.")
        path.append(_key(tag))
    tag = _tag(leaf)
    column_type(leaf)
    canonical = ".".join([*through, leaf if tag_for_keyword(leaf) else _name(_key(tag))])
    return TagsColumn(canonical, (*path, _key(tag)))


def _tag(name: str) -> int:
    tag = tag_of(name)
    if tag is None:
        raise unknown_keyword(name)
    return tag


def _private(tag: str, creator: str) -> TagsColumn:
    match = _PRIVATE.fullmatch(tag.strip())
    if not match or int(match[1], 16) % 2 == 0 or not creator.strip():
        raise QueryError('A private column is ("gggg,xxee", creator), with an odd group.')
    key = f"{match[1]},xx{match[2]}".lower()
    return TagsColumn(f"{key} {creator.strip()}", (key,), creator.strip())


def _may_be_long(column: TagsColumn) -> bool:
    if column.creator is not None:
        return False
    kind = column_type(column.name)
    return kind.kind != "json" and not (kind.vr in _SHORT and kind.vm == "1")


def _key(tag: int) -> str:
    return f"{tag >> 16:04x},{tag & 0xFFFF:04x}"


def _name(key: str) -> str:
    """The column of a key: its keyword, unless several keys share it (overlay and curve groups)."""
    tag = int(key[:4] + key[5:], 16)
    try:
        keyword = dictionary_keyword(tag)
    except KeyError:
        return key
    return keyword if keyword and tag_for_keyword(keyword) == tag else key


def too_long(rows: Iterable[Tags], plan: TagsPlan | None = None) -> set[str]:
    """The tags ("gggg-eeee") that are null although the dictionary has text or numbers: over 256 bytes, ask again.

    Those inside sequences count as well; with a plan of chosen columns, only those that its columns show.
    """
    found: set[str] = set()
    wanted = None if plan is None or plan.all else {column.path[0] for column in plan.columns if not column.creator}
    for tags in rows:
        shown = tags if wanted is None else {key: value for key, value in tags.items() if key in wanted}
        _collect_long(shown, found)
    return found


def _collect_long(tags: Tags, found: set[str]) -> None:
    for key, value in tags.items():
        if value is None:
            if _public(key) and not is_binary(_number(key)) and dictionary_VR(_number(key)) != "SQ":
                found.add(key.replace(",", "-"))
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, Mapping):
                    _collect_long(item, found)


def too_many(count: int, most: int) -> QueryError:
    """The error for more instances than a DataFrame was meant to hold, with the ways out."""
    return QueryError(
        f"There are {count} instances, more than max_rows={most}: write them with orthanc.tags_to_parquet, read one of "
        'each series with per="Series", choose fewer, or raise max_rows.'
    )


def project(tags: Tags, plan: TagsPlan) -> Tags:
    """What the plan's columns are read from, and nothing else: so many rows fit into memory."""
    if plan.all:
        return tags
    wanted = plan.keys
    groups = {column.path[0][:4] for column in plan.columns if column.creator}
    if groups:  # a creator may have reserved any block
        return {key: value for key, value in tags.items() if key in wanted or key[:4] in groups}
    return {key: tags[key] for key in wanted if key in tags}


def _number(key: str) -> int:
    return int(key[:4] + key[5:], 16)


def _public(key: str) -> bool:
    return _KEY.fullmatch(key) is not None and int(key[:4], 16) % 2 == 0


def tags_frame(rows: Iterable[Row], plan: TagsPlan) -> pd.DataFrame:
    """The DataFrame of (ID, series ID, short JSON or None when its file cannot be read).

    Per "Series" the rows are (series ID, ID of the instance that was read, its JSON), and the second column is
    `RepresentativeInstance`. Index `ID`; `ParentSeries`, the chosen columns or all in the order of their tags,
    `Private` (with all: one JSON object of the private elements), and `Issues`. Sequences are JSON. A DT with an offset
    from UTC has it in a column `<keyword>_utc_offset_min`, and its own clock's time in its own.
    """
    given = list(rows)
    read = [tags if tags is not None else {} for _, _, tags in given]
    problems: Problems = {row: [UNREADABLE] for row, (_, _, tags) in enumerate(given) if tags is None}
    chosen = _present(read) if plan.all else plan.columns
    second = "ParentSeries" if plan.per == "Instance" else "RepresentativeInstance"
    columns: dict[str, Any] = {second: typed(column_type(second), [other or None for _, other, _ in given])}
    cells = _cells(read, [column.path[0] for column in chosen if column.plain])
    for column in chosen:
        values = _plain(read, column, cells, problems) if column.plain else _along(read, column, problems)
        columns.update(columns_of(column.name, values, problems))
    if plan.all:
        odd = sorted(key for key in _keys(read) if _KEY.fullmatch(key) and int(key[:4], 16) % 2)
        columns["Private"] = column_of("Private", [_privates(tags, odd) for tags in read], problems)
    return frame_of([instance for instance, _, _ in given], columns, problems)


def empty_tags(plan: TagsPlan, names: Iterable[str] = ()) -> pd.DataFrame:
    """No rows, with the columns and dtypes that this plan's frames have; with all tags, the columns that are named."""
    frame = tags_frame([], plan)
    if not plan.all:
        return frame
    columns = sorted({*names, *frame.columns}, key=_order)
    return frame_of([], {name: empty_column(name) for name in columns if name != "Issues"}, {})


def join_tags(frames: Sequence[pd.DataFrame], plan: TagsPlan) -> pd.DataFrame:
    """One frame of several of the same plan: a column that one of them lacks is NA there, of the column's own dtype."""
    if len(frames) == 1:
        return frames[0]
    whole = empty_tags(plan, dict.fromkeys(name for frame in frames for name in frame.columns))
    return pd.concat([whole, *(_filled(frame, whole.columns) for frame in frames)]) if frames else whole


def _filled(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    absent = [None] * len(frame)
    data = {name: frame[name] if name in frame.columns else typed(column_type(name), absent) for name in names}
    return pd.DataFrame(data, index=frame.index)


def _order(name: str) -> tuple[int, int]:
    """The place of a column among all tags: their order, a DT's offset behind it, Orthanc's own around them."""
    if name in ("ParentSeries", "RepresentativeInstance"):
        return (-1, 0)
    if name in ("Private", "Issues"):
        return (1 << 32, name == "Issues")
    base = name.removesuffix(OFFSET)
    return (tag_of(base) or 0, base != name)


def _cells(read: Sequence[Tags], keys: Sequence[str]) -> Mapping[str, Sequence[Any]]:
    """The values of elements at the top of the files: row by row, since a file's values lie side by side in memory."""
    rows = [tuple(map(tags.get, keys)) for tags in read]
    return dict(zip(keys, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(keys, ())


def _plain(
    read: Sequence[Tags], column: TagsColumn, cells: Mapping[str, Sequence[Any]], problems: Problems
) -> Sequence[Any]:
    key = column.path[0]
    values = cells[key]
    if None in values:
        for row, value in enumerate(values):
            if value is None and key in read[row]:
                _not_sent(column, row, problems)
    return values


def _along(read: Sequence[Tags], column: TagsColumn, problems: Problems) -> list[Any]:
    """The values of private elements, and of those inside sequences: of the first item of each."""
    values = []
    for row, tags in enumerate(read):
        here, key = _place(tags, column)
        value = None if key is None else here.get(key)
        if value is None and key in here:
            _not_sent(column, row, problems)
        values.append(value)
    return values


def _place(tags: Tags, column: TagsColumn) -> tuple[Tags, str | None]:
    here: Any = tags
    for through in column.path[:-1]:
        items = here.get(through)
        if not isinstance(items, list) or not items or not isinstance(items[0], Mapping):
            return {}, None
        here = items[0]
    return here, column.path[-1] if column.creator is None else _block(here, column)


def _not_sent(column: TagsColumn, row: int, problems: Problems) -> None:
    # Binary values have no columns, so null can only mean that Orthanc would not send it.
    problems.setdefault(row, []).append(f"{column.name}: {NOT_SENT}")


def _block(tags: Tags, column: TagsColumn) -> str | None:
    """The key of a private element in this file: creators may reserve any block (PS3.5 section 7.8)."""
    group, element = column.path[-1].split(",xx")
    for block in range(0x10, 0x100):
        creator = tags.get(f"{group},00{block:02x}")
        if isinstance(creator, str) and creator.strip(" \0") == column.creator:
            return f"{group},{block:02x}{element}"
    return None


def _present(read: Sequence[Tags]) -> list[TagsColumn]:
    """Every public element that some row has and that is not binary, in the order of tags."""
    keys = sorted(key for key in _keys(read) if _public(key))
    found = []
    for key in keys:
        tag = _number(key)
        name = _name(key)
        known = name != key or not is_binary(tag)
        # Group lengths say nothing about the image; an unknown public element is text if it was sent as text.
        if key.endswith(",0000") or (known and is_binary(tag)):
            continue
        if not known and not any(isinstance(tags.get(key), str) for tags in read):
            continue
        found.append(TagsColumn(name, (key,)))
    return found


def _keys(read: Sequence[Tags]) -> set[str]:
    return set().union(*read)


def _privates(tags: Tags, odd: Sequence[str]) -> Any:
    """The private elements, in order, so that equal files give equal texts."""
    found = {key: tags[key] for key in odd if key in tags}
    if any(isinstance(value, list) for value in found.values()):
        return json.loads(json.dumps(found, sort_keys=True))
    return found or None
