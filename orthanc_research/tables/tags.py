"""Short JSON of /tags and /instances-tags → a typed frame, one row an instance.

Keys are numbers ("0010,0020"): names collide, and unknown private elements all have the same one. Orthanc sends null
for values over 256 bytes, as it does for binary ones; which of the two it is, the dictionary knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydicom.datadict import dictionary_keyword, dictionary_VR, tag_for_keyword

from orthanc_research.errors import QueryError
from orthanc_research.tables.columns import Problems, column_of, frame_of, typed
from orthanc_research.tables.schema import column_type, is_binary, tag_of, unknown_keyword
from orthanc_research.tables.values import NOT_SENT, offset_of

__all__ = ["TagsPlan", "plan_tags", "tags_frame", "too_long"]

Tags = Mapping[str, Any]
Row = tuple[str, str, Tags | None]

_PRIVATE = re.compile(r"\(?([0-9A-Fa-f]{4}),(?:xx|[0-9A-Fa-f]{2})([0-9A-Fa-f]{2})\)?")
_KEY = re.compile(r"[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}")
# These never reach 256 bytes when they have one value.
_SHORT = frozenset({"AE", "AS", "AT", "CS", "DA", "DT", "TM", "UI", "SS", "US", "SL", "UL", "SV", "UV", "FL", "FD"})
UNREADABLE = "File: the server cannot read it"


@dataclass(frozen=True, slots=True)
class TagsColumn:
    """A column and where its value is: `path` are keys of short JSON; with `creator` the last one is "gggg,xxee"."""

    name: str
    path: tuple[str, ...]
    creator: str | None = None


@dataclass(frozen=True, slots=True)
class TagsPlan:
    """`all` means every element that is not binary. `ignore_length` goes into the request (?ignore-length=…)."""

    columns: tuple[TagsColumn, ...]
    ignore_length: tuple[str, ...] = ()
    all: bool = False


def plan_tags(columns: Sequence[str | tuple[str, str]] | None = None) -> TagsPlan:
    """Read which tags are wanted: keywords, "gggg,eeee", paths "Sequence.Keyword", ("gggg,xxee", creator) for private.

    A path means the first item of each sequence on its way. None wants every element that is not binary.
    `QueryError` for what is not DICOM's, and for binary elements.
    """
    if columns is None:
        return TagsPlan((), (), all=True)
    names = [columns] if isinstance(columns, str) else list(columns)
    chosen = list(dict.fromkeys(_column(name) for name in names))
    long = dict.fromkeys(column.path[-1].replace(",", "-") for column in chosen if _may_be_long(column))
    return TagsPlan(tuple(column for column in chosen if column.name not in _OURS), tuple(long))


_OURS = ("ID", "ParentSeries", "Issues")


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


def _number(key: str) -> int:
    return int(key[:4] + key[5:], 16)


def _public(key: str) -> bool:
    return _KEY.fullmatch(key) is not None and int(key[:4], 16) % 2 == 0


def tags_frame(rows: Iterable[Row], plan: TagsPlan) -> pd.DataFrame:
    """The DataFrame of (instance ID, series ID, short JSON or None when its file cannot be read).

    Index `ID`; `ParentSeries`, the chosen columns or all in the order of their tags, `Private` (with all: one JSON
    object of the private elements), and `Issues`. Sequences are JSON. A DT with an offset from UTC has it in a column
    `<keyword>_utc_offset_min`, and its own clock's time in its own.
    """
    given = list(rows)
    read = [tags if tags is not None else {} for _, _, tags in given]
    problems: Problems = {row: [UNREADABLE] for row, (_, _, tags) in enumerate(given) if tags is None}
    chosen = _present(read) if plan.all else plan.columns
    columns: dict[str, Any] = {
        "ParentSeries": typed(column_type("ParentSeries"), [series or None for _, series, _ in given])
    }
    for column in chosen:
        _add(columns, column, read, problems)
    if plan.all:
        columns["Private"] = column_of("Private", [_privates(tags) for tags in read], problems)
    return frame_of([instance for instance, _, _ in given], columns, problems)


def _add(columns: dict[str, Any], column: TagsColumn, read: Sequence[Tags], problems: Problems) -> None:
    values = [_value(tags, column, row, problems) for row, tags in enumerate(read)]
    columns[column.name] = column_of(column.name, values, problems)
    if column.creator is None and column_type(column.name).kind == "datetime":
        columns[f"{column.name}_utc_offset_min"] = typed(
            column_type(f"{column.name}_utc_offset_min"), [offset_of(value) for value in values]
        )


def _value(tags: Tags, column: TagsColumn, row: int, problems: Problems) -> Any:
    here: Any = tags
    for through in column.path[:-1]:
        items = here.get(through)
        if not isinstance(items, list) or not items or not isinstance(items[0], Mapping):
            return None
        here = items[0]
    key: str | None = column.path[-1] if column.creator is None else _block(here, column)
    if key is None or key not in here:
        return None
    value = here[key]
    if value is None:
        # Binary values have no columns, so null can only mean that Orthanc would not send it.
        problems.setdefault(row, []).append(f"{column.name}: {NOT_SENT}")
    return value


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
    keys = sorted({key for tags in read for key in tags if _public(key)})
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


def _privates(tags: Tags) -> Any:
    found = {key: value for key, value in tags.items() if _KEY.fullmatch(key) and int(key[:4], 16) % 2}
    # Keys in order, so that equal files give equal texts.
    return json.loads(json.dumps(found, sort_keys=True)) if found else None
