"""Dates move by whole days and keep their precision; what is no date goes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from deid_files import SUBJECT, done, item, made, result
from dicom_files import as_file
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement

from orthanc_research.deid import Known, Profile, Subject, examine
from orthanc_research.deid._dates import shifted


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("DA", "20200301", "20200229"),
        ("DA", "2020.03.01", "2020.02.29"),
        ("DA", "20200301-20200302", "20200229-20200301"),
        ("DA", "-20200301", "-20200229"),
        ("DA", "20200301\\20200101", "20200229\\20191231"),
        ("DA", "202003", "202002"),
        ("DA", "2020", "2019"),
        ("DA", " 20200301\0", "20200229"),
        ("DA", "", ""),
        ("DT", "20200301", "20200229"),
        ("DT", "20200301101112.123456", "20200229101112.123456"),
        ("DT", "20200301101112+0100", "20200229101112+0100"),
        ("DT", "2020030110-0500", "2020022910-0500"),
        ("DT", "20200301-0500-20200302-0500", "20200229-0500-20200301-0500"),
        ("DT", "202003", "202002"),
        ("DT", "20200301235960", "20200229235960"),
        ("DA", "20200230", None),
        ("DA", "20200301 Li", None),
        ("DA", "00010102\\00010101", "00010101\\00010101"),
        ("DA", "00010201-", "00010131-"),
        ("DA", "19000101", "19000101"),  # no date; moved, it would tell how far
        ("DT", "19700101000000", "19700101000000"),
        ("DA", "19700102", "19700101"),
        ("DA", "Li", None),
        ("DT", "2020-03-01T10:11:12", None),
        ("DT", "20200301251112", None),
        ("DT", "20200301101112.1234567", None),
        ("DA", "\uff12\uff10\uff12\uff10\uff10\uff13\uff10\uff11", None),
    ],
)
def test_a_date_moves_one_day_back(vr: str, value: str, expected: str | None) -> None:
    found = shifted(vr, value.encode(), -1)
    assert found == (None if expected is None else expected.encode())


@given(st.dates(min_value=datetime(1000, 1, 1).date()), st.integers(-3650, -365))  # noqa: DTZ001
def test_every_date_moves_by_exactly_the_days(day: object, days: int) -> None:
    text = f"{day:%Y%m%d}".zfill(8)
    old = datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007
    days = 0 if text in ("18581117", "18991230", "19000101", "19010101", "19700101", "99991231") else days
    assert shifted("DA", text.encode(), days) == f"{old + timedelta(days):%Y%m%d}".zfill(8).encode()


def test_intervals_stay_and_times_are_untouched() -> None:
    dataset = made(
        StudyDate="20200301", StudyTime="235959.5", ContentDate="20200302", AcquisitionDateTime="20200301120000"
    )
    dataset.RadiopharmaceuticalInformationSequence = [item(RadiopharmaceuticalStartDateTime="20200301110000.00+0100")]
    found = done(dataset)
    assert (found.StudyDate, found.StudyTime, found.ContentDate) == ("20170605", "235959.5", "20170606")
    assert found.AcquisitionDateTime == "20170605120000"
    tracer = found.RadiopharmaceuticalInformationSequence[0]
    assert tracer.RadiopharmaceuticalStartDateTime == "20170605110000.00+0100"
    assert found.LongitudinalTemporalInformationModified == "MODIFIED"


def test_dates_that_stand_for_none_do_not_tell_how_far_the_others_moved() -> None:
    source = as_file(made(StudyDate="20200101", SeriesDate="19000101", AcquisitionDateTime="19700101000000"))
    output, known = result(source).content, Known.of(source)
    found = examine(source, output, known=known, profile=Profile(), subject=SUBJECT)
    assert not found.failures
    assert set(found.offsets) == {-1000}
    assert (done(source).SeriesDate, done(source).AcquisitionDateTime) == ("19000101", "19700101000000")
    moved = output.replace(b"DA\x08\x0019000101", b"DA\x08\x0018970406")
    assert not examine(source, moved, known=known, profile=Profile(), subject=SUBJECT).passed


def test_a_published_date_does_not_tell_how_far_the_others_moved() -> None:
    code = item(CodeValue="69536005", CodingSchemeDesignator="SCT", CodeMeaning="Head", ContextGroupVersion="20020904")
    source = as_file(made(AnatomicRegionSequence=[code], StudyDate="20200101", TemplateVersion="20010330"))
    for profile in (Profile(), Profile(dates="anchor", anchor="20170406")):
        found = done(source, profile)
        assert found.StudyDate == "20170406"
        assert found.AnatomicRegionSequence[0].ContextGroupVersion == "19000101000000"
        assert "TemplateVersion" not in found
        output, known = result(source, profile).content, Known.of(source)
        assert examine(source, output, known=known, profile=profile, subject=SUBJECT).failures == ()
        moved = output.replace(b"19000101000000", b"19991209" + b" " * 6)
        assert not examine(source, moved, known=known, profile=profile, subject=SUBJECT).passed
    assert done(source, Profile(dates="keep")).TemplateVersion == "20010330"


def test_dates_are_kept_removed_or_anchored_as_asked() -> None:
    dataset = made(StudyDate="20200301", StudyTime="12", SeriesDate="20200301", AcquisitionDate="20200301")
    kept = done(dataset, Profile(dates="keep"))
    assert (kept.StudyDate, kept.StudyTime, kept.SeriesDate) == ("20200301", "12", "20200301")
    removed = done(dataset, Profile(dates="remove"))
    assert (removed.StudyDate, removed.StudyTime, removed.SeriesDate) == ("", "", "19000101")
    assert removed.AcquisitionDate == ""
    anchored = done(dataset, Profile(dates="anchor", anchor="19990101"), Subject("P1", -7730))
    assert anchored.StudyDate == "19990101"


def test_what_is_no_date_goes_and_a_note_says_where() -> None:
    dataset = made()
    for keyword, vr in (("StudyDate", "DA"), ("AcquisitionDateTime", "DT"), ("SeriesDate", "DA")):
        dataset.add(DataElement(keyword, vr, "2020Li", validation_mode=0))
    outcome, found = result(dataset), done(dataset)
    assert found.StudyDate == ""
    assert "AcquisitionDateTime" not in found
    assert "SeriesDate" not in found
    assert len(outcome.notes) == 3
    assert "2020Li" not in repr(outcome) + "".join(outcome.notes) + str(outcome.changes)
    assert SUBJECT.days == -1000
