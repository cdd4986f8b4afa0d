"""Small cards for a notebook: what a thing is, at a look, as HTML that is complete in itself.

Whatever a card says is text, never markup (`markup.escape`); it loads nothing, runs nothing and asks no server. Its
colours are those of the page that it stands in, light or dark.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orthanc_research.markup import escape

__all__ = ["bar", "card", "image", "png", "tally"]

SIDE = 192  # pixels of a picture's longer side
_MOST = 8  # lines of a list
_CARD = (
    "display:inline-block;border:1px solid rgba(128,128,128,.5);border-radius:4px;padding:.5em .8em;max-width:60em;"
    "line-height:1.45;overflow-wrap:anywhere"
)
_NAME = "text-align:left;vertical-align:top;font-weight:normal;opacity:.7;padding:0 1em 0 0"
_FACT = "text-align:left;vertical-align:top;padding:0"
_WHOLE = "width:16em;height:.8em;border:1px solid rgba(128,128,128,.5);border-radius:2px;margin:.3em 0"
_COLOURS = {"": "#1976d2", "done": "#1a7f37", "failed": "#b42318"}


def card(
    kind: str,
    title: object,
    facts: Iterable[tuple[str, object]],
    *,
    parts: Iterable[str] = (),
    notes: Iterable[str] = (),
) -> str:
    """A card: its title, (name, value) lines of which empty values are left out, and sentences below them.

    `kind` becomes the class `ores-card-kind`; `parts` are the results of `bar`, `image` and `tally`, which are HTML.
    Of many sentences the first are shown, and how many more there are.
    """
    rows = "".join(
        f'<tr style="background:none"><th style="{_NAME}">{escape(name)}</th>'
        f'<td style="{_FACT}">{escape(value)}</td></tr>'
        for name, value in facts
        if value not in ("", None)
    )
    said = list(notes)
    lines = [f"<li>{escape(note)}</li>" for note in said[:_MOST]]
    lines += [f"<li>and {len(said) - _MOST:,} more</li>"] if len(said) > _MOST else []
    return (
        f'<div class="ores-card ores-card-{escape(kind)}" style="{_CARD}"><strong>{escape(title)}</strong>'
        + "".join(parts)
        + (f'<table style="border-collapse:collapse;margin:.2em 0">{rows}</table>' if rows else "")
        + (f'<ul style="margin:.2em 0;padding-left:1.4em">{"".join(lines)}</ul>' if lines else "")
        + "</div>"
    )


def bar(percent: float, state: str = "") -> str:
    """A bar, as far as that; `state` "done" and "failed" have a colour of their own."""
    filled = min(max(float(percent), 0.0), 100.0)
    colour = _COLOURS.get(state, _COLOURS[""])
    return (
        f'<div role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{filled:.0f}" '
        f'style="{_WHOLE}"><div style="width:{filled:.0f}%;height:100%;background:{colour}"></div></div>'
    )


def tally(counts: Mapping[str, Iterable[int]], names: Iterable[str]) -> str:
    """A small table of counts: a line a key, a column a name; "" where there is nothing to count."""
    if not counts:
        return ""
    number = "text-align:right;padding:0 0 0 1.2em"
    head = "".join(f'<th style="{number};font-weight:normal;opacity:.7">{escape(name)}</th>' for name in names)
    lines = "".join(
        f'<tr style="background:none"><td style="{_FACT}">{escape(name)}</td>'
        + "".join(f'<td style="{number}">{count:,}</td>' for count in row)
        + "</tr>"
        for name, row in counts.items()
    )
    first = f'<tr style="background:none"><th></th>{head}</tr>'
    return f'<table style="border-collapse:collapse;margin:.3em 0">{first}{lines}</table>'


def image(picture: npt.NDArray[Any], caption: str, *, aspect: float = 1.0) -> str:
    """A picture within the HTML, and in words for who cannot see it; `aspect` is a pixel's height by its width."""
    encoded = base64.b64encode(png(picture, aspect=aspect)).decode("ascii")
    return (
        f'<div style="margin:.3em 0"><img alt="{escape(caption)}" src="data:image/png;base64,{encoded}" '
        f'style="background:#000;max-width:{SIDE}px"></div>'
    )


def png(picture: npt.NDArray[Any], *, aspect: float = 1.0) -> bytes:
    """A picture no larger than a stamp, its values spread over what a screen can show; uint8 as it is.

    `ValueError` for another shape than (rows, columns) or (rows, columns, 3).
    """
    from PIL import Image

    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] != 3) or not picture.size:
        raise ValueError("a picture is (rows, columns) or (rows, columns, 3)")
    values = picture
    if values.dtype != np.uint8:
        finite = np.nan_to_num(values.astype("f4"), nan=0, posinf=0, neginf=0)
        low, high = float(finite.min()), float(finite.max())
        values = ((finite - low) * (255 / (high - low) if high > low else 0)).astype("u1")
    made = Image.fromarray(np.ascontiguousarray(values))
    # Pixels that are not square would be drawn as if they were.
    tall, wide = made.height * (aspect if aspect > 0 else 1.0), float(made.width)
    scale = min(SIDE / max(tall, wide), 1.0 if aspect == 1.0 else SIDE)
    size = max(round(wide * scale), 1), max(round(tall * scale), 1)
    if size != made.size:
        made = made.resize(
            size, Image.Resampling.BICUBIC if min(size) > 1 else Image.Resampling.NEAREST, reducing_gap=2.0
        )
    buffer = io.BytesIO()
    made.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
