"""What is public says what it takes, gives and raises: rules that can be checked, so that they stay."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any

from surface import FUNCTIONS, ROUTE, SURFACE, refers, said

import orthanc_research as ores
from orthanc_research import errors

# What these mean is said once, in the docstring of `Orthanc` and of `Progress`.
COMMON = {"self", "cls", "progress", "resources", "workers", "criteria", "options", "title"}


def test_there_is_a_surface_to_look_at() -> None:
    assert len(FUNCTIONS) > 150


def test_all_of_it_has_a_first_sentence() -> None:
    wrong = []
    for name, each, _ in SURFACE:
        first = (inspect.getdoc(each) or "").split("\n\n")[0]
        if not re.match(r"[A-Z`(]", first) or not re.search(r"[.:?]\)?$", first.strip()):
            wrong.append(f"{name}: {first[:80]!r}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_frames_say_what_a_row_is() -> None:
    wrong = []
    for name, each, _ in SURFACE:
        function: Any = each.fget if isinstance(each, property) else each
        if inspect.isclass(each) or "DataFrame" not in str(inspect.signature(function).return_annotation):
            continue
        text = inspect.getdoc(each) or ""
        if not refers(text) and not re.search(r"\brows?\b|\b[Ii]ndex|columns?\b|frame\b|as from `", text):
            wrong.append(name)
    assert not wrong, "\n" + "\n".join(wrong)


def test_arrays_say_their_axes_and_types() -> None:
    wrong = []
    for name, each, of in SURFACE:
        function: Any = each.fget if isinstance(each, property) else each
        if inspect.isclass(each) or "NDArray" not in str(inspect.signature(function).return_annotation):
            continue
        text = said(each, of)
        if not re.search(r"\([^)]*\b(slice|row|frame|index)\b[^)]*\)", text):
            wrong.append(f"{name}: axes")
        if not re.search(r"float(32|64)|u?int\d+|bool|dtype|type\b", text):
            wrong.append(f"{name}: type")
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_option_is_spoken_of() -> None:
    wrong = []
    for name, each, of in FUNCTIONS:
        text = said(each, of)
        if refers(inspect.getdoc(each) or ""):
            continue
        # What has to be given is the verb's object, and the sentence is about it; what may be given is named.
        given = inspect.signature(each).parameters.values()
        names = [p.name for p in given if p.name not in COMMON and p.default is not p.empty]
        if re.search(r"(are|as) those of `(Orthanc\.)?volume`", text):
            names = [name for name in names if name not in inspect.signature(ores.Orthanc.volume).parameters]
        missing = [name for name in names if not re.search(rf"\b{name.strip('*')}\b", text)]
        if missing:
            wrong.append(f"{name}: {', '.join(missing)}")
    assert not wrong, "\n" + "\n".join(wrong)


COVERED = Path(__file__).parent.parent / "docs" / "rest-coverage.md"
STANDARD = re.compile(r"PS3\.\d+ (?:section |Table |Annex |§)?(?:[A-Z]\b|\d)|RFC \d+|MIDI-B")


def test_what_is_a_reading_of_the_standard_names_its_section() -> None:
    there = [at for at in SURFACE if re.match(r"orthanc_research\.(pixels|deid)\b", module_of(at[1]))]
    assert len(there) > 40
    assert [name for name, each, of in there if not STANDARD.search(said(each, of))] == []


def module_of(each: Any) -> str:
    """Where a function, class or property is made."""
    return str(getattr(each, "fget", each).__module__)


def test_what_asks_a_server_names_the_route() -> None:
    wrong = []
    for name, each, _ in FUNCTIONS:
        if name.partition(".")[0] not in ("Orthanc", "Modality", "Job") or not asks(each.__module__, each.__name__):
            continue
        text = inspect.getdoc(each) or ""
        by_another = re.search(r"`[a-z_]+[`(]", text.partition("\n")[0])  # the verb that does it
        if not ROUTE.search(text) and not by_another and not re.search("[Nn]othing is (asked|sent)", text):
            wrong.append(name)
    assert not wrong, "\n" + "\n".join(wrong)


def asks(module: str, name: str) -> bool:
    """Whether a method uses the wire: itself, or by a private one."""
    used = {node.attr for node in ast.walk(tree(module)[name]) if isinstance(node, ast.Attribute)}
    return bool({"rest", "_rest", "_bound", "find", "refresh"} & used) or any(
        asks(module, each) for each in used if each.startswith("_") and each in tree(module) and each != name
    )


def test_routes_that_are_named_are_routes() -> None:
    # The page has every route of ours, and what real servers answered: `test_rest_coverage` makes it.
    ours = [re.sub(r"\{\w+\}", "[^/]+", route) for route in ROUTE.findall(COVERED.read_text())]
    named = {route for _, each, _ in SURFACE for route in ROUTE.findall(inspect.getdoc(each) or "")}
    assert len(named) > 30
    assert [route for route in named if not any(re.fullmatch(one, route) for one in ours)] == []


@cache
def tree(module: str) -> dict[str, ast.AST]:
    """Functions and methods of a module by name."""
    source = inspect.getsource(inspect.sys.modules[module])  # type: ignore[attr-defined]
    return {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}


def raised(module: str, name: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """The errors of ours that a function raises: itself, or by private functions of its own module."""
    node = tree(module).get(name)
    if node is None or name in seen:
        return set()
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Raise) and isinstance(each.exc, ast.Call):
            found.add(getattr(each.exc.func, "id", getattr(each.exc.func, "attr", "")))
        elif isinstance(each, ast.Call):
            called = getattr(each.func, "id", getattr(each.func, "attr", ""))
            if called.startswith("_") and not called.startswith("__"):
                found |= raised(module, called, seen | {name})
    return found & set(errors.__all__)


def test_what_it_raises_is_named() -> None:
    wrong = []
    for name, each, of in FUNCTIONS:
        text = said(each, of)
        if refers(inspect.getdoc(each) or ""):
            continue
        missing = sorted(error for error in raised(each.__module__, each.__name__) if error not in text)
        if missing:
            wrong.append(f"{name}: {', '.join(missing)}")
    assert not wrong, "\n" + "\n".join(wrong)
