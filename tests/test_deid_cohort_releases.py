"""The canary cohort through whole projects, "a month" between two runs: from each version of Orthanc, and a folder."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from deid_cohort import Cohort, File, cohort
from deid_score import ACTIONS, HARDER, Score, score
from pydicom import dcmread

import orthanc_research as ores
from orthanc_research.deid import Key, Profile, uid_of
from orthanc_research.deid._table import technical
from orthanc_research.release.project import Project

KINDS = ("ct", "meta", "overlays", "highbits", "charset", "jpeg", "j2k", "sr", "rtstruct", "seg", "pet", "enhanced")
KEY = Key(bytes(range(1, 33)))


@pytest.fixture(scope="module")
def made() -> Cohort:
    return cohort({keyword for keyword, action in technical().items() if action == "keep"}, only=KINDS)


def test_a_folder_is_released_in_two_runs(made: Cohort, tmp_path: Path) -> None:
    for run in (1, 2):
        _released(tmp_path, _folder(tmp_path / f"in{run}", made.of_run(run)))
    _full_marks(made, tmp_path / "out")


def test_a_server_is_released_in_two_runs(made: Cohort, tmp_path: Path, orthanc: ores.Orthanc) -> None:
    for run in (1, 2):
        sent = orthanc.upload(_folder(tmp_path / f"in{run}", made.of_run(run)), progress=False)
        assert (sent["status"] == "stored").all()
        _released(tmp_path, orthanc)
    _full_marks(made, tmp_path / "out")


def _folder(folder: Path, files: list[File]) -> Path:
    folder.mkdir()
    for file in files:
        (folder / f"{file.name}.dcm").write_bytes(file.content)
    return folder


def _released(place: Path, source: Path | ores.Orthanc) -> None:
    project = Project(place / "project", KEY)
    plan = project.plan(source, profile=Profile(), target=place / "out", acknowledge="all", progress=False)
    run = plan.run(workers=2, progress=False)
    assert not list(run.failures["error"])
    assert set(run.frame["status"]) == {"done"}


def _full_marks(made: Cohort, folder: Path) -> None:
    outputs = {}
    for path in folder.rglob("*.dcm"):
        content = path.read_bytes()
        outputs[str(dcmread(io.BytesIO(content), stop_before_pixels=True).SOPInstanceUID)] = content
    assert len(outputs) == len(made.files)
    found: Score = score([(file, outputs.get(_became(file))) for file in made.files], technical())
    assert not found.refused
    failed = Counter((check.action, check.file[9:], check.where, check.reason) for check in found.failures())
    assert not failed.most_common(20)
    assert not [action for action in (*ACTIONS, *HARDER) if action != "kept_texts" and not found.of(action)[1]]


def _became(file: File) -> str:
    return uid_of(KEY, str(dcmread(io.BytesIO(file.content), stop_before_pixels=True).SOPInstanceUID))
