"""The screen that de-identifies: what it asks before it does anything, what it shows, and what it never keeps."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import pytest
from pydicom.uid import UID
from release_cases import KEY, kept

import orthanc_research as ores
from orthanc_research.deid import Key, Profile
from orthanc_research.rest._retry import Budget
from orthanc_research.widgets import AnonymizePanel
from orthanc_research.widgets._anonymize import OWN, _with
from orthanc_research.widgets._anonymize_fields import day, file_name, folder_name
from orthanc_research.widgets._anonymize_form import FOLDER, HERE, OTHER
from orthanc_research.widgets._anonymize_shown import before_and_after, kept_back

pytestmark = pytest.mark.one_version
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Journals go to a folder of the test's, and no thread outlives its panel."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("ORES_KEY", KEY)
    yield
    assert not [each for each in threading.enumerate() if each.name == "orthanc-research-panel"]


@pytest.fixture
def archive(orthanc: ores.Orthanc) -> ores.Orthanc:
    """Two patients, a study of two series each, one of them with a name that would run in a browser."""
    datasets = ores.samples.cohort(patients=2, studies=1, slices=3, size=16)
    first = datasets[0].PatientID
    for each in datasets:
        if each.PatientID == first:
            each.PatientName = HOSTILE
    orthanc.upload(datasets, progress=False)
    return orthanc


def all_of(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from all_of(child)


def said_by(panel: AnonymizePanel) -> str:
    """Everything that any widget of the panel holds."""
    return " ".join(str(each.get_state()) for each in all_of(panel.widget))


def field(panel: AnonymizePanel, name: str) -> str:
    """What stands beside a field."""
    return str(getattr(panel._form, name)._wrong.value)


def planned(panel: AnonymizePanel, folder: Path) -> None:
    panel._form.folder.box.value = str(folder / "project")
    panel._form.path.box.value = str(folder / "out")
    panel._plan_button.click()
    assert panel.wait()
    assert panel.plan is not None, panel.status


def rows_of(panel: AnonymizePanel) -> pd.DataFrame:
    """The ledger."""
    assert isinstance(panel.results, pd.DataFrame)
    return panel.results


def chosen(panel: AnonymizePanel, **is_: str) -> None:
    frame = panel.table.frame
    panel.table.choose([row for row in frame.index if all(frame.loc[row, name] == each for name, each in is_.items())])


# -- before anything is sent ------------------------------------------------------------------------------------------


def test_what_is_missing_or_wrong_stands_beside_its_field_and_nothing_is_sent(
    archive: ores.Orthanc, tmp_path: Path
) -> None:
    panel = AnonymizePanel(archive, archive.studies())
    form = panel._form
    (tmp_path / "file").write_text("")
    with archive.rest.counting() as requests:
        panel._plan_button.click()
        assert "Name the folder of the project" in field(panel, "folder")
        assert "Name the folder that the copies go into" in field(panel, "path")
        form.folder.box.value = str(tmp_path / "file")
        form.target.value = OTHER
        form.address.box.value = "http://alice:s3cret@research:8042"
        assert "without a password in it. What was here is gone." in field(panel, "address")
        form.variable.box.value = "user:password"
        assert "environment variable" in field(panel, "variable")
        form.variable.box.value = "user password"
        form.dates.value = "anchor"
        form.anchor.box.value = "1.1.2000"
        panel._plan_button.click()
        assert "There is a file of that name" in field(panel, "folder")
        assert "Give the address" in field(panel, "address")
        assert "environment variable" in field(panel, "variable")
        assert "s3cret" not in said_by(panel)
        assert "user:password" not in (form.variable.box.value, form.address.box.value)
        assert "such as 2000-01-01" in field(panel, "anchor")
        assert panel.failed
        assert "beside the fields" in panel.status
        form.anchor.box.value = "2000-01-01"
        panel._plan_button.click()
        assert not field(panel, "anchor")
    assert not requests
    assert panel.plan is None
    assert not (tmp_path / "project").exists()
    panel.close()


def test_a_key_is_in_no_widget(archive: ores.Orthanc, tmp_path: Path) -> None:
    panel = AnonymizePanel(archive, archive.studies())
    form = panel._form
    form.key.box.value = KEY  # into the wrong field
    assert form.key.box.value == ""
    assert "What was here is gone" in field(panel, "key")
    form.secret.value = KEY[:-1]
    assert form.secret.value == ""
    assert "64 hexadecimal digits" in field(panel, "key")
    form.secret.value = KEY
    assert form.secret.value == ""
    assert not field(panel, "key")
    assert Key.parse(KEY).id in said_by(panel)
    planned(panel, tmp_path)
    assert panel.project is not None
    assert panel.project.key_id == Key.parse(KEY).id
    assert KEY[:-1] not in said_by(panel) + repr(panel) + repr(vars(panel)) + repr(vars(form)) + panel.status
    assert "key=key" in panel._call.value
    form.key.box.value = "env:NO_SUCH_VARIABLE"  # the one named last counts
    panel._plan_button.click()
    assert panel.wait()
    assert "NO_SUCH_VARIABLE is not set" in panel.status
    panel.close()


@pytest.mark.parametrize("wrong", [["nonsense"], pd.DataFrame({"a": [1]}), None])
def test_a_selection_that_is_none_is_said_and_starts_nothing(archive: ores.Orthanc, wrong: Any) -> None:
    panel = AnonymizePanel(archive, wrong)
    assert panel.failed
    panel.engine.value = OWN
    with archive.rest.counting() as requests:
        panel.start.first.click()
        panel._plan_button.click()
    assert not requests
    assert panel.start._asking.layout.display == "none"
    panel.close()


def test_the_line_of_python_does_the_same(archive: ores.Orthanc, tmp_path: Path) -> None:
    panel = AnonymizePanel(archive, archive.studies())
    form = panel._form
    form.folder.box.value, form.path.box.value = str(tmp_path / "p"), str(tmp_path / "o")
    form.dates.value = "remove"
    form.options["retain_device_identity"].value = True
    from html import unescape

    line = unescape(panel._call.value.partition("<code>")[2].partition("</code>")[0])
    plan = eval(line, {"ores": ores, "orthanc": archive, "panel": panel})
    panel._plan_button.click()
    assert panel.wait()
    assert panel.plan is not None
    pd.testing.assert_frame_equal(plan.frame, panel.plan.frame)
    assert plan._setting.profile == panel.plan._setting.profile == Profile(
        dates="remove", options=Profile().options | {"retain_device_identity"}
    )  # fmt: skip
    assert "target=&#x27;" in panel._call.value
    assert ").run()</code>" in panel._call.value
    panel.engine.value = OWN
    assert "orthanc.anonymize(resources=panel.selected)" in panel._call.value
    form.target.value = HERE
    panel.close()


# -- Orthanc's own engine ---------------------------------------------------------------------------------------------


def test_orthancs_own_engine_asks_first_and_releases_nothing(archive: ores.Orthanc) -> None:
    panel = AnonymizePanel(archive, archive.studies())
    assert panel.start.first.disabled  # a release is planned first
    panel.engine.value = OWN
    assert "No row of it is releasable" in said_by(panel)
    with archive.rest.counting() as requests:
        panel.start.first.click()
    assert not requests
    assert "De-identify 2 studies by Orthanc&#x27;s own engine?" in panel.start.question.value
    panel.start.no.click()
    assert panel.results is None
    panel.start.first.click()
    panel.start.yes.click()
    assert panel.wait()
    assert list(rows_of(panel)["status"]) == ["done", "done"]
    assert not rows_of(panel)["releasable"].any()
    assert "2 rows: 2 done." in panel.status
    assert "No row is releasable" in panel.status
    assert not panel.failed
    assert len(archive.studies()) == 4
    panel.close()


def test_what_failed_is_asked_for_again_and_the_ledger_stays_whole(archive: ores.Orthanc) -> None:
    studies = archive.studies()
    last = archive.instances(within=studies.index[1:])
    dataset = archive.dicom(last.index[0])
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.99")
    dataset.add_new(0x60000010, "US", 16)
    dataset.add_new(0x60000011, "US", 16)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 15)
    (added,) = archive.upload([dataset], progress=False)["ID"]
    panel = AnonymizePanel(archive, studies)
    panel.engine.value = OWN
    panel.start.first.click()
    panel.start.yes.click()
    assert panel.wait()
    assert list(rows_of(panel)["status"]) == ["done", "failed"]
    assert panel.failed
    made = rows_of(panel)["AnonymizedID"].iloc[0]
    archive.delete([added], expect=1)
    panel._resume.click()
    assert panel.wait()
    assert list(rows_of(panel).index) == list(studies.index)
    assert list(rows_of(panel)["status"]) == ["done", "done"]
    assert rows_of(panel)["AnonymizedID"].iloc[0] == made  # what was done was not done again
    assert len(archive.studies()) == 4
    panel.close()


def test_a_later_run_says_what_became_of_its_rows_and_the_others_stay() -> None:
    before = pd.DataFrame(
        {"status": ["unknown", "failed"], "instances": pd.array([None, 3], dtype="Int64")}, index=["a", "b"]
    )
    before.attrs["orthanc"] = {"level": "Study"}
    now = pd.DataFrame({"status": ["done"], "instances": pd.Series([4], dtype="object", index=["a"])}, index=["a"])
    whole = _with(before, now)
    assert whole["status"].to_dict() == {"a": "done", "b": "failed"}
    assert whole["instances"].tolist() == [4, 3]
    assert whole.attrs == before.attrs
    assert _with(before, now.reindex(["b", "a"])).index.tolist() == ["a", "b"]


# -- a release --------------------------------------------------------------------------------------------------------


def test_a_release_from_the_plan_to_the_mapping(archive: ores.Orthanc, tmp_path: Path) -> None:
    studies = archive.studies()
    panel = AnonymizePanel(archive, studies, workers=1)
    planned(panel, tmp_path)
    assert panel.table.frame.equals(panel.plan.frame)  # type: ignore[union-attr]
    assert f"{panel.plan.frame['to_do'].sum()} instances of 4 series would be de-identified." in panel.status  # type: ignore[union-attr]
    heads = sum(notice == "face" for notice in panel.plan.frame["notice"])  # type: ignore[union-attr]
    assert heads
    assert f"{heads} series of a head" in panel._warning.value
    assert not (tmp_path / "out").exists()
    names = {str(each) for each in (*studies["PatientID"], *studies["PatientName"])}
    assert not [name for name in names if name in said_by(panel)]

    # Who it is, before and after: on request, as text, and gone again.
    panel._preview_button.click()
    assert "Choose one row" in panel.status
    (row,) = [
        row for row in panel.table.frame.index
        if archive.series(SeriesInstanceUID=row)["PatientName"].iloc[0] == HOSTILE
        and panel.table.frame.loc[row, "Modality"] == "CT"
    ]  # fmt: skip
    panel.table.choose([row])
    panel._preview_button.click()
    assert panel.wait()
    cells = Cells(panel._preview.value).rows
    pseudonym = panel.table.frame.loc[row, "PatientID"]
    assert cells["PatientName"] == (HOSTILE, pseudonym) or cells["PatientName"][0] == HOSTILE
    assert cells["PatientID"][1] == pseudonym
    assert "Rows" not in cells
    panel._changes.value = False
    assert Cells(panel._preview.value).rows["Rows"] == ("16", "16")
    panel._hide.click()
    assert not panel._preview.value
    assert not [name for name in names if name in said_by(panel)]

    # The run, after a question with the number.
    with archive.rest.counting() as requests:
        panel.start.first.click()
    assert not requests
    assert "De-identify 2 studies (4 series," in panel.start.question.value
    panel.start.yes.click()
    assert panel.start.first.disabled
    assert panel.wait()
    assert set(rows_of(panel)["status"]) == {"done"}
    assert panel.release is not None
    assert panel.release.state == "done"
    assert len(kept(tmp_path / "out")) == rows_of(panel)["done"].sum() == len(archive.instances())
    assert not [name for name in names if name in said_by(panel) + rows_of(panel).to_string() + repr(panel)]
    assert panel.start.first.disabled  # a plan is good for one run

    # The mapping: said to hold identities, refused among the copies, readable by its owner alone.
    panel.save.first.click()
    assert "Name the file" in panel._mapping._wrong.value
    panel._mapping.box.value = str(tmp_path / "mapping.txt")
    panel.save.first.click()
    assert ".csv or .parquet" in panel._mapping._wrong.value
    panel._mapping.box.value = str(tmp_path / "out" / "mapping.csv")
    panel.save.first.click()
    assert "CONTAINS IDENTITIES" in panel.save.question.value
    panel.save.yes.click()
    assert panel.wait()
    assert "inside the target" in panel.status
    assert not (tmp_path / "out" / "mapping.csv").exists()
    panel._mapping.box.value = str(tmp_path / "mapping.csv")
    panel.save.first.click()
    assert not (tmp_path / "mapping.csv").exists()
    panel.save.yes.click()
    assert panel.wait()
    assert stat.S_IMODE((tmp_path / "mapping.csv").stat().st_mode) == 0o600
    saved = pd.read_csv(tmp_path / "mapping.csv", dtype="str")
    assert set(saved["PatientID"]) == set(studies["PatientID"])
    assert set(saved["pseudonym"]) == set(rows_of(panel)["PatientID"])
    panel.close()


def test_a_plan_is_dropped_when_the_choices_change(archive: ores.Orthanc, tmp_path: Path) -> None:
    panel = AnonymizePanel(archive, archive.studies())
    planned(panel, tmp_path)
    panel.start.first.click()
    assert "into that folder" in panel.start.question.value
    assert panel.start._asking.layout.display == ""
    panel._form.options["retain_uids"].value = True
    assert panel.plan is None
    assert panel.start._asking.layout.display == "none"  # its question was of the other plan
    assert not len(panel.table.frame)
    assert "plan again" in panel.status
    assert panel.start.first.disabled
    planned(panel, tmp_path)
    panel.selected = archive.studies()[:1]
    assert panel.plan is None
    assert "1 study selected" in panel._count.value
    panel._plan_button.click()
    panel._form.options["retain_uids"].value = False  # while it is planned
    assert panel.wait()
    assert panel.plan is None
    assert "plan again" in panel.status
    panel.close()


def test_what_may_show_whose_it_is_waits_until_somebody_has_looked(orthanc: ores.Orthanc, tmp_path: Path) -> None:
    datasets = ores.samples.cohort(patients=1, studies=1, slices=3, size=16)
    for each in datasets:
        if each.Modality == "CT":
            each.BurnedInAnnotation = "YES"
    orthanc.upload(datasets, progress=False)
    panel = AnonymizePanel(orthanc, orthanc.studies())
    planned(panel, tmp_path)
    assert "1 series whose pixels may show whose they are" in panel._warning.value
    assert "Its pixels may show whose it is" in panel._problems.value
    assert "1 series are kept back" in panel.status
    panel.acknowledge.first.click()
    assert "Choose series whose notice is burned-in" in panel.status
    chosen(panel, status="planned")
    panel.acknowledge.first.click()
    assert panel.acknowledge._asking.layout.display == "none"
    panel._look.click()
    assert panel.wait()
    page = tmp_path / "project" / "pixels-to-look-at.html"
    assert page.read_text().count("<img") > 0
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    chosen(panel, status="blocked")
    panel.acknowledge.first.click()
    assert "these 1 series" in panel.acknowledge.question.value
    panel.table.choose([])  # the answer is to what was asked
    panel.acknowledge.yes.click()
    assert panel.wait()
    assert set(panel.table.frame["status"]) == {"planned"}
    assert "acknowledge=[" in panel._call.value
    panel._plan_button.click()  # there may be new images in it since
    assert panel.wait()
    assert "blocked" in set(panel.table.frame["status"])
    panel._form.dates.value = "remove"  # other rules, other plan: what was seen is asked for again
    panel._plan_button.click()
    assert panel.wait()
    assert "blocked" in set(panel.table.frame["status"])
    panel.close()


def test_cancel_in_the_middle_leaves_a_ledger_and_resume_does_the_rest(archive: ores.Orthanc, tmp_path: Path) -> None:
    panel = AnonymizePanel(archive, archive.studies(), workers=1)
    planned(panel, tmp_path)
    panel.start.first.click()
    panel.start.yes.click()
    panel._stop.click()
    assert panel.wait()
    assert "not-done" in set(rows_of(panel)["status"])
    assert "Resume" in panel.status
    assert set(rows_of(panel).index) == {*archive.series()["SeriesInstanceUID"]}
    panel._resume.click()
    assert panel.wait()
    assert set(rows_of(panel)["status"]) == {"done"}
    assert len(kept(tmp_path / "out")) == len(archive.instances())
    panel.close()


def test_a_server_that_is_gone_leaves_the_last_plan_on_the_screen(tmp_path: Path) -> None:
    with ores.LocalOrthanc() as orthanc:
        orthanc.upload(ores.samples.cohort(patients=1, studies=1, slices=3, size=16), progress=False)
        panel = AnonymizePanel(orthanc, orthanc.studies())
        planned(panel, tmp_path)
        shown = panel.table.frame
        orthanc.server.kill()
        orthanc.rest._client.policy.budget = Budget(0)  # it does not come back: no need to wait for that
        panel._plan_button.click()
        assert panel.wait()
        assert panel.failed
        assert "Away since" in panel.status
        assert panel.table.frame is shown
        assert panel.plan is not None
        panel.close()


def test_another_folders_project_is_no_place_for_a_second_key(archive: ores.Orthanc, tmp_path: Path) -> None:
    ores.Project(tmp_path / "project", Key.parse("11" * 32))
    panel = AnonymizePanel(archive, archive.studies(), profile=Profile(dates="remove"))
    assert panel._form.dates.value == "remove"
    panel._form.folder.box.value, panel._form.path.box.value = str(tmp_path / "project"), str(tmp_path / "out")
    panel._plan_button.click()
    assert panel.wait()
    assert panel.failed
    assert panel.plan is None
    assert "key" in panel.status
    panel.close()


def test_copies_can_go_to_another_server_and_a_password_is_never_typed(
    archive: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = archive.rest.connection.auth
    assert isinstance(auth, tuple)
    monkeypatch.setenv("RESEARCH_AUTH", ":".join(auth))
    panel = AnonymizePanel(archive, archive.studies(), targets={"research": archive})
    form = panel._form
    assert form.target.options == (FOLDER, HERE, "research", OTHER)
    form.folder.box.value = str(tmp_path / "project")
    for target in (HERE, "research", OTHER):
        form.target.value = target
        form.address.box.value, form.variable.box.value = archive.url, "RESEARCH_AUTH"
        panel._plan_button.click()
        assert panel.wait()
        assert panel.plan is not None, panel.status
        panel.start.first.click()
        assert f"into {target}?" in panel.start.question.value
        panel.start.no.click()
    assert auth[1] not in said_by(panel)
    panel.close()


def test_a_closed_panel_shows_nobody(archive: ores.Orthanc, tmp_path: Path) -> None:
    panel = AnonymizePanel(archive, archive.studies())
    planned(panel, tmp_path)
    panel.table.choose([panel.table.frame.index[0]])
    panel._preview_button.click()
    assert panel.wait()
    assert panel._preview.value
    preview = panel._preview
    panel._plan_button.click()
    assert panel.busy  # and closing ends that
    panel.close()
    assert not preview.value
    assert not panel._previewed


# -- what is shown ----------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """{element: (before, after)} of a table of a preview; it holds no markup of others."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: dict[str, tuple[str, str]] = {}
        self._cells: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "div":
            assert dict(attrs) == {
                "class": "ores-scroll", "tabindex": "0", "role": "region", "aria-label": "before and after",
            }  # fmt: skip
            return
        assert tag in ("table", "thead", "tbody", "tr", "th", "td", "i", "p"), tag
        assert not [name for name, _ in attrs if name not in ("class", "scope", "colspan")]
        if tag == "tr":
            self._cells = []
        if tag in ("th", "td"):
            self._cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr" and len(self._cells) == 3:
            self.rows[self._cells[0]] = self._cells[1], self._cells[2]

    def handle_data(self, data: str) -> None:
        if self._cells:
            self._cells[-1] += data


def test_before_and_after_is_text_and_says_what_is_absent() -> None:
    rows: list[dict[str, Any]] = [
        {"path": HOSTILE, "before": HOSTILE, "after": None},
        {"path": "New", "before": float("nan"), "after": "\u202eabc"},
        {"path": "Same", "before": "1", "after": "1"},
    ]
    found = Cells(before_and_after(rows, changes=True)).rows
    assert found[HOSTILE] == (HOSTILE, "absent")
    assert found["New"] == ("absent", "\\u202eabc")
    assert "Same" not in found
    assert Cells(before_and_after(rows, changes=False)).rows["Same"] == ("1", "1")
    first = Cells(before_and_after([{"path": "meta.X", "before": "1", "after": "2"}, *rows], changes=True)).rows
    assert list(first)[-1] == "meta.X"
    many = [{"path": f"a{k}", "before": "x", "after": None} for k in range(3000)]
    assert "1,000 more elements are not shown" in before_and_after(many, changes=True)


def test_what_is_kept_back_is_text_and_says_how_much_is_not_shown() -> None:
    assert not kept_back([])
    rows = [(HOSTILE, {"problem": HOSTILE, "action": HOSTILE, "instances": 3})] * 60
    shown = kept_back(rows)
    assert "<img" not in shown
    assert "and 10 more" in shown


def test_a_fault_in_a_handler_of_the_form_reaches_the_status_line(
    archive: ores.Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = AnonymizePanel(archive, archive.studies())
    monkeypatch.setattr(panel._form, "_profile", lambda: 1 / 0)
    panel._form.options["retain_uids"].value = True
    assert panel.failed
    assert panel.status.startswith("ZeroDivisionError")
    panel.close()


@pytest.mark.parametrize(
    ("read", "entered", "sentence"),
    [
        (folder_name, "~nobody-of-that-name/x", "no home folder"),
        (folder_name, "a\0b", "no name"),
        (folder_name, "http://x", "no folder"),
        (folder_name, "x" * 300, "cannot be looked at"),
        (file_name, "/no/such/folder/a.csv", "not there"),
        (day, "2000-02-31", "such as"),
        (day, "٢٠٠٠٠١٠١", "such as"),
        (day, "0000-01-01", "such as"),
    ],
)
def test_what_a_field_does_not_take_is_one_sentence(read: Any, entered: str, sentence: str) -> None:
    with pytest.raises(ores.QueryError, match=sentence):
        read(entered)


def test_nothing_selected_is_nothing_to_do(archive: ores.Orthanc) -> None:
    panel = AnonymizePanel(archive, archive.studies()[:0])
    assert "0 studies selected" in panel._count.value
    panel.engine.value = OWN
    with archive.rest.counting() as requests:
        panel.start.first.click()
        panel._plan_button.click()
    assert "Nothing is selected" in panel.status
    assert not requests
    panel.close()
