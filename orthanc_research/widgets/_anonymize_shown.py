"""What the screen of a de-identification shows as HTML: before and after, and what is kept back. All of it is text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orthanc_research.markup import escape

__all__ = ["before_and_after", "kept_back"]

_MOST = 2000  # elements of an instance; what is more is counted
_WIDEST = 200  # characters of a value
_FEW = 50  # rows that are kept back


def before_and_after(rows: Iterable[Mapping[str, Any]], *, changes: bool) -> str:
    """The elements of an instance, before and after, as a table; those that stay as they are only when asked for."""
    lines: list[str] = []
    left = 0
    # What is said of the file itself comes last: nobody looks for a patient there first.
    for row in sorted(rows, key=lambda each: str(each["path"]).startswith("meta.")):
        old, new = (row[name] if isinstance(row[name], str) else None for name in ("before", "after"))
        if changes and old == new:
            continue
        if len(lines) == _MOST:
            left += 1
            continue
        kind = "same" if old == new else "gone" if not new else "new" if old is None else "changed"
        lines.append(
            f'<tr class="{kind}"><th scope="row">{escape(row["path"], longest=_WIDEST)}</th>'
            f"<td>{_value(old)}</td><td>{_value(new)}</td></tr>"
        )
    more = f'<p class="ores-note">{left:,} more elements are not shown.</p>' if left else ""
    body = "".join(lines) or '<tr><td colspan="3">nothing changes</td></tr>'
    return (
        '<div class="ores-scroll" tabindex="0" role="region" aria-label="before and after">'
        '<table class="ores-before-after"><thead><tr><th scope="col">element</th><th scope="col">before</th>'
        f'<th scope="col">after</th></tr></thead><tbody>{body}</tbody></table>{more}</div>'
    )


def _value(value: str | None) -> str:
    return '<i class="ores-note">absent</i>' if value is None else escape(value, longest=_WIDEST)


def kept_back(rows: Iterable[tuple[Any, Mapping[str, Any]]]) -> str:
    """What keeps series back, and what to do about it; "" when nothing does."""
    given = list(rows)
    if not given:
        return ""
    lines = "".join(
        f"<li><strong>{escape(each['problem'])}</strong> {escape(each['action'])} "
        f'<span class="ores-note">{escape(each["instances"])} instances, series {escape(row)}</span></li>'
        for row, each in given[:_FEW]
    )
    more = f"<li>and {len(given) - _FEW:,} more: see .plan.problems</li>" if len(given) > _FEW else ""
    return f"<ul>{lines}{more}</ul>"
