"""The pages: every block of code on them runs, and what they list is what there is."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import pytest
import typer.main
from surface import SURFACE
from typer.testing import CliRunner

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.cli import app
from orthanc_research.pixels import CODES

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.glob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COHORT = ores.samples.cohort(patients=2, studies=2, slices=6, size=32)
RUNNING = [path for path in PAGES if "```python" in path.read_text()]


def blocks(path: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(path.read_text()) if kind == language]


# -- code -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive() -> Iterator[ores.LocalOrthanc]:
    """A remote archive, for the page on these."""
    with ores.LocalOrthanc(dicom=True, config={"DicomAet": "PACS"}) as pacs:
        pacs.upload(COHORT, progress=False)
        yield pacs


@pytest.mark.parametrize("path", RUNNING, ids=lambda path: path.stem)
def test_the_code_on_a_page_runs_from_top_to_bottom(
    path: Path, archive: ores.LocalOrthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("LUNG_KEY", "0" * 64)  # pages set another; what they set is gone with the test
    with ores.LocalOrthanc(dicom=True, config={"DicomAet": "HERE"}) as orthanc:
        names: dict[str, Any] = {"ores": ores, "orthanc": orthanc}
        if path.stem != "index":  # which brings its own
            orthanc.upload(COHORT, progress=False)
            orthanc.introduce(archive)
        for number, text in enumerate(blocks(path, "toml")):
            Path("chest.toml" if number == 0 else f"recipe{number}.toml").write_text(text)
        for text in blocks(path, "python"):
            exec(compile(text, path.name, "exec"), names)
        if names["orthanc"] is not orthanc:
            names["orthanc"].close()


def test_every_block_says_what_it_is_and_prose_hides_no_code() -> None:
    assert len(RUNNING) >= 11
    for path in PAGES:
        text = path.read_text()
        assert text.count("```") == 2 * len(BLOCK.findall(text)), path.name
        kinds = {kind for kind, _ in BLOCK.findall(text)}
        more = {"py"} if path.stem == "scale" else set()  # for clusters: test_scale_page holds those
        assert kinds <= {"python", "sh", "toml"} | more, f"{path.name}: {kinds}"
        if path.stem not in ("pixels",):  # its indented lines are tables of calls
            assert not re.search(r"^ {4,}\S.*[=(].*\)", BLOCK.sub("", text), re.MULTILINE), path.name


def test_what_is_to_be_installed_beside_is_called_by_its_own_name() -> None:
    """Right wherever the package came from: it need not be on an index, and nobody needs its folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [{re.split("[<>=]", each)[0] for each in needed} for needed in project["optional-dependencies"].values()]
    fitting = [*extras, {"nibabel", "SimpleITK"}, {"jupyterlab"}, {"."}, {"{library}"}]
    texts = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "notebooks").glob("*.ipynb")]
    said = []
    for path in [*texts, *(ROOT / "orthanc_research").rglob("*.py")]:
        text = path.read_text()
        assert "orthanc-research[" not in text, path
        said += [(path.name, found) for found in re.findall(r"pip install\s+((?:[\w{}.'\[\]]+ ?)+)", text)]
    assert len(said) >= 10
    assert [each for each in said if {word.rstrip(".") or "." for word in each[1].split()} not in fitting] == []


def test_recipes_on_the_pages_are_recipes() -> None:
    found = [text for path in PAGES for text in blocks(path, "toml")]
    assert found
    for text in found:
        assert tomllib.loads(text)
        ores.Recipe.parse(text)


README = (ROOT / "README.md").read_text()
COMMANDS = {path.name: "\n".join(blocks(path, "sh")) for path in PAGES if blocks(path, "sh")} | {
    "README.md": "\n".join(re.findall(r"^ {4}(orthanc-research .*)$", README, re.MULTILINE))
}


@pytest.mark.parametrize("page", COMMANDS)
def test_the_commands_on_a_page_do_what_they_say_one_after_the_other(
    page: str, archive: ores.LocalOrthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = dict.fromkeys(line.split("  #")[0].strip() for line in COMMANDS[page].splitlines() if line.strip())
    assert len(lines) > 14
    with ores.LocalOrthanc(dicom=True, config={"DicomAet": "HERE"}) as orthanc:
        _prepare(orthanc, archive, tmp_path, monkeypatch)
        for line in lines:
            name, *words = shlex.split(line)
            assert name == "orthanc-research"
            if words[0] in ("server", "demo"):  # which go on for long: tests of their own run them
                assert words[0] in typer.main.get_command(app).commands  # type: ignore[attr-defined]
                continue
            done = CliRunner().invoke(app, [str(Path(word).expanduser()) if word[0] == "~" else word for word in words])
            assert done.exit_code == 0, (line, done.output, done.exception)
    for made in ("series.parquet", "tags.csv", "mapping.csv", "changed.csv"):
        assert (tmp_path / made).stat().st_size > 200, made


def _prepare(here: ores.LocalOrthanc, there: ores.LocalOrthanc, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user of a page has: a server with studies of 2024, an archive, files, and tables of their own."""
    shutil.copytree(ROOT / "datasets", folder / "datasets")
    cohort = ores.samples.cohort(patients=1, studies=1, slices=42, size=16)
    for each in cohort:
        each.StudyDate = "2024" + each.StudyDate[4:]
    here.upload(cohort, progress=False)
    here.introduce(there)
    ores.samples.cohort(folder / "folder", patients=1, studies=1, slices=3, size=16, seed="folder")
    ores.samples.cohort(folder / "more", patients=1, studies=1, slices=3, size=16, seed="more")
    shutil.make_archive(str(folder / "more"), "zip", folder / "more")
    there.studies(columns=["AccessionNumber"]).rename(columns={"AccessionNumber": "acc"}).to_csv(folder / "list.csv")
    patients = here.patients()
    patients["new_id"] = [f"NEW{number}" for number in range(len(patients))]
    ores.write_table(patients, folder / "patients.parquet")
    user, password = here.server.auth
    (folder / "keys").mkdir(mode=0o700)
    monkeypatch.chdir(folder)
    for name, value in {
        "HOME": str(folder),  # the servers came out of the real one
        "XDG_STATE_HOME": str(folder / "state"),
        "ORTHANC_URL": here.url,
        "ORTHANC_USERNAME": user,
        "ORTHANC_PASSWORD": password,
        "ORTHANC_AUTH": f"{user}:{password}",
        "ORES_PROJECT": str(folder / "deid" / "lung"),
    }.items():
        monkeypatch.setenv(name, value)


NAMED = {"ores": ores, "orthanc": ores.LocalOrthanc, "volume": ores.Volume, "project": ores.Project}


def test_what_the_text_names_is_there() -> None:
    """In prose and tables, that is: what stands in blocks is run."""
    wrong, count = [], 0
    for path in [*DOCS.rglob("*.md"), ROOT / "README.md", *(ROOT / "notebooks").glob("*.ipynb")]:
        if ".venv" in path.parts:
            continue
        for code in re.findall(r"`([^`\n]+)`", path.read_text()):
            for root, rest in re.findall(rf"\b({'|'.join(NAMED)})\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", code):
                each, count = NAMED[root], count + 1
                for part in rest.split("."):
                    if not hasattr(each, part) and part not in getattr(each, "__dataclass_fields__", ()):
                        wrong.append(f"{path.name}: {root}.{rest}")
                    each = getattr(each, part, None)
                    if not isinstance(each, type | ModuleType):
                        break
    assert count > 80
    assert not wrong


# -- lists ------------------------------------------------------------------------------------------------------------


def test_the_reference_has_every_public_name() -> None:
    text = "\n".join(path.read_text() for path in sorted((DOCS / "api").glob("*.md")))
    listed = []
    for name, members in re.findall(r"^::: (\S+)(?:\n    options:\n      members: \[(.*)\])?", text, re.MULTILINE):
        found = resolve_name(name)
        listed.append(found)
        listed += [getattr(found, member) for member in members.split(", ") if member]
        listed += [getattr(found, each) for each in getattr(found, "__all__", ()) if not members]
    assert [name for name, each, of in SURFACE if not of and each not in listed] == []


def test_a_page_or_notebook_that_speaks_of_a_screen_shows_it() -> None:
    screens = {name for name in ores.widgets.__all__ if name not in ("Panel", "Table")}  # what screens are made of
    shown = set()
    for path in [*PAGES, *(ROOT / "notebooks").glob("*.ipynb")]:
        text = path.read_text()
        for name in re.findall(rf"\b({'|'.join(screens)})\b", text):
            picture = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower() + "-light.png"
            assert f"screens/{picture})" in text, f"{path.name}: {name}"
            assert (DOCS / "screens" / picture).exists(), picture
            assert (DOCS / "screens" / picture.replace("-light", "-dark")).exists(), picture
            shown.add(name)
    assert shown == screens


@cache
def messages() -> str:
    """Every text of the package, with … for what is put into it."""
    found = []
    for path in sorted((ROOT / "orthanc_research").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values))
    return "\n".join(found)


def test_each_error_has_its_place_and_each_message_is_one_of_ours() -> None:
    text = (DOCS / "errors.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert list(sections) == re.findall(r"── (\w+)", errors.__doc__ or "")
    for name, section in sections.items():
        rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
        if name == "GeometryError":
            assert [row[0].strip("| `") for row in rows] == [code for code in CODES if code != "ok"]
            continue
        for row in rows:
            said = row[0].removeprefix("| ").strip()
            assert all(piece.strip() in messages() for piece in said.split("…")), said
            # One template has it all, not the pieces of several.
            pattern = "[^\n]*".join(re.escape(piece.strip()) for piece in said.split("…"))
            assert re.search(pattern, messages()), said
