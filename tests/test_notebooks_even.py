"""Notebooks 02, 04, …: each runs by itself and draws what it says it draws."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebook_runs import NOTEBOOKS, QUIETLY, run

pytestmark = QUIETLY


@pytest.mark.parametrize("path", NOTEBOOKS[1::2], ids=lambda path: path.stem)
def test_a_notebook_runs_by_itself_and_its_figures_show_something(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(path, tmp_path, monkeypatch)
