"""`LocalBrowser`: search, drill, look and act; what makes no sense is not sent, nothing is deleted without a number."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from screens import HOSTILE, foreign, lines, picture, threads, words

import orthanc_research as ores
from orthanc_research.widgets import LocalBrowser, _local


@pytest.fixture
def browser(cohort: ores.Orthanc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalBrowser]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = LocalBrowser(cohort)
    yield made
    made.close()
    assert not threads()


def found(browser: LocalBrowser, **fields: str) -> LocalBrowser:
    for name, value in fields.items():
        browser.form.fields[name].box.value = value
    browser.find.click()
    assert browser.wait()
    assert not browser.failed, browser.status
    return browser


def choose(browser: LocalBrowser, *places: int) -> LocalBrowser:
    browser.table.choose([browser.table.frame.index[k] for k in places])
    assert browser.wait()
    return browser


def act(browser: LocalBrowser, name: str) -> LocalBrowser:
    browser.actions.buttons[name].click()
    assert browser.wait()
    browser.actions.go.click()
    assert browser.wait()
    return browser


# -- search, drill, look ----------------------------------------------------------------------------------------------


def test_from_a_name_to_a_slice(browser: LocalBrowser, cohort: ores.Orthanc) -> None:
    found(browser, PatientName="*patient 001")
    assert words(browser._same) == "same as: orthanc.studies(PatientName='*patient 001')"
    assert sorted(browser.table.frame.index) == sorted(cohort.studies(PatientName="*patient 001").index)
    assert list(browser.table.frame["StudyDate"]) == sorted(browser.table.frame["StudyDate"], reverse=True)
    choose(browser, 1)
    (study,) = browser.selected.index
    assert sorted(browser.series_table.frame.index) == sorted(cohort.series(within=browser.selected).index)
    assert [line.split()[:2] for line in lines(browser.series_table)] == [["1", "CT"], ["2", "MR"]]
    assert [each.description for each in browser.thumbnails.buttons[:2]] == [
        "CT · Synthetic chest · 6",
        "MR · Synthetic head T1 · 4",
    ]
    assert browser.array is None
    browser.thumbnails.buttons[1].click()
    assert browser.wait()
    assert list(browser.series["Modality"]) == ["MR"]
    assert cohort.rest.studies.read(study)["Series"].count(browser.series.index[0]) == 1
    assert browser.viewer.index == 2
    assert np.array_equal(browser.array, cohort.pixels(browser.viewer.selected, "rescaled")[0])  # type: ignore[arg-type]
    choose(browser)
    assert (len(browser.series), browser.array, browser.viewer.selected) == (0, None, None)


@pytest.mark.one_version
def test_thumbnails_are_the_servers_pictures_of_middle_slices(browser: LocalBrowser, cohort: ores.Orthanc) -> None:
    choose(found(browser), 0)
    with cohort.rest.counting() as requests:
        choose(browser, 1)
    drawn = [target for _, target in requests if "/rendered" in target]
    assert len(drawn) == 2
    assert len(requests) - len(drawn) <= 5  # series and instances, whatever their number
    for k, series in enumerate(browser.series_table.frame.index):
        instances = cohort.instances(within=browser.series_table.frame.loc[[series]]).sort_values("InstanceNumber")
        middle = instances.index[len(instances) // 2]
        assert np.array_equal(picture(browser.thumbnails.images[k]), cohort.preview(middle, width=96))


CRITERIA: list[tuple[str, str, dict[str, Any]]] = [
    ("PatientID", "SYN-5FEC-002", {"PatientID": "SYN-5FEC-002"}),
    ("StudyDate", "2020-02-01 .. 2020-12-31", {"StudyDate": ("2020-02-01", "2020-12-31")}),
    ("StudyDate", "2020-02 ..", {"StudyDate": ("2020-02", None)}),
    ("StudyDate", "20200103", {"StudyDate": "20200103"}),
    ("Modality", "CT", {"Modality": "CT"}),
    ("Modality", "US, CT", {"Modality": ["US", "CT"]}),
    ("StudyDescription", "*head*", {"StudyDescription": "*head*"}),
    ("labels", "seen, train", {"labels": ["seen", "train"]}),
]


@pytest.mark.one_version
def test_a_field_is_a_criterion(browser: LocalBrowser, cohort: ores.Orthanc) -> None:
    cohort.label(cohort.studies().iloc[:1], ["seen", "train"], progress=False)
    for field, entered, criteria in CRITERIA:
        browser._clear.click()
        found(browser, **{field: entered})
        expected = cohort.studies(**criteria)
        assert 0 < len(expected) <= 4
        assert sorted(browser.table.frame.index) == sorted(expected.index)
        given = ", ".join(f"{key}={value!r}" for key, value in criteria.items())
        assert words(browser._same) == f"same as: orthanc.studies({given})"
        assert browser.status == f"{len(expected)} {'study' if len(expected) == 1 else 'studies'}."


@pytest.mark.one_version
def test_what_makes_no_sense_is_said_beside_its_field_and_not_sent(browser: LocalBrowser, cohort: ores.Orthanc) -> None:
    found(browser, PatientName="*001")
    before = lines(browser.table)
    wrong = {"StudyDate": "2020-13", "PatientName": "*", "labels": "not a label!", "AccessionNumber": "a\\b*"}
    for name, value in wrong.items():
        browser.form.fields[name].box.value = value
    with cohort.rest.counting() as requests:
        browser.find.click()
        assert browser.wait()
    assert not requests
    assert browser.failed
    assert lines(browser.table) == before
    for name in ("StudyDate", "PatientName", "labels"):
        assert words(browser.form.fields[name]._wrong), name  # all of them at once
    browser._clear.click()
    assert not any(words(field._wrong) for field in browser.form.fields.values())
    assert len(found(browser).table.frame) == 4


@pytest.mark.one_version
def test_an_empty_form_asks_before_it_lists_very_much(
    browser: LocalBrowser, cohort: ores.Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_local, "_MANY", 3)
    found(browser)
    assert browser.status == "There are 4 studies; fill in a field, or click Find once more to list them all."
    assert not len(browser.table.frame)
    assert len(found(browser).table.frame) == 4


def test_patients_lead_to_their_studies_and_back(browser: LocalBrowser, cohort: ores.Orthanc) -> None:
    browser.list.value = "patients"
    found(browser, PatientName="SYN*")
    assert [line.split()[1] for line in lines(browser.table)] == ["001", "002"]
    patients = list(browser.table.frame.index)
    choose(browser, 1)
    browser.open.click()
    assert browser.wait()
    assert list(browser.table.frame["ParentPatient"].unique()) == [patients[1]]
    assert len(browser.table.frame) == 2
    assert words(browser._path) == "Patients > SYNTHETIC^PATIENT 002"
    choose(browser, 0)
    assert len(browser.series_table.frame) == 2
    browser.back.click()
    assert browser.wait()
    assert list(browser.table.frame.index) == patients
    assert not len(browser.selected)


@pytest.mark.one_version
def test_patients_are_found_by_what_their_studies_are(browser: LocalBrowser, cohort: ores.Orthanc) -> None:
    browser.list.value = "patients"
    found(browser, StudyDate="2020-01-03")
    assert list(browser.table.frame["PatientID"]) == list(cohort.studies(StudyDate="2020-01-03")["PatientID"])


@pytest.mark.one_version
def test_ten_thousand_rows_are_pages(browser: LocalBrowser, cohort: ores.Orthanc) -> None:
    some = found(browser).table.frame
    frame = pd.concat([some] * 2500)
    frame.index = pd.Index([f"{k:08x}-00000000-00000000-00000000-00000000" for k in range(10_000)], name="ID")
    frame.attrs = dict(some.attrs)
    with browser._lock:
        browser._listed("Study", {}, False, frame)
    assert words(browser.table._where) == "Rows 1-200 of 10,000"
    browser.table.turn(49)
    assert words(browser.table._where) == "Rows 9,801-10,000 of 10,000"
    browser.table._list.value = (9_900, 9_999)
    assert list(browser.selected.index) == [frame.index[9_900], frame.index[9_999]]
    assert browser.status == "10,000 studies."


@pytest.mark.one_version
def test_what_files_say_is_text(orthanc: ores.Orthanc) -> None:
    made = []
    for each in copy.deepcopy(ores.samples.cohort(patients=1, studies=1, slices=3, size=16)):
        each.PatientName = each.StudyDescription = each.SeriesDescription = HOSTILE
        made.append(each)
    orthanc.upload(made, progress=False)
    browser = LocalBrowser(orthanc)
    found(browser, StudyDescription="<img*")
    choose(browser, 0)
    browser.thumbnails.buttons[0].click()
    assert browser.wait()
    browser.list.value = "patients"
    choose(found(browser), 0)
    browser.open.click()
    assert browser.wait()
    assert not foreign(browser.widget)
    assert HOSTILE in lines(browser.table)[0]
    assert words(browser._path) == f"Patients > {HOSTILE}"
    choose(browser, 0)
    assert HOSTILE in lines(browser.series_table)[0]
    assert HOSTILE in browser.thumbnails.buttons[0].description
    act(browser, "Label")
    browser.actions.delete.first.click()
    assert not foreign(browser.widget)
    browser.close()


# -- act --------------------------------------------------------------------------------------------------------------


def test_a_deletion_is_asked_for_with_its_number_and_done_on_the_second_click(
    browser: LocalBrowser, cohort: ores.Orthanc
) -> None:
    confirm = browser.actions.delete
    choose(found(browser), 0, 2)
    chosen = list(browser.selected.index)
    confirm.first.click()
    assert words(confirm.question) == "Delete 2 studies with 20 instances? This cannot be undone."
    assert browser.wait()
    assert len(cohort.studies()) == 4
    confirm.no.click()
    confirm.first.click()
    choose(browser, 0, 1, 2)
    confirm.yes.click()  # of another selection than was asked about
    assert browser.wait()
    assert "not what was asked about" in browser.actions.status
    assert len(cohort.studies()) == 4
    choose(browser, 0, 2)
    confirm.first.click()
    confirm.yes.click()
    assert browser.wait()
    assert words(browser.actions._same) == "same as: orthanc.delete(resources=browser.selected, expect=2)"
    assert not set(cohort.studies().index) & set(chosen)
    assert list(browser.results.index) == chosen
    assert set(browser.results["status"]) == {"deleted"}
    assert len(browser.table.frame) == len(cohort.studies()) == 2  # the list is read again
    assert not len(browser.selected)


@pytest.mark.one_version
def test_actions_on_nothing_or_without_a_folder_send_nothing(
    browser: LocalBrowser, cohort: ores.Orthanc, tmp_path: Path
) -> None:
    found(browser)
    actions = browser.actions
    (tmp_path / "file").touch()
    with cohort.rest.counting() as requests:
        for button in (*actions.buttons.values(), actions.delete.first):
            button.click()
            assert actions.status == "Choose something in the table first."
        assert not requests
    choose(browser, 0)
    actions.buttons["Download"].click()
    with cohort.rest.counting() as requests:
        for given, said in (
            ("", "Give a folder."),
            (str(tmp_path / "file"), "There is a file of that name."),
            (str(tmp_path / "a" / "b"), f"There is no folder {tmp_path / 'a'}."),
        ):
            actions.folder.box.value = given
            actions.go.click()
            assert words(actions.folder._wrong) == said
            assert actions.failed
        act(browser, "Label")
        assert words(actions.add._wrong) == "Give a label to add, or one to remove."
        actions.add.box.value = "no label!"
        act(browser, "Label")
        assert words(actions.add._wrong).startswith("A label has 1 to 64")
        assert not requests
    act(browser, "Send")
    assert actions.status == "Choose the modality that it is sent to."


@pytest.mark.one_version
def test_an_action_is_done_to_what_it_named(browser: LocalBrowser, cohort: ores.Orthanc) -> None:
    actions = browser.actions
    choose(found(browser), 0)
    actions.buttons["Anonymize"].click()
    assert "Copies of 1 study with 10 instances" in words(actions._note)
    choose(browser, 0, 1)
    before = len(cohort.studies())
    actions.go.click()
    assert browser.wait()
    assert actions.status == "What is chosen is now 2 studies with 20 instances; nothing was done. Click again."
    assert "Copies of 2 studies with 20 instances" in words(actions._note)
    assert len(cohort.studies()) == before
    actions.delete.first.click()
    assert actions._panel.layout.display == "none"
    actions.buttons["Label"].click()
    assert actions.delete._asking.layout.display == "none"
    actions.leave.click()


@pytest.mark.one_version
def test_the_list_is_read_again_as_it_is_shown(browser: LocalBrowser, cohort: ores.Orthanc) -> None:
    browser.list.value = "patients"
    found(browser)
    choose(browser, 0)
    browser.open.click()
    assert browser.wait()
    assert words(browser._same) == "same as: orthanc.studies(within=patients)"
    cohort.upload(ores.samples.cohort(patients=1, studies=1, slices=3, size=16, seed=77), progress=False)
    browser.list.value = "studies"  # for the next search
    browser.back.click()
    assert browser.wait()
    assert len(browser.table.frame) == len(cohort.patients()) == 3
    assert words(browser._same) == "same as: orthanc.patients()"
    browser.refresh()
    assert browser.wait()
    assert browser.table.frame.attrs["orthanc"]["level"] == "Patient"


@pytest.mark.one_version
def test_a_study_that_is_chosen_no_more_does_not_open(browser: LocalBrowser, cohort: ores.Orthanc) -> None:
    found(browser)
    rows = list(browser.table.frame.index[:2])

    def more(_: str, target: str) -> None:
        browser.table.choose(rows)

    cohort.rest._client.hooks.append(more)
    try:
        browser.table.choose(rows[:1])
        assert browser.wait()
    finally:
        cohort.rest._client.hooks.remove(more)
    assert len(browser.selected) == 2
    assert not len(browser.series_table.frame)


@pytest.mark.one_version
def test_each_action_ends_in_its_ledger(browser: LocalBrowser, cohort: ores.Orthanc, tmp_path: Path) -> None:
    actions = browser.actions
    choose(found(browser, PatientName="*001"), 0)
    actions.folder.box.value = str(tmp_path / "files")
    act(browser, "Download")
    assert actions.status == "Download: 10 done."
    assert len(list((tmp_path / "files").rglob("*.dcm"))) == len(browser.results) == 10
    assert len(lines(actions._ledger)) == 10
    same = words(actions._same)
    assert same == f"same as: orthanc.download(resources=browser.selected, folder={str(tmp_path / 'files')!r})"
    actions.folder.box.value, actions.form.value = str(tmp_path / "volumes"), "npz"
    browser.act_on.value = True
    browser.series_table.choose([browser.series_table.frame.index[0]])
    assert browser.wait()
    act(browser, "Export")
    assert len(browser.results) == 1
    assert Path(browser.results["file"].iloc[0]).is_file()
    assert "orthanc.export(resources=browser.series" in words(actions._same)
    browser.act_on.value = False
    actions.add.box.value = "seen"
    act(browser, "Label")
    assert list(browser.results["status"]) == ["done"]
    assert list(cohort.studies(labels=["seen"]).index) == list(browser.selected.index)
    assert "seen" in lines(browser.table)[0] + lines(browser.table)[1]  # the list is read again
    act(browser, "Anonymize")
    assert list(browser.results["status"]) == ["done"]
    assert len(cohort.studies()) == 5
    cohort.add_modality("deaf", "DEAF", "127.0.0.1", 1)
    act(browser, "Send")
    assert actions.modality.options == (("deaf", "deaf"),)
    assert actions.status == "Choose the modality that it is sent to."
    actions.modality.value = "deaf"
    actions.go.click()
    assert browser.wait()
    assert list(browser.results["status"]) == ["failed"]
    assert actions.failed
    assert actions.status == "Send: 1 failed."
    cohort.remove_modality("deaf")


@pytest.mark.one_version
def test_cancel_ends_an_action_with_a_ledger_of_how_far_it_came(
    browser: LocalBrowser, cohort: ores.Orthanc, tmp_path: Path
) -> None:
    actions = browser.actions
    choose(found(browser), 0, 1, 2, 3)
    actions.folder.box.value = str(tmp_path / "files")
    actions._bar.observe(lambda change: actions._stop.click() if change["new"] == 40 else None, "max")
    act(browser, "Download")
    counts = browser.results["status"].value_counts()
    assert len(browser.results) == 40
    assert set(counts.index) <= {"done", "not-sent"}
    assert counts["not-sent"] > 30
    assert len(list((tmp_path / "files").rglob("*.dcm"))) == counts.get("done", 0)
    assert not actions.busy


@pytest.mark.one_version
def test_a_search_stops_no_action_and_two_actions_never_meet(
    browser: LocalBrowser, cohort: ores.Orthanc, tmp_path: Path
) -> None:
    actions = browser.actions
    choose(found(browser), 0, 1, 2, 3)
    actions.folder.box.value = str(tmp_path / "files")
    said: list[str] = []

    def meanwhile(change: dict[str, Any]) -> None:
        if change["new"] != 40:
            return
        actions._bar.unobserve_all("max")
        browser.find.click()
        actions.go.click()
        said.append(actions.status)

    actions._bar.observe(meanwhile, "max")
    act(browser, "Download")
    assert said == ["Something is under way; wait for its end, or cancel it."]
    assert actions.status == "Download: 40 done."


def test_a_server_that_is_away_leaves_the_list(tmp_path: Path) -> None:
    with ores.LocalOrthanc() as orthanc:
        orthanc.upload(ores.samples.cohort(patients=1, studies=2, slices=3, size=16), progress=False)
        browser = LocalBrowser(orthanc)
        choose(found(browser), 0)
        before = lines(browser.table)
        orthanc.server.kill()
        browser.find.click()
        assert browser.wait()
        assert browser.failed
        assert "Away since" in browser.status
        assert lines(browser.table) == before
        assert len(browser.selected) == 1
        orthanc.server.restart()
        found(browser)
        assert browser.status == "2 studies."
        browser.close()


@pytest.mark.one_version
def test_a_fault_in_a_handler_is_said_without_its_words(browser: LocalBrowser, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: Any) -> None:
        raise ValueError("DOE^JOHN")

    found(browser)
    monkeypatch.setattr(browser, "_choose", fault)
    browser.table.choose([browser.table.frame.index[0]])
    assert browser.failed
    assert browser.status.startswith("ValueError: ")
    assert "DOE" not in browser.status
    monkeypatch.setattr(browser.actions, "_ready", fault)
    for button in (browser.actions.go, browser.actions.buttons["Send"], browser.actions.delete.first):
        browser.actions.say("")
        button.click()
        assert browser.actions.status.startswith("ValueError: ")


@pytest.mark.one_version
def test_closing_while_it_works_leaves_no_thread(browser: LocalBrowser, tmp_path: Path) -> None:
    choose(found(browser), 0)
    browser.thumbnails.buttons[0].click()
    browser.actions.folder.box.value = str(tmp_path / "files")
    browser.actions.buttons["Download"].click()
    browser.actions.go.click()
    browser.find.click()
    browser.close()
    assert not threads()
    browser.find.click()
    assert not threads()


@pytest.mark.one_version
def test_cancel_leaves_the_list_as_it_was(browser: LocalBrowser) -> None:
    choose(found(browser, PatientName="*001"), 0)
    before = lines(browser.table)
    browser._clear.click()
    browser._bar.observe(lambda _: browser._stop.click(), "max")
    browser._bar.max = 7  # so that the next task is seen to begin
    browser.find.click()
    assert browser.wait()
    assert browser.status == "Cancelled."
    assert lines(browser.table) == before
