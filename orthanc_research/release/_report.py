"""A report on a release: one HTML file that says what was done, what was checked and what is left to read by eye.

Pure: plain tables in, text out. Whatever a table holds is text in the page, never markup; nothing is loaded from
anywhere and nothing runs: the page forbids both (Content-Security-Policy), so it can be opened on any machine.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from orthanc_research.cards import png
from orthanc_research.markup import escape

__all__ = ["render"]

Row = Mapping[str, Any]
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em; color: #1a1a1a; }
table { border-collapse: collapse; margin: .6em 0 1.6em; }
th, td { border: 1px solid #c8c8c8; padding: .25em .6em; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; unicode-bidi: isolate; }
th { background: #f0f0f0; } td.n { text-align: right; }
.verdict { padding: .6em 1em; font-weight: 600; border-left: .5em solid; }
.passed { border-color: #1a7f37; background: #eaf6ec; } .failed { border-color: #b42318; background: #fdecea; }
.bad td { background: #fdecea; } .remark { color: #555; }
figure { display: inline-block; margin: .3em; width: 200px; } figcaption { font-size: 12px; overflow-wrap: anywhere; }
img { max-width: 200px; image-rendering: auto; background: #000; }
"""


def render(
    *,
    title: str,
    passed: bool | None,
    facts: Iterable[tuple[str, object]],
    series: Sequence[Row] = (),
    problems: Sequence[Row] = (),
    summary: Sequence[Row] = (),
    checks: Sequence[Row] = (),
    residual: Mapping[tuple[str, str, str], int] | None = None,
    notes: Sequence[str] = (),
    profile: str = "",
    rules: Sequence[Row] = (),
    sheet: Iterable[tuple[str, np.ndarray]] = (),
    most: int = 5000,
) -> str:
    """The page, as HTML text.

    `passed`: the verdict, None where nothing was verified. `facts`: (what, value), such as when, by which version, key
    id and counts. `series`, `problems`, `rules`: rows as mappings, one column a key. `summary`: `Verdict.summary()`.
    `checks`: rows with action, path, passed, reason, count; those that failed are shown, and those that passed with a
    reason (what was let pass). `residual`: (path, VR, value) → count of the texts left. `sheet`: (caption, picture) of
    what may have burned-in text, uint8 or any numbers, (rows, columns) or (rows, columns, 3). Of each table the first
    `most` rows are shown, and it is said how many are not. ValueError for a picture of another shape.
    """
    failures = [row for row in checks if not row["passed"]]
    allowed = [row for row in checks if row["passed"] and row.get("reason")]
    left = [
        {"attribute": path, "VR": vr, "value": value, "count": count}
        for (path, vr, value), count in sorted((residual or {}).items())
    ]
    parts = [
        _verdict(passed),
        _section("What was done", _facts(facts), _table(series, most)),
        _section("Problems", _table(problems, most)),
        _section("Quality control", _remark(_ABOUT_ACTIONS), _table(summary, most, bad=_has_failed)),
        _section("What failed", _table(failures, most, without=("passed",), bad=lambda row: True)),
        _section("What was let pass", _remark(_ABOUT_ALLOWED), _table(allowed, most, without=("passed",))),
        _section("What is left to read", _remark(_ABOUT_LEFT), _table(left, most)),
        _section("Pictures that may hold text", _remark(_ABOUT_SHEET), *(_figure(*each) for each in sheet)),
        _section("Notes", _list(notes)),
        _section("The rules", _paragraph(profile), _table(rules, most)),
    ]
    return _PAGE.format(
        policy=escape(_POLICY), title=escape(title), style=_STYLE, body="\n".join(part for part in parts if part)
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
_ABOUT_ACTIONS = (
    "The actions are those of the MIDI-B validation script. The checks read the files by themselves and know nothing "
    "of how the files were made."
)
_ABOUT_ALLOWED = (
    "Words that are part of a name and also a term of radiology, in a place for such terms; and what the profile keeps."
)
_ABOUT_LEFT = "Every different text and date in the outputs. No program can tell that none of them identifies somebody."
_ABOUT_SHEET = (
    "Pixels as they are released. Where text is burned in, this report shows it: keep it as you keep the images."
)


def _section(heading: str, *content: str) -> str:
    """A heading and what stands under it; nothing where a remark would stand alone."""
    said = [each for each in content if each]
    if not any(not each.startswith('<p class="remark">') for each in said):
        return ""
    return f"<h2>{escape(heading)}</h2>\n" + "\n".join(said)


def _verdict(passed: bool | None) -> str:
    if passed is None:
        return '<p class="verdict failed">Nothing was verified. Do not release these files.</p>'
    if passed:
        return '<p class="verdict passed">All checks passed. What no program can tell is listed below: read it.</p>'
    return '<p class="verdict failed">Checks failed. Do not release these files.</p>'


def _remark(text: str) -> str:
    return f'<p class="remark">{escape(text)}</p>'


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def _list(notes: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>" if notes else ""


def _facts(facts: Iterable[tuple[str, object]]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts)
    return f"<table>{rows}</table>" if rows else ""


def _has_failed(row: Row) -> bool:
    return bool(row.get("failed"))


def _never(row: Row) -> bool:
    return False


def _table(rows: Sequence[Row], most: int, *, without: Sequence[str] = (), bad: Any = _never) -> str:
    """Rows with the columns of all of them, in the order they first appear."""
    columns = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in without]
    if not columns:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "\n".join(_line([row.get(name) for name in columns], bad(row)) for row in rows[:most])
    more = _remark(f"{len(rows) - most} more rows are not shown.") if len(rows) > most else ""
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>{more}"


def _line(values: Iterable[object], bad: bool) -> str:
    return ('<tr class="bad">' if bad else "<tr>") + "".join(map(_cell, values)) + "</tr>"


def _cell(value: object) -> str:
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return f'<td class="n">{escape(f"{value:g}" if isinstance(value, float) else value)}</td>'
    return f"<td>{escape(value)}</td>"


def _figure(caption: str, picture: np.ndarray) -> str:
    encoded = base64.b64encode(png(picture)).decode("ascii")
    return (
        f'<figure><img alt="" src="data:image/png;base64,{encoded}"><figcaption>{escape(caption)}</figcaption></figure>'
    )
