"""Everything that is public: what this package exports, and what that gives."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import orthanc_research as ores
from orthanc_research.accessor import OrthancAccessor
from orthanc_research.feed import Change
from orthanc_research.modality import Modality
from orthanc_research.pixels import arrange, overlays_of, pixels_of
from orthanc_research.release._mapping import Mapping
from orthanc_research.release._plan import Plan
from orthanc_research.release._run import Run

# What the public surface gives and does not export by name.
GIVEN = (OrthancAccessor, Change, Modality, Mapping, Plan, Run, arrange, overlays_of, pixels_of)

ROUTE = re.compile(r"\b(?:GET|POST|PUT|DELETE) /[\w/{}.-]*[\w}]")  # as docstrings name it: "GET /studies/{id}"


def surface() -> Iterator[tuple[str, Any, str]]:
    """(name, object, docstring of its class) of every public function, class, method and property."""
    found: dict[str, Any] = {name: getattr(ores, name) for name in ores.__all__ if not name.startswith("__")}
    for module in ("plots", "widgets", "deid", "dataset", "samples"):
        each = found.pop(module)
        found |= {f"{module}.{name}": getattr(each, name) for name in each.__all__}
    found |= {each.__name__: each for each in GIVEN}
    seen = set()
    for name, each in sorted(found.items()):
        if not callable(each) or id(each) in seen:
            continue
        seen.add(id(each))
        yield name, each, ""
        if inspect.isclass(each):
            for member, value in vars(each).items():
                value = getattr(value, "__func__", value)
                if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                    yield f"{name}.{member}", value, inspect.getdoc(each) or ""


SURFACE = list(surface())
FUNCTIONS = [(name, each, of) for name, each, of in SURFACE if inspect.isfunction(each)]


def said(each: Any, of: str) -> str:
    """Its docstring and that of its class."""
    return f"{inspect.getdoc(each) or ''}\n{of}"


def refers(text: str) -> bool:
    """Whether all is said elsewhere: "See `Run.verify`", "`Orthanc.tags`: …", "`find("Study", …)`"."""
    return bool(re.match(r"(See |As )?`[\w.]+(\(.*\))?`", text))
