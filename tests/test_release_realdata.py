"""Real files through plan, run and verify: each has a row, each refusal a reason, and what is released has passed."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from release_cases import PROFILE, files, kept, project, read


def test_a_dose_page_in_colours_waits_for_somebody_to_look_at_it(realdata: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    shutil.copytree(realdata / "ct-philips-rgb-dose-summary", source)
    options: dict[str, Any] = {"profile": PROFILE, "target": tmp_path / "out", "progress": False}
    here = project(tmp_path)
    made = here.plan(source, **options)
    held = made.frame[made.frame["notice"].fillna("").str.contains("burned-in")]
    assert len(held) >= 1
    assert set(held["status"]) == {"blocked"}
    again = here.plan(source, acknowledge=list(held.index), **options)
    assert again.frame.loc[held.index, "status"].eq("planned").all()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_real_file_is_released_or_refused_with_a_reason(realdata: Path, tmp_path: Path) -> None:
    here = project(tmp_path)
    before = {path: hashlib.md5(path.read_bytes()).hexdigest() for path in files(realdata)}
    made = here.plan(realdata, profile=PROFILE, target=tmp_path / "out", acknowledge="all", progress=False)
    listed = {path for row in made.frame.index for path in made.files(row)}
    assert listed == {path.relative_to(realdata).as_posix() for path in before if path.name.upper() != "DICOMDIR"}
    run = made.run(progress=False)
    assert run.verdict.passed
    assert set(run.frame["status"]) <= {"done", "failed", "partial", "blocked"}
    assert run.frame.loc[run.frame["status"] != "done", "error"].notna().all()
    verified = run.verify(progress=False)
    assert set(verified["status"]) == {"verified"}, verified["error"].dropna().tolist()
    released = kept(tmp_path / "out")
    assert len(released) > 800
    names = here.mapping().pseudonyms
    for path in (tmp_path / "out").rglob("*.dcm"):
        assert read(path.read_bytes()).PatientID in names
        assert dcmread(path, stop_before_pixels=True).PatientIdentityRemoved == "YES"
    assert {path: hashlib.md5(path.read_bytes()).hexdigest() for path in before} == before
