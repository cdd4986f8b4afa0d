"""Notebooks 01, 03, …: each runs by itself and draws what it says it draws; and the form of all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from notebook_runs import NOTEBOOKS, QUIETLY, run, sources


@QUIETLY
@pytest.mark.parametrize("path", NOTEBOOKS[::2], ids=lambda path: path.stem)
def test_a_notebook_runs_by_itself_and_its_figures_show_something(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(path, tmp_path, monkeypatch)


def test_the_notebooks_are_numbered_and_each_begins_with_what_it_is_for() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, len(NOTEBOOKS) + 1)]
    assert len(NOTEBOOKS) >= 8
    for path in NOTEBOOKS:
        text = sources(path, "markdown")
        assert text[0].startswith(f"# {int(path.name[:2])} · ")
        assert len(" ".join(text).split()) > 200
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", "\n".join(text)):
            assert (path.parent / target).exists(), target


def test_what_is_stored_is_the_source_alone() -> None:
    for path in NOTEBOOKS:
        text = path.read_text()
        assert path.stat().st_size < 20_000
        for cell in json.loads(text)["cells"]:
            assert cell["metadata"] == {}
            if cell["cell_type"] == "code":
                assert cell["outputs"] == []
                assert cell["execution_count"] is None
        assert "Traceback" not in text
        assert not re.search(r"""["'( ]/(home|root|tmp|work|Users|mnt|usr)\b|[A-Z]:\\\\""", text)
        for source in sources(path, "code"):
            assert "# noqa" not in source
