"""Text from files and servers, as text on a screen or a page: it never becomes markup, and hides nothing.

The one place that does this. A tag value may hold a script, a line break, or marks that turn the direction of what
follows; a reader must see that they are there, and nothing may run.
"""

from __future__ import annotations

import html

__all__ = ["escape", "visible"]

LONGEST = 2000
# Controls and marks that turn the direction of text would show something else than what is there.
_HIDDEN = dict.fromkeys(
    (*range(0x20), 0x7F, *range(0x80, 0xA0), 0xAD, 0x061C, 0x180E, *range(0x200B, 0x2010),
     *range(0x2028, 0x202F), *range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xD800, 0xE000))
)  # fmt: skip
_SHOWN = {code: f"\\u{code:04x}" for code in _HIDDEN}


def visible(value: object, *, longest: int = LONGEST) -> str:
    r"""Any value as plain text: hidden characters written out as \u0000, cut after `longest`; None is ""."""
    text = "" if value is None else str(value)
    cut = text[:longest] + ("…" if len(text) > longest else "")
    return cut.translate(_SHOWN)


def escape(value: object, *, longest: int = LONGEST) -> str:
    """`visible`, escaped for HTML text and attributes."""
    return html.escape(visible(value, longest=longest), quote=True)
