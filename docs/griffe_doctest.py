"""Docstrings are Markdown, but for their examples: `>>>` would be a quotation there."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?:^(?:>>>|\.\.\.).*\n?)(?:^(?!\s*$).*\n?)*", re.MULTILINE)


class Doctests(griffe.Extension):
    """Each example becomes a block of code."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of every module, class, function and attribute that is read."""
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(_block, obj.docstring.value)


def _block(found: re.Match[str]) -> str:
    code = re.sub(r" +# doctest: .*", "", found.group().rstrip())
    return f"\n```pycon\n{code}\n```\n"
