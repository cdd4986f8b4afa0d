"""The routes that a verb's docstring names are those that it asks: each is called, and its requests are looked at."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import VERSIONS
from pydicom.uid import generate_uid
from surface import ROUTE, SURFACE

import orthanc_research as ores

pytestmark = pytest.mark.one_version
VERBS = {name: set(ROUTE.findall(inspect.getdoc(each) or "")) for name, each, _ in SURFACE}
NAMED = {name: routes for name, routes in VERBS.items() if re.match(r"(Orthanc|Modality)\.", name) and routes}


def calls(here: ores.LocalOrthanc, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each verb in the ways that its docstring speaks of; what takes something away comes last."""
    archive = here.modality(here.modalities().index[0])
    study, other = here.studies().index
    series = here.series(within=[study], Modality="CT")
    instance = here.instances(within=series).index[0]
    remote = archive.find("Study")
    wanted = pd.DataFrame({"StudyInstanceUID": remote.index[1:]})
    quiet: dict[str, Any] = {"progress": False}
    journal = folder / "journal.sqlite"
    yield "Orthanc.find", lambda: here.find("Study")
    yield "Orthanc.count", lambda: here.count("Study")
    yield (
        "Orthanc.tags",
        lambda: [
            here.tags(given, columns, **quiet)
            for given, columns in (
                (series, ["InstanceNumber"]),
                (list(series.index), ["InstanceNumber"]),
                (series, None),
            )
        ],
    )
    yield "Orthanc.lookup", lambda: here.lookup([instance, "4711"])
    yield "Orthanc.overview", here.overview
    yield "Orthanc.dicom", lambda: here.dicom(instance)
    yield "Orthanc.pixels", lambda: here.pixels(instance)
    yield "Orthanc.overlays", lambda: here.overlays(instance)
    yield "Orthanc.preview", lambda: here.preview(instance)
    yield "Orthanc.stacks", lambda: here.stacks(series)
    yield "Orthanc.volume", lambda: here.volume(series)
    yield "Orthanc.references", lambda: here.references(here.series(Modality="SR"))
    yield "Orthanc.download", lambda: here.download(series, folder / "files", **quiet)
    yield "Orthanc.archive", lambda: here.archive(series, folder / "files.zip", **quiet)
    yield "Orthanc.export", lambda: here.export(series, folder / "frames", **quiet)
    yield "Orthanc.upload", lambda: here.upload(here.dicom(instance), **quiet)
    yield "Orthanc.anonymize", lambda: here.anonymize([study], journal=journal, **quiet)
    yield "Orthanc.resume", lambda: here.resume(journal, **quiet)
    yield "Orthanc.modify", lambda: here.modify(series, {"StationName": "elsewhere"}, **quiet)
    yield "Orthanc.split", lambda: here.split(study, series, **quiet)
    yield "Orthanc.merge", lambda: here.merge(study, [other], allow_other_patients=True, **quiet)
    yield "Orthanc.label", lambda: (here.label(series, add=["a"]), here.label(series, remove=["a"]))
    yield "Orthanc.send", lambda: here.send(series, modality=archive.name, **quiet)
    yield "Orthanc.statistics", here.statistics
    yield "Orthanc.system", here.system
    yield "Orthanc.modalities", here.modalities
    yield "Orthanc.peers", here.peers
    yield "Orthanc.add_modality", lambda: here.add_modality("new", "NEW", "127.0.0.1", 104)
    yield "Orthanc.add_peer", lambda: here.add_peer("new", "http://127.0.0.1:9")
    yield "Orthanc.remove_modality", lambda: here.remove_modality("new")
    yield "Orthanc.remove_peer", lambda: here.remove_peer("new")
    yield "Orthanc.jobs", here.jobs
    yield "Orthanc.job", lambda: here.job(here.jobs().index[0])
    yield "Orthanc.changes", here.changes
    yield "Orthanc.watch", lambda: list(here.watch(since=0, idle=0.01))
    yield "Orthanc.export_log", here.export_log
    yield "Orthanc.metrics", here.metrics
    yield "Modality.echo", archive.echo
    yield "Modality.find", lambda: archive.find("Study")
    yield "Modality.here", lambda: archive.here(remote)
    yield "Modality.retrieve", lambda: archive.retrieve(remote.head(1), **quiet)
    yield "Orthanc.retrieve", lambda: here.retrieve(wanted, modality=archive.name, **quiet)
    yield "Orthanc.delete", lambda: here.delete(series, expect=1)


def asked(orthanc: ores.Orthanc, call: Callable[[], Any]) -> list[str]:
    """The routes that it asks, such as "GET /studies/0d496228-…"."""
    with orthanc.rest.counting() as sent:
        call()
    return [f"{method} /{target.partition('?')[0].lstrip('/')}" for method, target in sent]


def test_a_verb_asks_what_its_docstring_names(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if version != VERSIONS[-1]:
        pytest.skip("docstrings name the routes of the newest")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with ores.LocalOrthanc(version, dicom=True) as here, ores.LocalOrthanc(version, dicom=True) as there:
        here.introduce(there)
        files = ores.samples.cohort(patients=2, studies=1, slices=3, size=16)
        report = copy.deepcopy(files[0])
        report.Modality, report.SeriesInstanceUID, report.SOPInstanceUID = "SR", generate_uid(), generate_uid()
        here.upload([*files, report], progress=False)
        there.upload(ores.samples.cohort(patients=2, studies=1, slices=3, size=16, seed=1), progress=False)
        with ores.Orthanc(here.url, auth=here.rest.connection.basic_auth()) as fresh:  # the other knows it already
            called = {"Orthanc.capabilities": asked(fresh, fresh.capabilities)}
        called |= {name: asked(here, call) for name, call in calls(here, tmp_path)}
    assert called.keys() == NAMED.keys()
    missing = [
        f"{name}: {route}"
        for name, routes in NAMED.items()
        for route in routes
        if not any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), each) for each in called[name])
    ]
    assert not missing, "\n" + "\n".join(missing)
