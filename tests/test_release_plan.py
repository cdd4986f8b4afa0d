"""Plans: whose each series is, what keeps it back, and what is in the target already."""

from __future__ import annotations

import hashlib
import io
import sqlite3
import stat
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydicom import Dataset, dcmread
from release_cases import KEY, PROFILE, changed, cohort, files, kept, project

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.deid import Key, Profile
from orthanc_research.release._facts import facts_of, tags_of
from orthanc_research.release._plan import Plan


def plan(folder: Path, source: Path, **options: Any) -> Plan:
    given: dict[str, Any] = {"profile": PROFILE, "target": folder / "out", "progress": False, **options}
    return project(folder).plan(source, **given)


def test_a_row_a_series_and_a_row_for_what_is_none(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    (source / "DICOMDIR").write_bytes(b"an index")
    (source / "Doe_John.txt").write_text("Doe John")
    (source / "a.dcm").write_bytes(files(source)[0].read_bytes()[:500])
    changed(next(path for path in files(source) if path.suffix == ".dcm" and path.parent != source), source / "twice")
    made = plan(tmp_path, source)
    frame = made.frame
    assert frame["status"].value_counts().to_dict() == {"planned": 4, "blocked": 2}
    assert frame["instances"].sum() == 16 + 1 + 2  # one is there twice, and done once
    assert frame["to_do"].sum() == 16
    assert sorted(frame.loc[frame["status"] == "planned", "Modality"]) == ["CT", "CT", "MR", "MR"]
    assert len(set(frame["PatientID"].dropna())) == 2
    assert frame["PatientID"].dropna().str.fullmatch(r"[A-Z2-7]{10}").all()
    shown = repr(made) + frame.to_string() + made.problems.to_string()
    assert "Doe" not in shown
    assert "SYN-" not in shown
    unread = frame.index[frame["status"] == "blocked"]
    assert sorted(made.files(each)[0] for each in unread) == ["Doe_John.txt", "a.dcm"]
    assert not {f"file-{hashlib.sha256(each).hexdigest()[:12]}" for each in (b"Doe_John.txt", b"a.dcm")} & {*unread}
    assert list(plan(tmp_path, source).frame.index) == list(frame.index)
    assert not (tmp_path / "out").exists()
    assert len(project(tmp_path).mapping()) == 0  # a plan changes nothing


def test_blank_patient_ids_are_many_people(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    for path in files(source):
        changed(path, PatientID="")
    made = plan(tmp_path, source)
    assert set(made.frame["status"]) == {"blocked"}
    assert made.problems["action"].str.contains("patient_ids").all()
    studies = {str(dcmread(path).StudyInstanceUID) for path in files(source)}
    names = {study: f"P-{number}" for number, study in enumerate(sorted(studies))}
    made = plan(tmp_path, source, patient_ids=pd.Series(names))
    assert set(made.frame["status"]) == {"planned"}
    assert set(made.frame["PatientID"]) == {"P-0", "P-1"}
    assert made.run(workers=1, progress=False).state == "done"  # the check of the whole takes them for two people
    names.popitem()
    assert plan(tmp_path, source, patient_ids=names).frame["status"].value_counts().to_dict() == {
        "done": 2,
        "blocked": 2,
    }


def test_patient_ids_that_cannot_be_read_are_nobodys(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", patients=1)
    for number, written in enumerate((b"M\xdc-1", b"M\xc4-1", b"M\0-1")):
        path = changed(
            files(source)[0], tmp_path / "odd" / str(number), PatientID="XYZW", SpecificCharacterSet="ISO_IR 192"
        )
        content = path.read_bytes()
        assert content.count(b"XYZW") == 1
        path.write_bytes(content.replace(b"XYZW", written))
    made = plan(tmp_path, tmp_path / "odd")
    assert set(made.frame["status"]) == {"blocked"}
    assert made.problems["problem"].str.contains("not in the character set").sum() == 3


def test_who_is_who_is_one_to_one_or_nothing_is_planned(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    ids = sorted({str(dcmread(path).PatientID) for path in files(source)})
    series = sorted({str(dcmread(path).SeriesInstanceUID) for path in files(source)})
    with pytest.raises(errors.DeidError, match="share one pseudonym"):
        plan(tmp_path, source, patient_ids=dict.fromkeys(ids, "same"))
    with pytest.raises(errors.DeidError, match="but for its case"):
        plan(tmp_path, source, patient_ids=dict(zip(ids, ("p1", "P1"), strict=True)))
    for named in (ids, ids[::-1]):  # a PatientID of the house would go out with the data, whoever's it is
        with pytest.raises(errors.DeidError, match="is the PatientID of one"):
            plan(tmp_path, source, patient_ids=dict(zip(ids, named, strict=True)))
    with pytest.raises(errors.DeidError, match="two pseudonyms"):
        plan(tmp_path, source, patient_ids={each: f"P{number}" for number, each in enumerate(series)})
    with pytest.raises(errors.QueryError, match="no pseudonym"):
        plan(tmp_path, source, patient_ids={ids[0]: "Müller"})
    first = plan(tmp_path, source, patient_ids=dict(zip(ids, ("P1", "P2"), strict=True)))
    assert set(first.frame["PatientID"]) == {"P1", "P2"}
    first.run(workers=1, progress=False)
    with pytest.raises(errors.DeidError, match="another pseudonym in this project"):
        plan(tmp_path, source, patient_ids=dict(zip(ids, ("P2", "P1"), strict=True)))


def test_sequential_pseudonyms_go_on_and_say_nothing_of_the_order(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", patients=3)
    made = plan(tmp_path, source, sequential=True)
    assert sorted(set(made.frame["PatientID"])) == ["00001", "00002", "00003"]
    made.run(workers=1, progress=False)
    more = changed(files(source)[0], tmp_path / "more" / "x", PatientID="someone else", SeriesInstanceUID="1.2.3")
    made = project(tmp_path).plan(
        more.parent, profile=PROFILE, target=tmp_path / "out", sequential=True, progress=False
    )
    assert list(made.frame["PatientID"]) == ["00004"]
    here = project(tmp_path)
    assert here.forget("00003", expect=1) == 1  # whose copies are in the target still
    options: dict[str, Any] = {"profile": PROFILE, "target": tmp_path / "out", "progress": False}
    assert list(here.plan(more.parent, sequential=True, **options).frame["PatientID"]) == ["00004"]
    with pytest.raises(errors.DeidError, match="who was forgotten"):
        here.plan(more.parent, patient_ids={"someone else": "00003"}, **options)


def test_one_patient_id_of_two_issuers_is_two_people(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", patients=1)
    for path in files(source):
        if dcmread(path).Modality == "CT":
            changed(path, IssuerOfPatientID="North", PatientID=" SYN ")
        else:
            changed(path, IssuerOfPatientID="South", PatientID="SYN")
    made = plan(tmp_path, source)
    assert made.frame["PatientID"].nunique() == 2
    assert made.problems["problem"].str.contains("another PatientID or issuer").tolist() == [True, True]


def test_a_file_that_is_called_like_a_patient_id_is_not_that_patient(tmp_path: Path) -> None:
    source = cohort(tmp_path / "all")
    one, other = (next(path for path in files(source) if f"-00{n}" in dcmread(path).PatientID) for n in (1, 2))
    changed(one, tmp_path / "in" / "1", PatientID="2")
    changed(other, tmp_path / "in" / "2", PatientID="1")
    made = plan(tmp_path, tmp_path / "in", patient_ids={"1": "ONE", "2": "TWO"})
    assert made.frame.loc[str(dcmread(one).SeriesInstanceUID), "PatientID"] == "TWO"


RISKS: dict[str, dict[str, Any]] = {
    "BurnedInAnnotation is YES": {"BurnedInAnnotation": "YES"},
    "a secondary capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    "modality US": {"Modality": "US"},
    "modality MG": {"Modality": "MG"},
    "colour": {"PhotometricInterpretation": "RGB"},
    "SECONDARY": {"ImageType": ["DERIVED", "SECONDARY"]},
    "SCREEN SAVE": {"ImageType": ["DERIVED", "PRIMARY", "SCREEN SAVE"]},
    "dose report": {"SeriesDescription": "Dose Report"},
    "encapsulated": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"},
}


@pytest.mark.parametrize("reason", RISKS)
def test_pixels_that_may_show_a_name_are_held_back(ct_small: Path, reason: str) -> None:
    dataset = dcmread(ct_small)
    assert facts_of("k", tags_of(encoded(dataset)), "", 0).risk == ""
    for keyword, value in RISKS[reason].items():
        setattr(dataset, keyword, value)
    assert reason in facts_of("k", tags_of(encoded(dataset)), "", 0).risk
    dataset.BurnedInAnnotation = "NO"
    risk = facts_of("k", tags_of(encoded(dataset)), "", 0).risk
    assert not risk or reason == "BurnedInAnnotation is YES"


def encoded(dataset: Dataset) -> bytes:
    content = io.BytesIO()
    dataset.save_as(content)
    return content.getvalue()


def test_an_overlay_holds_a_series_back_until_it_was_looked_at(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", patients=1)
    series = str(dcmread(files(source)[0]).SeriesInstanceUID)
    dataset = dcmread(files(source)[1])
    block = np.packbits(np.ones(256, dtype=np.uint8))
    dataset.add_new(0x60003000, "OW", block.tobytes())
    dataset.save_as(files(source)[1])
    made = plan(tmp_path, source)
    assert made.frame.loc[series, "status"] == "blocked"
    assert "overlay" in str(made.problems.loc[series, "problem"])
    assert made.frame["status"].value_counts().to_dict() == {"planned": 1, "blocked": 1}
    page = made.contact_sheet(tmp_path / "look.html")
    assert (page.read_text().count("<img"), page.read_text().count(series)) == (4, 4)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    for acknowledge in ([series], "all"):
        made = plan(tmp_path, source, acknowledge=acknowledge)
        assert set(made.frame["status"]) == {"planned"}
    run = made.run(workers=1, progress=False)
    text = run.report(tmp_path / "report.html").read_text()
    assert run.state == "done", run.failures["error"].tolist()
    assert text.count("<img") == 1
    assert str(run.frame.loc[series, "NewSeriesInstanceUID"]) in text
    originals = {str(dcmread(path)[name].value) for path in files(source) for name in ("SOPInstanceUID", "PatientID")}
    assert not [each for each in {*originals, series} if each in text]
    with pytest.raises(errors.QueryError, match="not in this plan"):
        plan(tmp_path, source, acknowledge=["1.2.3.4"])


def test_a_head_gets_a_notice(ct_small: Path) -> None:
    dataset = dcmread(ct_small)
    dataset.StudyDescription, dataset.SeriesDescription, dataset.BodyPartExamined = "", "", "CHEST"
    assert not facts_of("k", tags_of(encoded(dataset)), "", 0).face
    dataset.BodyPartExamined = "HEAD"
    assert facts_of("k", tags_of(encoded(dataset)), "", 0).face


def test_dates_can_be_anchored(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", studies=2)
    profile = Profile(dates="anchor", anchor="19990101")
    assert plan(tmp_path, source, profile=profile).run(workers=1, progress=False).state == "done"
    dates = {(each.PatientID, each.StudyDate) for each in map(dcmread, files(tmp_path / "out"))}
    patients = {patient for patient, _ in dates}
    assert len(dates) == 4
    assert {patient for patient, date in dates if date == "19990101"} == patients


def test_two_files_with_one_uid_and_other_bytes_are_not_chosen_between(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", patients=1)
    changed(files(source)[0], source / "other", PatientWeight="70")
    made = plan(tmp_path, source)
    assert "same SOPInstanceUID" in made.problems["problem"].iloc[0]
    changed(source / "other", SeriesInstanceUID="1.2.3")
    made = plan(tmp_path, source)
    assert made.problems["problem"].str.contains("another series too").tolist() == [True, True]
    (source / "other").rename(tmp_path / "other")
    plan(tmp_path, source).run(workers=1, progress=False)
    (tmp_path / "other").rename(source / "other")
    files(source)[0].unlink()  # and a month later the same: the target would get two copies of one UID
    assert "another patient, study or series" in str(plan(tmp_path, source).frame.loc["1.2.3", "reason"])


def test_copies_are_not_released_once_more(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", patients=1)
    kept_uids = Profile(options=frozenset({*PROFILE.options, "retain_uids"}))
    for profile, status in ((PROFILE, "planned"), (kept_uids, "conflict")):
        folder = tmp_path / status
        assert plan(folder, source, profile=profile).run(workers=1, progress=False).state == "done"
        assert plan(folder, folder / "out", target=folder / "more").frame.empty
        again = plan(folder, source, profile=profile)
        assert (set(again.frame["status"]), len(again.problems)) == ({"done"}, 0)
        here = project(folder)
        here.forget(here.mapping().pseudonyms, expect=1)
        made = plan(folder, folder / "out", target=folder / "more")
        assert made.problems["problem"].str.contains("copy that this package made").tolist() == [True, True]
    # From elsewhere they are a source as any other.
    assert set(plan(tmp_path / "hub", tmp_path / "planned" / "out").frame["status"]) == {"planned"}


def test_what_a_blocked_series_calls_its_patient_is_looked_for_in_the_others(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", patients=1)
    for path in files(source):
        if dcmread(path).Modality == "MR":
            changed(path, BurnedInAnnotation="YES", OtherPatientIDs="STANDARD77")
        else:
            changed(path, ConvolutionKernel="STANDARD77")
    run = plan(tmp_path, source).run(workers=1, progress=False)
    assert sorted(run.frame["status"]) == ["blocked", "failed"]
    assert kept(tmp_path / "out") == {}


def test_deltas_and_conflicts(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    plan(tmp_path, source).run(workers=1, progress=False)
    before = kept(tmp_path / "out")
    assert set(plan(tmp_path, source).frame["status"]) == {"done"}
    # New in a series, changed in another, another profile, another file in the target.
    new = changed(files(source)[0], source / "new", SOPInstanceUID="1.2.3.4.5")
    frame: Any = plan(tmp_path, source).frame
    assert frame.loc[str(dcmread(new).SeriesInstanceUID), ["status", "to_do", "new"]].tolist() == ["planned", 1, 1]
    old = next(path for path in files(source) if dcmread(path).Modality == "MR")
    changed(old, PatientWeight="71")
    made = plan(tmp_path, source)
    row, frame = str(dcmread(old).SeriesInstanceUID), made.frame
    assert frame.loc[row, ["status", "changed"]].tolist() == ["conflict", 1]
    assert "original has changed" in str(made.problems.loc[row, "problem"])
    old.unlink()
    lost = plan(tmp_path, source).problems
    assert lost.loc[row, "problem"] == "Originals are gone from the source, and their copies are in the target still."
    assert plan(tmp_path, source, resources=files(source)[0].relative_to(source)).problems.empty
    with closing(sqlite3.connect(tmp_path / "project" / "project.sqlite")) as database, database:
        database.execute("UPDATE run SET options = '{}', state = 'unverified'")
    doubts = plan(tmp_path, source).problems["problem"]
    assert doubts.str.contains("another version of this package").sum() == 4
    assert doubts.str.contains("did not pass the check across all copies").sum() == 4
    stricter = plan(tmp_path, source, profile=Profile(remove=("KVP",)))
    assert set(stricter.frame["status"]) == {"conflict"}
    run = stricter.run(workers=1, progress=False)
    assert set(run.frame["status"]) == {"conflict"}
    assert kept(tmp_path / "out") == before


def test_what_lies_in_each_other_is_refused(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    for target in (source, source / "below", tmp_path / "project" / "out", tmp_path):
        with pytest.raises(errors.QueryError, match=r"apart|neither in the other"):
            plan(tmp_path, source, target=target)
    with pytest.raises(errors.QueryError, match="no such folder"):
        plan(tmp_path, tmp_path / "none")
    with pytest.raises(errors.QueryError, match="inside the source"):
        plan(tmp_path, tmp_path, target=tmp_path.parent / f"{tmp_path.name}-out")
    made = plan(tmp_path, source)
    with pytest.raises(errors.QueryError, match="inside the target"):
        made.contact_sheet(tmp_path / "out" / "look.html")


@pytest.mark.parametrize("address", ["HTTP://u:S3CRET@host/", "u:S3CRET@host:8042", "ftp://u:S3CRET@host/"])
def test_an_address_is_not_made_a_folder_of(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = cohort(tmp_path / "in", patients=1)
    for given in ({"target": address}, {"source": address}):
        with pytest.raises(errors.QueryError, match="give Orthanc") as caught:
            plan(tmp_path, **{"source": source, **given})  # type: ignore[arg-type]
        assert "S3CRET" not in str(caught.value)


def test_a_preview_shows_before_and_after_and_stores_nothing(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    made = plan(tmp_path, source)
    row = made.frame.index[0]
    shown: Any = made.preview(row).set_index("path")
    assert shown.loc["PatientID", "before"].startswith("SYN-")
    assert shown.loc["PatientID", "after"] == made.frame.loc[row, "PatientID"]
    assert shown.loc["Rows", "before"] == shown.loc["Rows", "after"] == "16"
    assert not (tmp_path / "out").exists()
    with pytest.raises(errors.QueryError, match="no such row"):
        made.preview("1.2.3")


def test_keys_come_from_where_they_are_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = tmp_path / "p", tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o640)
    with pytest.raises(errors.DeidError, match="read by others"):
        ores.Project(folder, f"file:{file}")
    file.chmod(0o600)
    made = ores.Project(folder, f"file:{file}")
    assert made.key_id == Key.parse(KEY).id
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "project.sqlite").stat().st_mode) == 0o600
    monkeypatch.setenv("A_KEY", "7c" * 32)
    with pytest.raises(errors.DeidError, match="made with the key"):
        ores.Project(folder, "env:A_KEY")
    inside = folder / "key"
    inside.write_text(KEY)
    inside.chmod(0o600)
    with pytest.raises(errors.DeidError, match="inside the project"):
        ores.Project(folder, f"file:{inside}")
    inside.unlink()
    for given in (KEY, "", "env:", "env:NOT_SET", f"file:{tmp_path / 'none'}"):
        with pytest.raises(errors.QueryError) as caught:
            ores.Project(folder, given)
        assert KEY not in str(caught.value)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(errors.QueryError, match=r"not installed: pip install keyring\.$"):
        ores.Project(folder, "keyring:lung")
    monkeypatch.setenv("A_KEY", KEY[:-2])
    with pytest.raises(errors.DeidError) as told:
        ores.Project(folder, "env:A_KEY")
    assert KEY[:20] not in str(told.value)
    folder.chmod(0o755)
    with pytest.raises(errors.QueryError, match="chmod 700"):
        ores.Project(folder, f"file:{file}")
    folder.chmod(0o700)
    with pytest.raises(errors.QueryError, match="it is a file"):
        ores.Project(folder / "project.sqlite", f"file:{file}")
    (folder / "project.sqlite").write_text("something else")
    with pytest.raises(errors.DeidError, match="not a project"):
        ores.Project(folder, f"file:{file}")
