"""The picture in ARCHITECTURE.md holds: imports point downwards, and each foreign library has one owner."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import orthanc_research as ores

PACKAGE = Path(ores.__file__).parent
ROOT = PACKAGE.parent

# From the top down; what stands on one line may not import each other.
LAYERS = [
    {"cli", "accessor"},
    {"widgets"},
    {"cli_browse", "cli_dataset", "cli_deid"},
    {"cli_tables"},
    {"dataset"},
    {"demo", "release"},
    {"local", "samples"},
    {"orthanc"},
    {"modality", "feed"},
    {"batch", "export", "plots", "references", "volumes"},
    {"headers"},
    {"fetch", "resolve", "search"},
    {"bulk", "decoding", "spread"},
    {"tables", "pixels", "deid"},
    {"rest"},
    {"parallel", "database", "cards"},
    {"capabilities", "progress", "files", "workers", "markup", "quiet"},
    {"errors"},
]
OWNERS = {
    "httpx": {"rest"},
    "h11": {"rest"},
    "tenacity": {"rest"},
    "matplotlib": {"plots"},
    "PIL": {"cards", "widgets/_picture"},
    "ipywidgets": {"widgets"},
    "typer": {"cli", "cli_browse", "cli_dataset", "cli_deid", "cli_tables"},
    "subprocess": {"local", "workers"},
    "sqlite3": {"database"},
    "tqdm": {"progress"},
    "nibabel": {"pixels/_nifti"},
    "SimpleITK": {"pixels/_sitk"},
    "pandas": {
        "tables",
        "batch",
        "export",
        "plots",
        "orthanc",
        "modality",
        "feed",
        "resolve",
        "samples",
        "widgets",
        "demo",
        "release",
        "dataset",
        "cli",
        "cli_deid",
        "cli_tables",
        "accessor",
    },
    "pyarrow": {"tables", "export", "demo", "dataset"},
}
# The pure parts: no wire, no disk.
PURE = {"tables", "pixels", "deid"}
IMPURE = {"httpx", "socket", "subprocess", "sqlite3", "tempfile", "shutil", "urllib.request"}


@cache
def modules() -> tuple[tuple[str, str, ast.Module], ...]:
    """(place in the picture, path without suffix, syntax tree) of every module but the package's own __init__."""
    paths = [(path, path.relative_to(PACKAGE).with_suffix("").as_posix()) for path in sorted(PACKAGE.rglob("*.py"))]
    return tuple(
        (relative.split("/")[0], relative, ast.parse(path.read_text()))
        for path, relative in paths
        if relative != "__init__"
    )


@cache
def imports(tree: ast.Module, place: str, relative: str) -> tuple[str, ...]:
    return tuple(_imports(tree, place))


def _imports(tree: ast.Module, place: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield f"orthanc_research.{place}"
            elif node.module == "orthanc_research":
                yield from (f"orthanc_research.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def rank(place: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if place in layer)


def test_the_picture_and_the_text_are_of_what_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    picture = re.findall(r"^ {4}(.*)$", text.partition("\n| place |")[0], re.MULTILINE)
    drawn: list[set[str]] = []
    for line in picture:
        names, *meaning = re.split(r" {3,}", line)
        row = {name.rstrip("/") for name in names.split()}
        drawn = [*drawn, row] if meaning else [*drawn[:-1], drawn[-1] | row]
    assert drawn == LAYERS
    there = {relative.rpartition("/")[2] for _, relative, _ in modules()}
    assert [name for name in re.findall(r"`(_\w+)`", text) if name not in there] == []


def test_every_module_has_a_place() -> None:
    assert {place for place, _, _ in modules()} == set().union(*LAYERS)


def test_imports_point_downwards() -> None:
    wrong = []
    for place, relative, tree in modules():
        for name in imports(tree, place, relative):
            parts = name.split(".")
            if parts[0] != "orthanc_research" or len(parts) < 2:
                continue
            known = set().union(*LAYERS)
            # `from orthanc_research import write_table` is the public surface: for the top rows only.
            below = rank(parts[1]) if parts[1] in known else rank("orthanc")
            if parts[1] != place and below <= rank(place):
                wrong.append(f"{relative} imports {name}")
    assert not wrong


@pytest.mark.parametrize("library", OWNERS)
def test_each_foreign_library_has_its_owners(library: str) -> None:
    wrong = [
        relative
        for place, relative, tree in modules()
        if any(name.split(".")[0] == library for name in imports(tree, place, relative))
        and place not in OWNERS[library]
        and relative not in OWNERS[library]
    ]
    assert not wrong


def test_the_pure_parts_touch_neither_wire_nor_disk() -> None:
    wrong = []
    for place, relative, tree in modules():
        if place not in PURE:
            continue
        wrong += [f"{relative} imports {name}" for name in imports(tree, place, relative) if name in IMPURE]
        wrong += [
            f"{relative} calls open()"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
        ]
    assert not wrong


def test_there_are_no_drawers_for_odds_and_ends() -> None:
    assert not [
        path for path in PACKAGE.rglob("*.py") if path.stem.strip("_") in ("utils", "helpers", "common", "misc")
    ]


def test_the_public_surface_is_what_was_decided() -> None:
    assert set(ores.__all__) == set((ROOT / "tests" / "public_names.txt").read_text().split())
    assert dir(ores) == sorted(ores.__all__)
    for name in ores.__all__:
        assert getattr(ores, name) is not None


def test_everything_public_says_what_it_does() -> None:
    for name in ores.__all__:
        thing = getattr(ores, name)
        if inspect.isclass(thing):
            silent = [
                f"{name}.{member}"
                for member, value in vars(thing).items()
                if not member.startswith("_")
                and inspect.isroutine(value)
                and not inspect.getdoc(getattr(thing, member))
            ]
            assert not silent
        assert inspect.getdoc(thing) or name == "__version__", name


def test_the_version_is_the_changelogs_first_release() -> None:
    heading = re.search(r"(?m)^## (\d+\.\d+\.\d+\S*)", (ROOT / "CHANGELOG.md").read_text())
    assert heading is not None
    assert ores.__version__ == heading[1]


def test_importing_the_package_brings_no_plotting_and_no_widgets() -> None:
    import subprocess
    import sys

    code = (
        "import sys, orthanc_research; "
        "heavy = 'matplotlib', 'ipywidgets', 'typer', 'nibabel', 'SimpleITK', "
        "'orthanc_research.local', 'orthanc_research.dataset'; "
        "print([m for m in heavy if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_module_can_be_imported() -> None:
    for _, relative, _ in modules():
        name = relative.removesuffix("/__init__").replace("/", ".")
        if not name.endswith(("__main__", "_supervisor")):
            importlib.import_module(f"orthanc_research.{name}")
