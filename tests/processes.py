"""The processes that another one started."""

from __future__ import annotations

from pathlib import Path

__all__ = ["below"]


def below(process: int) -> set[int]:
    """Its children, theirs, and so on."""
    found: set[int] = set()
    for each in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            text = each.read_text()
        except OSError:  # it has ended
            continue
        for child in map(int, text.split()):
            found |= {child} | below(child)
    return found
