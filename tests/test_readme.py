"""What the README shows is what happens."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import orthanc_research as ores
from orthanc_research.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# Indented, and no line for a shell: python that goes on from the example above it.
INDENTED = [
    block
    for block in re.findall(
        r"(?:^    .*\n)+(?:\n(?:^    .*\n)+)*", re.sub(r"```.*?```", "", README, flags=re.DOTALL), re.MULTILINE
    )
    if not re.match(r" +(scripts/|orthanc-research )", block)
]


def test_the_notebook_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(block.splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out == (
        "4 160 {'done'} <Volume 40 x 128 x 128 float32, 5 x 2.734 x 2.734 mm, HU> {'done'}\n"
    )
    assert len(list((tmp_path / "frames").glob("*.parquet"))) == 4


def test_what_follows_it_runs_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shutil.copytree(ROOT / "datasets", "datasets")
    files = ores.samples.cohort(patients=5, studies=1, slices=8, size=16)
    for each in files:
        each.StudyDate = "2024" + each.StudyDate[4:]
    for each in (each for each in files if each.PatientID == files[0].PatientID):
        each.PatientID = "4711"  # whom the example asks for
    there, here = (ores.LocalOrthanc(dicom=True, config={"DicomAet": name}) for name in ("PACS", "HERE"))
    with there, here:
        monkeypatch.setenv("HOME", str(tmp_path))  # for ~/deid and ~/keys; the servers came out of the real one
        (make_key,) = re.findall(r"^    orthanc-research (deid init .*--make-key)", README, re.MULTILINE)[:1]
        assert CliRunner().invoke(app, make_key.split()).exit_code == 0
        here.introduce(there)
        there.upload(files, progress=False)
        here.upload(files, progress=False)
        pd.DataFrame({"acc": [files[0].AccessionNumber, "NOBODY"]}).to_csv("list.csv", index=False)
        names: dict[str, Any] = {"ores": ores, "orthanc": here, "studies": here.studies()}
        for block in INDENTED:
            exec(compile(re.sub("^    ", "", block, flags=re.MULTILINE), "README.md", "exec"), names)
        assert names["run"].state == "done"
        assert names["build"].complete
        assert set(names["ledger"]["status"]) == {"complete"}
        assert list(names["cohort"]["status"]) == ["already-there", "not-found"]


def test_the_picture_and_the_pages_are_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    assert (ROOT / "docs/montage.png").read_bytes()[:4] == b"\x89PNG"
