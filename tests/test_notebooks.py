"""Every notebook runs by itself, as it lies in `notebooks/`, and draws what it says it draws."""

from __future__ import annotations

import base64
import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image
from traitlets.config import Config

import orthanc_research as ores

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DRAWS = re.compile(r"ores\.plots\.|plt\.subplots")


def sources(path: Path, kind: str) -> list[str]:
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def pictures(cell: Any) -> list[Image.Image]:
    found = [output["data"].get("image/png") for output in cell.get("outputs", ()) if "data" in output]
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found if each]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of zmq and asyncio, not ours
def test_a_notebook_runs_by_itself_and_its_figures_show_something(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "dask" in path.stem:
        pytest.importorskip("distributed", reason="the extra dask is not installed")
    monkeypatch.setenv("PYTHONPATH", str(Path(ores.__file__).parent.parent))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.reads(path.read_text(), as_version=4)  # type: ignore[no-untyped-call]
    (tmp_path / "here").mkdir()
    with tempfile.TemporaryDirectory() as sockets:  # the name of a socket is short
        kernel = {"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}
        where = {"metadata": {"path": str(tmp_path / "here")}}
        NotebookClient(notebook, timeout=120, resources=where, config=Config({"KernelManager": kernel})).execute()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source
        drawn = pictures(cell)
        assert len(drawn) == (1 if DRAWS.search(cell.source) else 0), cell.source
        for picture in drawn:
            values = np.asarray(picture.convert("L"))
            assert min(values.shape) > 100
            # Something is drawn in every quarter of the way down: not an empty frame with a title.
            assert all(part.std() > 1 for part in np.array_split(values, 3)), cell.source
    assert any(DRAWS.search(cell.source) for cell in notebook.cells)


def test_the_notebooks_are_numbered_and_each_begins_with_what_it_is_for() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, len(NOTEBOOKS) + 1)]
    assert len(NOTEBOOKS) >= 7
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
