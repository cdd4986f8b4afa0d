"""The main job from end to end, on every version: what `scripts/demo` shows is there afterwards."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import orthanc_research as ores
from orthanc_research import demo, errors


def test_the_demo_does_the_main_job_and_again(version: str, tmp_path: Path) -> None:
    if version == "external":
        pytest.skip("the demo brings its own server")
    out = tmp_path / "demo-output"
    for _ in range(2 if version == "1.10.1" else 1):  # a second run is clean
        lines: list[str] = []
        demo.run(out, lines.append, version=None if version == "any" else version)
    text = "\n".join(lines)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    for path in out.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert not [path for path in out.rglob("*") if "partial" in path.name]
    for name in ("studies", "series", "tags"):
        frame = ores.read_parquet(out / f"{name}.parquet")
        assert len(frame) == len(pd.read_parquet(out / f"{name}.parquet")) > 40
        assert pq.read_table(out / f"{name}.parquet").num_rows == len(frame)
    mapping = pd.read_csv(out / "mapping.csv")
    assert len(mapping) == len(ores.read_parquet(out / "studies.parquet"))
    # Of pydicom's files eight studies have no PatientID and several names, and one file Orthanc does not anonymize.
    assert mapping["status"].value_counts().to_dict() == {"done": len(mapping) - 9, "failed": 9}
    assert mapping["error"].str.contains("no PatientID, and name 5 people").sum() == 8
    assert "left the PatientID as it was" in text
    array, about = ores.read_volume(out / "volume.npy")
    assert array.shape == (40, 128, 128)
    assert np.asarray(about["affine_lps_mm"]).shape == (4, 4)
    assert (out / "montage.png").read_bytes()[:4] == b"\x89PNG"
    # Two of pydicom's dose files have one SOPInstanceUID, 15 frames and 1: which of them is stored first decides.
    assert len(list((out / "frames").glob("*.parquet"))) in (13, 14)
    for words in ("missing-slices", "localizer", "MB/s", "What to try next"):
        assert words in text


def test_the_demo_takes_data_of_yours_and_names_what_is_bad(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    ores.samples.cohort(folder, patients=1, studies=1, slices=3, size=16, seed="mine")
    (folder / "letter.txt").write_text("Dear colleague")
    lines: list[str] = []
    demo.run(tmp_path / "out", lines.append, data=[folder])
    assert any("refused: letter.txt: Not a DICOM file" in line for line in lines)


def test_the_demo_leaves_other_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(errors.QueryError, match="has other things in it"):
        demo.run(tmp_path, lambda text: None)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
