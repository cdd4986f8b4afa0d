"""Short JSON of instances → a typed frame, by a plan of `tags`: chosen columns, or every element that is not binary."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from orthanc_research.tables.columns import Problems, column_of, columns_of, empty_column, frame_of, typed
from orthanc_research.tables.schema import OFFSET, column_type, is_binary, tag_of
from orthanc_research.tables.tags import Tags, TagsColumn, TagsPlan, is_private, is_public, key_name, key_number
from orthanc_research.tables.values import NOT_SENT

__all__ = ["Row", "empty_tags", "join_tags", "tags_frame"]

Row = tuple[str, str, Tags | None]

UNREADABLE = "File: the server cannot read it"


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
        odd = sorted(key for key in _keys(read) if is_private(key))
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
    keys = sorted(key for key in _keys(read) if is_public(key))
    found = []
    for key in keys:
        tag = key_number(key)
        name = key_name(key)
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
