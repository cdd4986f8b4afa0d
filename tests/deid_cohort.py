"""A canary cohort: two people, two studies each, two runs, every place where a name can stand; made from a seed alone.

`cohort()` gives the files and the ledger of what was planted in them. No value in it belongs to anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import deid_objects as objects
from deid_people import PEOPLE, Person
from deid_planting import Planted, Planter
from dicom_files import as_file
from pydicom import Dataset

__all__ = ["Cohort", "File", "cohort"]


@dataclass(frozen=True, slots=True)
class File:
    """One file: `run` is the run of the release that it comes with, `planted` what stands in it."""

    name: str
    content: bytes
    person: Person
    study: int
    run: int
    kind: str
    planted: tuple[Planted, ...]


@dataclass(frozen=True, slots=True)
class Cohort:
    files: tuple[File, ...]

    def of_run(self, run: int) -> list[File]:
        return [file for file in self.files if file.run == run]

    def of_kind(self, *kinds: str) -> list[File]:
        return [file for file in self.files if file.kind in kinds]


Maker = Callable[[Planter, int], Dataset]


def cohort(technical: Collection[str] = (), *, only: Collection[str] = ()) -> Cohort:
    """The cohort, or the kinds `only` of it. The keywords `technical` may keep their text: no person is put there.

    Run 1 is the first study of each; run 2, "a month later", the second, and objects that come late to the first.
    """
    return Cohort(tuple(_files(frozenset(technical), frozenset(only))))


def _files(technical: frozenset[str], only: frozenset[str]) -> Iterator[File]:
    for person in PEOPLE:
        for study in (1, 2):
            for kind, make, late in _kinds(person, study):
                if only and kind.split("-")[0] not in only:
                    continue
                for run in [study, *([2] if late and study == 1 else [])]:
                    # What comes late is another object of the same study.
                    name = f"p{person.number}-s{study}-r{run}-{kind}"
                    planter = Planter(name, person, technical)
                    dataset = make(planter, study)
                    yield File(name, as_file(dataset), person, study, run, kind.split("-")[0], tuple(planter.ledger))


def _kinds(person: Person, study: int) -> Iterator[tuple[str, Maker, bool]]:
    """(kind, who makes it, whether another one comes in the second run)."""
    for number in range(1, 4):
        yield f"ct-{number}", _numbered(objects.ct, number), False
    if study == 1:  # some thousand elements each: once for each person
        yield "everything", objects.everything, False
        yield "sequences", objects.sequences, False
    yield "private", objects.private, False
    yield "meta", objects.meta, False
    yield "overlays", objects.overlays, False
    yield "highbits", objects.high_bits, False
    yield "unknown", objects.unknown, False
    yield "typed", objects.typed, False
    yield "charset", objects.charset, False
    yield "jpeg", objects.jpeg, False
    yield "j2k", objects.j2k, False
    yield "jpegls", objects.jpegls, False
    yield "frames", objects.frames, False
    yield "tail", objects.tail, False
    yield "below", objects.below, False
    yield "several", objects.several, False
    yield "deflated", objects.deflated, False
    yield "sr", objects.sr, True
    yield "pdf", objects.pdf, False
    yield "rtstruct", objects.rtstruct, True
    yield "seg", objects.seg, False
    yield "pet", objects.pet, False
    yield "enhanced", objects.enhanced, False


def _numbered(make: Any, number: int) -> Maker:
    return lambda planter, study: make(planter, study, number)
