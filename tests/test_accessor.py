"""`df.orthanc`: the verbs on a frame and on rows of it, whatever pandas did to it meanwhile."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure
from stock import stock

import orthanc_research as ores
from orthanc_research import errors
from orthanc_research.local import OrthancServer
from orthanc_research.rest import Connection, Level

LEVELS: tuple[Level, ...] = ("Patient", "Study", "Series", "Instance")
VERBS = {"Patient": "patients", "Study": "studies", "Series": "series", "Instance": "instances"}


@pytest.fixture
def cohort(orthanc: ores.Orthanc) -> ores.Orthanc:
    """Three patients, two studies each, a CT and an MR series each."""
    stock(orthanc, slices=3)
    return orthanc


def ancestors(orthanc: ores.Orthanc) -> dict[str, dict[str, str]]:
    """{instance: {level: ID}}, one by one from the server."""
    rest = orthanc.rest
    found = {}
    for instance in rest.instances.list():
        series = rest.instances.parent(instance, "Series")["ID"]
        study = rest.series.parent(series, "Study")["ID"]
        patient = rest.studies.parent(study, "Patient")["ID"]
        found[instance] = {"Instance": instance, "Series": series, "Study": study, "Patient": patient}
    return found


@pytest.mark.parametrize("start", LEVELS)
def test_every_level_leads_to_every_other_each_resource_once(cohort: ores.Orthanc, start: Any) -> None:
    tree = ancestors(cohort)
    frame: Any = cohort.find(start)
    for rows in (frame, frame.iloc[:1], frame.iloc[1:4], frame.sample(frac=1, random_state=1)):
        for level in LEVELS:
            wanted = {chain[level] for chain in tree.values() if chain[start] in set(rows.index)}
            found = getattr(rows.orthanc, VERBS[level])()
            assert set(found.index) == wanted
            assert found.index.is_unique
            assert found.attrs["orthanc"]["level"] == level
            assert list(found.columns) == list(cohort.find(level).columns)


def test_criteria_and_options_go_to_the_find(cohort: ores.Orthanc) -> None:
    studies: Any = cohort.studies()
    found = studies.iloc[:2].orthanc.series(Modality="CT", columns=["Modality", "ParentStudy"])
    assert set(found["Modality"]) == {"CT"}
    assert set(found["ParentStudy"]) == set(studies.index[:2])
    with pytest.raises(errors.QueryError, match="Modalty"):
        studies.orthanc.series(Modalty="CT")


def test_requests_do_not_grow_with_the_rows(cohort: ores.Orthanc) -> None:
    instances: Any = cohort.instances()
    instances.orthanc.patients()  # a client's first finds learn whether the server caps its answers
    counted = []
    for rows in (instances.iloc[:2], instances):
        with cohort.rest.counting() as requests:
            rows.orthanc.patients()
        counted.append(len(requests))
    assert counted[0] == counted[1]


def test_an_empty_frame_leads_to_empty_frames_without_a_request(cohort: ores.Orthanc) -> None:
    for start in LEVELS:
        empty: Any = cohort.find(start).iloc[:0]
        with cohort.rest.counting() as requests:
            found = [getattr(empty.orthanc, verb)() for verb in VERBS.values()]
        assert requests == []
        assert all(len(frame) == 0 for frame in found)


KEPT: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "slice": lambda frame: frame[1:3],
    "mask": lambda frame: frame[frame["PatientSex"] == "F"],
    "loc": lambda frame: frame.loc[[frame.index[0]]],
    "iloc": lambda frame: frame.iloc[[0, 2]],
    "query": lambda frame: frame.query("StudyDate >= '2000-01-01'"),
    "sort": lambda frame: frame.sort_values("StudyDate", ascending=False),
    "head": lambda frame: frame.head(2),
    "sample": lambda frame: frame.sample(3, random_state=0),
    "columns": lambda frame: frame[["StudyDate", "StudyInstanceUID"]],
    "assign": lambda frame: frame.assign(split="train"),
    "drop": lambda frame: frame.drop(columns="StudyTime"),
    "get_group": lambda frame: frame.groupby("PatientSex").get_group("F"),
    "first of each": lambda frame: frame.groupby("PatientID").head(1),
    "concat": lambda frame: pd.concat([frame.iloc[:1], frame.iloc[3:]]),
    "drop_duplicates": lambda frame: frame.drop_duplicates("PatientID"),
    "copy": lambda frame: frame.copy(),
    "reset_index": lambda frame: frame.reset_index(),
    "pickled": lambda frame: pickle.loads(pickle.dumps(frame)),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_pandas_makes_of_a_frame_keeps_its_client(cohort: ores.Orthanc, name: str) -> None:
    rows: Any = KEPT[name](cohort.studies())
    ids = set(rows["ID"] if name == "reset_index" else rows.index)
    assert len(ids) > 0
    assert set(rows.orthanc.series()["ParentStudy"]) == ids


LOST: dict[str, Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]] = {
    "merge": lambda frame, other: frame.merge(other, on="ID"),
    "merge by index": lambda frame, other: frame.merge(other, left_index=True, right_index=True),
    "join": lambda frame, other: frame.join(other),
    "concat of columns": lambda frame, other: pd.concat([frame, other], axis=1),
}


@pytest.mark.parametrize("name", LOST)
def test_a_merge_drops_the_client_and_attach_puts_it_back(cohort: ores.Orthanc, name: str) -> None:
    studies = cohort.studies()
    other = pd.DataFrame({"Diagnosis": "x"}, index=studies.index)
    merged: Any = LOST[name](studies, other)
    assert not hasattr(merged, "orthanc")
    with pytest.raises(AttributeError, match=r"ores\.attach\(frame, orthanc\)"):
        merged.orthanc.series()
    bound: Any = ores.attach(merged, cohort)
    assert set(bound.orthanc.series()["ParentStudy"]) == set(studies.index)
    assert set(bound.orthanc.patients().index) == set(studies["ParentPatient"])


def test_a_frame_of_another_origin_has_no_such_attribute() -> None:
    frame: Any = pd.DataFrame({"ID": ["x"]})
    assert not hasattr(frame, "orthanc")
    frame.attrs["orthanc"] = "something else"
    assert not hasattr(frame, "orthanc")
    with pytest.raises(AttributeError, match="not bound to an Orthanc"):
        frame.orthanc.studies()


VERB_CALLS: dict[str, Callable[[Any, Path], Any]] = {
    "patients": lambda verbs, out: verbs.patients(),
    "studies": lambda verbs, out: verbs.studies(),
    "series": lambda verbs, out: verbs.series(),
    "instances": lambda verbs, out: verbs.instances(),
    "tags": lambda verbs, out: verbs.tags(["Rows"]),
    "montage": lambda verbs, out: verbs.montage(),
    "download": lambda verbs, out: verbs.download(out),
    "archive": lambda verbs, out: verbs.archive(out / "a.zip"),
    "send": lambda verbs, out: verbs.send(modality="PACS"),
    "export": lambda verbs, out: verbs.export(out),
    "anonymize": lambda verbs, out: verbs.anonymize(),
    "modify": lambda verbs, out: verbs.modify(remove=["StudyDescription"]),
    "label": lambda verbs, out: verbs.label(["a"]),
    "open": lambda verbs, out: verbs.open(),
}


def test_every_verb_has_its_row_in_these_tests() -> None:
    accessor: Any = pd.DataFrame.orthanc  # type: ignore[attr-defined]
    assert {name for name in vars(accessor) if not name.startswith("_")} == set(VERB_CALLS)


@pytest.mark.parametrize("verb", VERB_CALLS)
def test_a_frame_whose_client_is_gone_says_to_attach_it(connection: Connection, tmp_path: Path, verb: str) -> None:
    client = ores.Orthanc(connection.url, auth=connection.auth)
    frame: Any = client._ours(pd.DataFrame(index=pd.Index(["0" * 8 + "-00000000" * 4], name="ID")), "Study")
    client.close()
    del client
    gc.collect()
    assert hasattr(frame, "orthanc")
    assert repr(frame.orthanc) == f"<1 rows at {connection.url}>"
    with pytest.raises(errors.QueryError, match=r"is gone; .*ores\.attach\(frame, orthanc\)"):
        VERB_CALLS[verb](frame.orthanc, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", VERB_CALLS)
def test_what_a_remote_archive_has_is_refused_by_every_verb(cohort: ores.Orthanc, tmp_path: Path, verb: str) -> None:
    from orthanc_research.tables import plan_remote, remote_frame

    answers = [{"0020,000d": "1.2.3", "0010,0020": "A"}]
    remote: Any = cohort._ours(remote_frame(plan_remote("Study", {}, None, None), answers), "Study")
    with cohort.rest.counting() as requests, pytest.raises(errors.QueryError, match="retrieved first"):
        VERB_CALLS[verb](remote.orthanc, tmp_path / "out")
    assert requests == []
    assert list(tmp_path.iterdir()) == []


def test_a_frame_keeps_no_client_alive_and_two_clients_are_told_apart(cohort: ores.Orthanc) -> None:
    with ores.Orthanc(cohort.url, auth=cohort.rest.connection.auth) as other:
        theirs: Any = other.studies()
        ours: Any = cohort.studies()
        with cohort.rest.counting() as here, other.rest.counting() as there:
            theirs.orthanc.open()
            theirs.orthanc.series()
        assert here == []
        assert len(there) > 0
    del other
    gc.collect()
    with pytest.raises(errors.QueryError, match="is gone"):
        theirs.orthanc.series()
    assert len(ours.orthanc.series()) == 12
    rebound: Any = ores.attach(theirs, cohort)
    assert len(rebound.orthanc.series()) == 12


def test_a_closed_client_says_so(cohort: ores.Orthanc) -> None:
    with ores.Orthanc(cohort.url, auth=cohort.rest.connection.auth) as other:
        frame: Any = other.studies()
    with pytest.raises(errors.QueryError, match="closed"):
        frame.orthanc.series()


def test_an_unpickled_client_finds_frames_of_its_own(cohort: ores.Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORES_TEST_LOGIN", ":".join(cohort.rest.connection.basic_auth() or ("", "")))
    with ores.Orthanc(cohort.url, auth="env:ORES_TEST_LOGIN") as original:
        clone: ores.Orthanc = pickle.loads(pickle.dumps(original))
    with clone:
        studies: Any = clone.studies()
        assert len(studies.orthanc.series()) == 12


def test_a_local_orthanc_finds_frames_of_its_own(version: str) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with ores.LocalOrthanc(None if version == "any" else version) as local:
        stock(local, patients=1, studies=1, slices=3)
        studies: Any = local.studies()
        assert len(studies.orthanc.series()) == 2


_ELSEWHERE = """
import pickle, sys, orthanc_research as ores
frame = pickle.load(sys.stdin.buffer)
try:
    frame.orthanc.series()
except ores.QueryError as error:
    print(error)
"""


def test_a_frame_pickled_into_another_process_says_to_attach_it(cohort: ores.Orthanc) -> None:
    sent = pickle.dumps(cohort.studies())
    run = subprocess.run([sys.executable, "-c", _ELSEWHERE], input=sent, capture_output=True, check=True, timeout=120)
    assert b"ores.attach(frame, orthanc)" in run.stdout


def test_a_frame_from_parquet_is_attached_and_goes_on(cohort: ores.Orthanc, tmp_path: Path) -> None:
    studies = cohort.studies()
    ores.write_table(studies, tmp_path / "studies.parquet")
    read: Any = ores.attach(ores.read_parquet(tmp_path / "studies.parquet"), cohort)
    assert len(read.orthanc.series()) == 12


# -- the other verbs --------------------------------------------------------------------------------------------------


def test_tags_are_those_of_the_rows(cohort: ores.Orthanc) -> None:
    series: Any = cohort.series(Modality="MR").iloc[:2]
    found = series.orthanc.tags(["Rows", "SOPInstanceUID"])
    assert set(found["Rows"]) == {16}
    assert set(found.index) == set(cohort.find("Instance", within=series).index)
    assert len(series.orthanc.tags(per="Series", columns=["Rows"])) == 2


def test_download_export_anonymize_modify_and_label_act_on_the_rows(cohort: ores.Orthanc, tmp_path: Path) -> None:
    series: Any = cohort.series(Modality="MR").iloc[:2]
    instances = set(cohort.find("Instance", within=series).index)
    assert set(series.orthanc.download(tmp_path / "files", progress=False).index) == instances
    exported = series.orthanc.export(tmp_path / "npy", format="npy", progress=False)
    assert exported["status"].tolist() == ["done", "done"]
    assert exported.index.tolist() == series.index.tolist()
    copies = series.orthanc.anonymize(progress=False, journal=tmp_path / "journal")
    assert copies["status"].tolist() == ["done", "done"]
    assert copies.index.tolist() == series.index.tolist()
    changed = series.orthanc.modify({"SeriesDescription": "New"}, progress=False, journal=tmp_path / "modify")
    assert changed["status"].tolist() == ["done", "done"]
    assert changed.index.tolist() == series.index.tolist()
    if cohort.capabilities().has("labels"):
        assert series.orthanc.label(["a"], progress=False)["status"].tolist() == ["done", "done"]
        assert set(cohort.find("Series", labels=["a"]).index) == set(series.index)
    else:
        with pytest.raises(errors.UnsupportedError):
            series.orthanc.label(["a"], progress=False)


def test_a_montage_is_of_one_series(cohort: ores.Orthanc) -> None:
    series: Any = cohort.series(Modality="CT")
    figure = series.iloc[:1].orthanc.montage("rescaled", count=4)
    assert isinstance(figure, Figure)
    assert len([axis for axis in figure.axes if axis.get_images()]) == 4
    with pytest.raises(errors.QueryError, match="one series"):
        series.orthanc.montage()
    studies: Any = cohort.studies().iloc[:1]
    with pytest.raises(errors.QueryError, match="one series"):
        studies.orthanc.montage()


def test_open_names_the_pages_and_opens_none_unless_asked(
    cohort: ores.Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda page: opened.append(page))
    kinds: dict[Level, str] = {"Patient": "patient", "Study": "study", "Series": "series", "Instance": "instance"}
    for level, kind in kinds.items():
        frame: Any = cohort.find(level).iloc[:2]
        with cohort.rest.counting() as requests:
            pages = frame.orthanc.open()
        assert requests == []
        assert pages == [f"{cohort.url}/app/explorer.html#{kind}?uuid={identifier}" for identifier in frame.index]
    assert opened == []
    assert cohort.rest.get("/app/explorer.html").content
    assert frame.orthanc.open(browser=True) == opened == pages
    instances: Any = cohort.instances().iloc[:11]
    with pytest.raises(errors.QueryError, match="11 pages"):
        instances.orthanc.open(browser=True)
    assert len(opened) == 2


def test_no_page_holds_a_password(version: str) -> None:
    if version == "external":
        pytest.skip("needs a server of our own")
    with OrthancServer(None if version == "any" else version) as server:
        user, password = server.auth
        address = server.url.replace("://", f"://{user}:{password}@")
        with ores.Orthanc(address) as orthanc:
            stock(orthanc, patients=1, studies=1, slices=3)
            studies: Any = orthanc.studies()
            assert password
            assert password not in repr(studies.orthanc.open()) + repr(studies.orthanc)


def test_importing_the_package_registers_it_and_brings_no_plots() -> None:
    code = (
        "import sys, orthanc_research, pandas; "
        "print(hasattr(pandas.DataFrame, 'orthanc'), 'matplotlib' in sys.modules, 'webbrowser' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split()[:2] == ["True", "False"]
