"""A notebook run as it lies in `notebooks/`: by itself, quietly, and with a picture wherever it says that it draws.

The files of tests take every second one each, so that they run side by side.
"""

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

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
DRAWS = re.compile(r"ores\.plots\.|plt\.subplots")
QUIETLY = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of zmq and asyncio


def sources(path: Path, kind: str) -> list[str]:
    """The texts of its cells of this kind."""
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def run(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it, and hold what it printed and drew to what it should."""
    if "dask" in path.stem:
        pytest.importorskip("distributed", reason="the extra dask is not installed")
    monkeypatch.setenv("PYTHONPATH", str(Path(ores.__file__).parent.parent))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    notebook = nbformat.reads(path.read_text(), as_version=4)  # type: ignore[no-untyped-call]
    (folder / "here").mkdir()
    with tempfile.TemporaryDirectory() as sockets:  # the name of a socket is short
        kernel = {"transport": "ipc", "connection_file": f"{sockets}/kernel.json"}
        where = {"metadata": {"path": str(folder / "here")}}
        NotebookClient(notebook, timeout=300, resources=where, config=Config({"KernelManager": kernel})).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source
            drawn = _pictures(cell)
            assert len(drawn) == (1 if DRAWS.search(cell.source) else 0), cell.source
            for picture in drawn:
                _shows_something(picture, cell.source)
    assert any(DRAWS.search(cell.source) for cell in notebook.cells)


def _pictures(cell: Any) -> list[Image.Image]:
    found = [output["data"].get("image/png") for output in cell.outputs if "data" in output]
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found if each]


def _shows_something(picture: Image.Image, source: str) -> None:
    values = np.asarray(picture.convert("L"))
    assert min(values.shape) > 100
    # Something is drawn in every third of the way down: not an empty frame with a title.
    assert all(part.std() > 1 for part in np.array_split(values, 3)), source
