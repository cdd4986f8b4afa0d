"""Which tags are wanted, and the cheapest route that tells the truth about them; `tags_frames` makes the frame.

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

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydicom.datadict import dictionary_keyword, dictionary_VR, tag_for_keyword

from orthanc_research.capabilities import Capabilities
from orthanc_research.errors import QueryError
from orthanc_research.tables.levels import COMPUTED, index_of, own_index
from orthanc_research.tables.schema import column_type, is_binary, tag_of, unknown_keyword

__all__ = [
    "Per",
    "Route",
    "Tags",
    "TagsColumn",
    "TagsPlan",
    "is_private",
    "is_public",
    "key_name",
    "key_number",
    "plan_tags",
    "project",
    "too_long",
    "too_many",
]

Tags = Mapping[str, Any]
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
    name = key_name(column.path[0])
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
    canonical = ".".join([*through, leaf if tag_for_keyword(leaf) else key_name(_key(tag))])
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


def key_name(key: str) -> str:
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
            if is_public(key) and not is_binary(key_number(key)) and dictionary_VR(key_number(key)) != "SQ":
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


def key_number(key: str) -> int:
    """The tag of a key "gggg,eeee"."""
    return int(key[:4] + key[5:], 16)


def is_public(key: str) -> bool:
    """Whether this is the key of an element of DICOM's own."""
    return _KEY.fullmatch(key) is not None and int(key[:4], 16) % 2 == 0


def is_private(key: str) -> bool:
    """Whether this is the key of an element of a vendor's."""
    return _KEY.fullmatch(key) is not None and int(key[:4], 16) % 2 == 1
