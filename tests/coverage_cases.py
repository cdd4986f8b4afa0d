"""Each route of the 2019 document as a call of ours: what it is given, what must come back, what bad input gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pydicom

import orthanc_research as ores
from orthanc_research import errors

UNKNOWN = "-".join(["00000000"] * 5)
PNG, JPEG, ZIP = b"\x89PNG", b"\xff\xd8", b"PK"


@dataclass
class World:
    """Two servers that know each other, and something to work on."""

    here: ores.LocalOrthanc
    there: ores.LocalOrthanc
    files: list[pydicom.Dataset] = field(default_factory=list)

    def fresh(self) -> dict[str, str]:
        """A new copy of a small CT and MR study here: {"patient", "study", "series", "other", "instance"}."""
        seed = self.here.rest.tools.generate_uid("Study")
        data = ores.samples.cohort(patients=1, studies=1, slices=3, size=16, seed=seed)
        ledger = self.here.upload(data, progress=False)
        series = list(dict.fromkeys(ledger["ParentSeries"]))
        first = ledger.iloc[0]
        return {
            "patient": first["ParentPatient"],
            "study": first["ParentStudy"],
            "series": series[0],
            "other": series[1],
            "instance": first["ID"],
        }

    @cached_property
    def it(self) -> dict[str, str]:
        """A study that stays."""
        return self.fresh()

    @cached_property
    def pdf(self) -> str:
        """An instance with a PDF in it."""
        made = self.here.rest.tools.create_dicom({"PatientName": "PDF", "Modality": "OT"}, b"%PDF-1.4 short")
        return str(made["ID"])

    def query(self) -> str:
        """A C-FIND with answers."""
        return self.here.rest.modalities.query("THERE", "Study", {"StudyInstanceUID": "", "PatientID": ""})

    def job(self) -> str:
        """A finished job."""
        job = self.here.rest.tools.bulk_anonymize([self.it["study"]])["ID"]
        self.here.rest.jobs.read(job).wait()
        return str(job)

    def archive_job(self) -> str:
        """A finished archive job."""
        job = self.here.rest.tools.create_archive_job([self.it["study"]])["ID"]
        self.here.rest.jobs.read(job).wait()
        return str(job)


Arguments = Callable[[World], tuple[tuple[Any, ...], dict[str, Any]]]


@dataclass(frozen=True)
class Case:
    """One call: its name on `rest`, what it is given, whether the answer is right, what bad input gets."""

    name: str
    given: Arguments
    right: Callable[[Any, World], bool]
    bad: tuple[tuple[Arguments, type[errors.Error]], ...] = ()


def args(*values: Any, **named: Any) -> Arguments:
    """Arguments; functions of the world are called with it."""

    def build(world: World) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (
            tuple(value(world) if callable(value) else value for value in values),
            {name: value(world) if callable(value) else value for name, value in named.items()},
        )

    return build


def it(name: str) -> Callable[[World], str]:
    return lambda world: world.it[name]


def new(name: str) -> Callable[[World], str]:
    return lambda world: world.fresh()[name]


def has(*keys: str) -> Callable[[Any, World], bool]:
    return lambda answer, world: all(key in answer for key in keys)


def starts(magic: bytes) -> Callable[[Any, World], bool]:
    return lambda answer, world: answer[: len(magic)] == magic


def dicom(answer: bytes, world: World) -> bool:
    return answer[128:132] == b"DICM"


def a_list(answer: Any, world: World) -> bool:
    return isinstance(answer, list) and len(answer) > 0


def anything(answer: Any, world: World) -> bool:
    return True


NOT_FOUND = (args(UNKNOWN), errors.NotFoundError)


def _level(name: str, plural: str) -> dict[int, Case]:
    """List, read and delete at one level: rows 2-4, 13-15, 17-19, 22-24."""
    first = {"instances": 2, "series": 13, "studies": 17, "patients": 22}[plural]
    return {
        first: Case(
            f"{plural}.list",
            args(since=0, limit=2),
            lambda answer, world: 0 < len(answer) <= 2,
            ((args(limit=0), errors.QueryError), (args(since=1), errors.QueryError)),
        ),
        first + 1: Case(f"{plural}.read", args(it(name)), has("ID", "MainDicomTags", "Type"), (NOT_FOUND,)),
        first + 2: Case(f"{plural}.delete", args(new(name)), has("RemainingAncestor"), (NOT_FOUND,)),
    }


def _children(first: int, plural: str, name: str, levels: tuple[str, ...]) -> dict[int, Case]:
    return {
        first + number: Case(
            f"{plural}.children", args(it(name), level), a_list, ((args(UNKNOWN, level), errors.NotFoundError),)
        )
        for number, level in enumerate(levels)
    }


def _copies(row: int, plural: str, name: str, verb: str, **options: Any) -> Case:
    wrong: type[errors.Error] = errors.OrthancError  # 404 or 400, by version
    return Case(
        f"{plural}.{verb}",
        args(it(name), **options),
        has("ID", "Path"),
        (
            (args(UNKNOWN, **options), wrong),
            (args(it(name), **{**options, "replace": {"NoSuchTag": "x"}}), errors.Error),
        ),
    )


def _about(row: int, verb: str, right: Callable[[Any, World], bool], *more: Any) -> Case:
    return Case(
        f"queries.{verb}",
        args(lambda world: world.query(), *more),
        right,
        ((args(UNKNOWN[:36], *more), errors.NotFoundError),),
    )


FORCE = {"replace": {"StudyDescription": "changed"}, "force": True}
CASES: dict[int, Case] = {
    1: Case(
        "instances.upload",
        args(lambda world: world.files[0]),
        has("ID", "ParentStudy", "Status"),
        ((args(b"not DICOM"), errors.ServerError), (args(b""), errors.Error)),
    ),
    **_level("instance", "instances"),
    5: Case("instances.simplified_tags", args(it("instance")), has("PatientName", "Modality"), (NOT_FOUND,)),
    6: Case("instances.tags", args(it("instance"), form="full"), has("0010,0010"), (NOT_FOUND,)),
    7: Case("instances.header", args(it("instance")), has("0002,0010"), (NOT_FOUND,)),
    8: Case(
        "instances.content",
        args(it("instance"), "PatientID"),
        lambda answer, world: len(answer) > 3,
        (
            (args(it("instance"), "NoSuchTag"), errors.Error),
            (args(it("instance"), "ImageComments"), errors.NotFoundError),
        ),
    ),
    9: Case("instances.file", args(it("instance")), dicom, (NOT_FOUND,)),
    10: Case(
        "instances.preview",
        args(it("instance")),
        starts(PNG),
        (NOT_FOUND, (args(it("instance"), "bmp"), errors.QueryError)),
    ),
    11: Case(
        "instances.image",
        args(it("instance"), "image-uint16"),
        starts(PNG),
        (
            (args(UNKNOWN, "image-uint8"), errors.NotFoundError),
            (args(it("instance"), "image-float"), errors.QueryError),
        ),
    ),
    12: Case(
        "instances.pdf",
        args(lambda world: world.pdf),
        starts(b"%PDF"),
        (NOT_FOUND, (args(it("instance")), errors.NotFoundError)),
    ),
    **_level("series", "series"),
    **_children(16, "series", "series", ("Instance",)),
    **_level("study", "studies"),
    **_children(20, "studies", "study", ("Series", "Instance")),
    **_level("patient", "patients"),
    **_children(25, "patients", "patient", ("Study", "Series", "Instance")),
    28: Case(
        "peers.list", args(), lambda answer, world: "there" in answer and world.there.server.auth[1] not in str(answer)
    ),
    29: Case("peers.put", args("more", "http://127.0.0.1:1"), anything, ((args("more", "nonsense"), errors.Error),)),
    30: Case(
        "peers.store",
        args("there", lambda world: [world.it["instance"]], synchronous=True),
        lambda answer, world: answer["FailedInstancesCount"] == 0,
        (
            (args("nobody", lambda world: [world.it["instance"]], synchronous=True), errors.NotFoundError),
            (args("down", lambda world: [world.it["instance"]], synchronous=True), errors.ModalityError),
        ),
    ),
    31: Case(
        "modalities.store",
        args("THERE", lambda world: [world.it["series"]]),
        lambda answer, world: answer["InstancesCount"] > 0,
        (
            (args("nobody", lambda world: [world.it["series"]]), errors.NotFoundError),
            (args("down", lambda world: [world.it["series"]]), errors.ModalityError),
            (args("THERE", [UNKNOWN]), errors.OrthancError),
        ),
    ),
    32: Case(
        "modalities.query",
        args("THERE", "Study", {"PatientID": ""}),
        lambda answer, world: len(answer) == 36,
        (
            (args("THERE", "Planet", {}), errors.QueryError),
            (args("THERE", "Study", {"NoSuchTag": ""}), errors.Error),
            (args("nobody", "Study", {}), errors.NotFoundError),
        ),
    ),
    33: _about(33, "level", lambda answer, world: answer == "Study"),
    34: _about(34, "modality", lambda answer, world: answer == "THERE"),
    35: _about(35, "query", has("0020,000d")),
    36: _about(36, "answers", a_list),
    37: _about(37, "content", has("0020,000d"), 0),
    38: Case(
        "queries.retrieve",
        args(lambda world: world.query()),
        has("RemoteAet"),
        ((args(UNKNOWN[:36]), errors.NotFoundError),),
    ),
    39: _about(39, "retrieve_answer", has("RemoteAet"), 0),
    40: Case(
        "tools.find",
        args({"Level": "Study", "Query": {"PatientID": "*"}, "Expand": True, "Limit": 3}),
        a_list,
        (
            (args({"Level": "Planet", "Query": {}}), errors.QueryError),
            (args({"Level": "Study", "Query": {"NoSuchTag": "x"}}), errors.ServerError),
            (args({"Level": "Study", "Query": {"PatientID": ["x"]}}), errors.Error),
        ),
    ),
    41: Case("changes.read", args(0, 10), has("Changes", "Done", "Last"), ((args(0, 0), errors.QueryError),)),
    42: Case("changes.clear", args(), anything),
    43: Case("exports.read", args(), has("Exports", "Done", "Last")),
    44: Case("exports.clear", args(), anything),
    45: Case(
        "instances.anonymize",
        args(it("instance")),
        dicom,
        (NOT_FOUND, (args(it("instance"), dicom_version="1900"), errors.QueryError)),
    ),
    46: _copies(46, "patients", "patient", "anonymize"),
    47: _copies(47, "studies", "study", "anonymize"),
    48: _copies(48, "series", "series", "anonymize"),
    49: Case(
        "instances.modify", args(it("instance"), **FORCE), dicom, ((args(UNKNOWN, **FORCE), errors.NotFoundError),)
    ),
    50: _copies(50, "studies", "study", "modify", **FORCE),
    51: _copies(51, "series", "series", "modify", replace={"SeriesDescription": "changed"}),
    52: _copies(52, "patients", "patient", "modify", replace={"PatientID": "NEW-1", "PatientName": "NEW"}, force=True),
    53: Case(
        "studies.split",
        lambda world: (lambda f: ((f["study"],), {"series": [f["other"]], "synchronous": True}))(world.fresh()),
        has("TargetStudy"),
        (
            (args(UNKNOWN, series=[UNKNOWN]), errors.OrthancError),
            (args(it("study")), errors.QueryError),
        ),
    ),
    54: Case(
        "studies.merge",
        lambda world: ((world.fresh()["study"], [world.fresh()["series"]]), {"synchronous": True}),
        has("TargetStudy"),
        ((args(it("study"), [UNKNOWN]), errors.OrthancError), (args(it("study"), []), errors.QueryError)),
    ),
    55: Case("instances.frames", args(it("instance")), lambda answer, world: answer == [0], (NOT_FOUND,)),
    56: Case(
        "instances.frame_raw",
        args(it("instance"), 0),
        lambda answer, world: len(answer) == 2 * 16 * 16,
        ((args(UNKNOWN, 0), errors.NotFoundError), (args(it("instance"), 99), errors.OrthancError)),
    ),
    57: Case(
        "instances.preview",
        args(it("instance"), "jpeg", frame=0),
        starts(JPEG),
        ((args(UNKNOWN, frame=0), errors.NotFoundError),),
    ),
    58: Case("tools.lookup", args(lambda world: str(world.files[1].StudyInstanceUID)), a_list),
    59: Case(
        "tools.create_archive",
        args(lambda world: [world.it["study"]]),
        starts(ZIP),
        ((args([UNKNOWN]), errors.NotFoundError), (args([]), errors.QueryError)),
    ),
    60: Case("tools.default_encoding", args(), lambda answer, world: answer == "Latin1"),
    61: Case("tools.set_default_encoding", args("Latin1"), anything, ((args("Klingon"), errors.QueryError),)),
    62: Case("jobs.ids", args(), lambda answer, world: isinstance(answer, list)),
    63: Case(
        "jobs.read", args(lambda world: world.job()), lambda answer, world: answer.state == "Success", (NOT_FOUND,)
    ),
    64: Case("jobs.output", args(lambda world: world.archive_job()), starts(ZIP), (NOT_FOUND,)),
    65: Case("jobs.cancel", args(lambda world: world.job()), anything, ((args(UNKNOWN), errors.OrthancError),)),
    66: Case("jobs.pause", args(lambda world: world.job()), anything, ((args(UNKNOWN), errors.OrthancError),)),
    67: Case("jobs.resume", args(lambda world: world.job()), anything, ((args(UNKNOWN), errors.OrthancError),)),
    68: Case("jobs.resubmit", args(lambda world: world.job()), anything, ((args(UNKNOWN), errors.OrthancError),)),
    69: Case(
        "tools.create_dicom",
        args({"PatientName": "MADE", "Modality": "OT"}, b"%PDF-1.4 short"),
        has("ID", "ParentStudy"),
        ((args({"NoSuchTag": "x"}, b"%PDF-1.4"), errors.Error),),
    ),
    70: Case("tools.metrics_prometheus", args(), a_list),
    71: Case("tools.metrics", args(), lambda answer, world: answer is True),
    72: Case("tools.set_metrics", args(True), anything),
    73: Case("system.read", args(), has("Version", "ApiVersion")),
    74: Case("system.statistics", args(), has("CountInstances")),
    75: Case(
        "tools.execute_script",
        args("print(42)"),
        lambda answer, world: answer.strip() == "42",
        ((args("this is no Lua"), errors.ServerError),),
    ),
}

# Jobs that have ended cannot be resumed or sent again: Orthanc answers 400 without a word. Cancelling and pausing them
# it takes (200, and nothing happens); a job that works is the next test's.
REFUSED = {67: errors.ServerError, 68: errors.ServerError}
