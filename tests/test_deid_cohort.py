"""The canary cohort through our engine: full marks, nobody left in it; and the verifier finds what is put back."""

from __future__ import annotations

import functools
import operator
import re
from collections import Counter
from pathlib import Path

import dciodvfy
import pytest
from deid_cohort import Cohort, File, cohort
from deid_mutations import MUTATIONS
from deid_people import PEOPLE
from deid_score import ACTIONS, HARDER, Score, score
from pydicom.datadict import dictionary_VR, tag_for_keyword

from orthanc_research.deid._engine import deidentify
from orthanc_research.deid._key import Key
from orthanc_research.deid._profile import Profile
from orthanc_research.deid._pseudonyms import days_of, patient_id_of
from orthanc_research.deid._subject import Subject
from orthanc_research.deid._table import rows, technical
from orthanc_research.deid.check._examine import examine
from orthanc_research.deid.check._examined import Examined
from orthanc_research.deid.check._known import Known
from orthanc_research.deid.check._verdict import conclude
from orthanc_research.errors import DeidError

Outputs = dict[str, bytes]
PROFILE = Profile()


@pytest.fixture(scope="module")
def made() -> Cohort:
    return cohort({keyword for keyword, action in technical().items() if action == "keep"})


@pytest.fixture(scope="module")
def refusals() -> dict[str, str]:
    """Filled by `outputs`."""
    return {}


@pytest.fixture(scope="module")
def subjects() -> dict[int, Subject]:
    key = Key(bytes(range(32)))
    return {who.number: Subject(patient_id_of(key, who.id), days_of(key, who.id)) for who in PEOPLE}


@pytest.fixture(scope="module")
def outputs(made: Cohort, refusals: dict[str, str]) -> Outputs:
    """Each run with a key read anew, as a month later."""
    found: Outputs = {}
    for run in (1, 2):
        key = Key.parse(Key(bytes(range(32))).reveal())
        for file in made.of_run(run):
            subject = Subject(patient_id_of(key, file.person.id), days_of(key, file.person.id))
            try:
                found[file.name] = deidentify(file.content, PROFILE, key, subject).content
            except DeidError as error:
                refusals[file.name] = str(error)
    return found


@pytest.fixture(scope="module")
def marks(made: Cohort, outputs: Outputs) -> Score:
    return score([(file, outputs.get(file.name)) for file in made.files], technical())


def _told(found: Score, action: str) -> list[tuple[str, str, str]]:
    failed = Counter((check.file[9:], check.where, check.reason) for check in found.failures(action))
    return [each for each, _ in failed.most_common(20)]


@pytest.mark.parametrize("action", [*ACTIONS, *HARDER])
def test_ours_has_full_marks(marks: Score, action: str) -> None:
    assert not _told(marks, action)
    assert action == "kept_texts" or marks.of(action)[1]


def test_what_cannot_be_cleaned_is_refused_and_nothing_else(
    outputs: Outputs, refusals: dict[str, str], made: Cohort
) -> None:
    assert set(refusals) == {file.name for file in made.of_kind("pdf", "below")}
    for file in made.of_kind("pdf", "below"):
        assert not any(text in refusals[file.name] for text in file.person.texts())
    assert outputs


def test_the_scorer_gives_no_marks_for_doing_nothing(made: Cohort) -> None:
    found = score([(file, file.content) for file in made.of_kind("ct", "jpeg", "overlays", "highbits", "private")])
    for action in ("text_removed", "date_shifted", "uid_changed", "patid_consistent", "pixels_hidden", "own_values"):
        passed, asked = found.of(action)
        assert asked
        assert passed == 0, action
    assert found.of("tag_retained") == found.of("tag_retained")[1:] * 2
    assert found.of("pixels_retained") == found.of("pixels_retained")[1:] * 2


# Words in keywords of attributes that somebody types a name, a number, a place or a date into.
_TYPED = re.compile(
    r"Comment|Remark|Address|Phone|Telecom|Physician|Operator|Person|Author|Institution|Department|Serial"
    r"|Accession|Reason|History|Diagnos|Station(?!ary)|Author|Observer|Requesting|Referring|Patient(?!Position)|Email"
)


def test_what_may_keep_its_text_is_no_attribute_that_names_somebody() -> None:
    kept = {keyword for keyword, action in technical().items() if action == "keep"}
    texts = {keyword for keyword in kept if dictionary_VR(keyword) not in ("OB", "OW", "OF", "OD", "OL", "OV")}
    assert {dictionary_VR(keyword) for keyword in texts} <= {"CS", "LO", "SH", "OB or OW", "US or OW", "US or SS or OW"}
    written = {keyword for keyword in texts if dictionary_VR(keyword) != "CS"}  # a code string has defined terms
    assert not {keyword for keyword in written if _TYPED.search(keyword)}
    assert not {keyword for keyword in kept if tag_for_keyword(keyword) in rows()}  # the table's word stands


@pytest.fixture(scope="module")
def known(made: Cohort) -> dict[int, Known]:
    """What is known of each of the two, from all their files."""
    return {
        who.number: functools.reduce(
            operator.or_, (Known.of(file.content) for file in made.files if file.person == who)
        )
        for who in PEOPLE
    }


@pytest.fixture(scope="module")
def examined(
    made: Cohort, outputs: Outputs, known: dict[int, Known], subjects: dict[int, Subject]
) -> dict[str, Examined]:
    return {
        file.name: examine(
            file.content,
            outputs[file.name],
            known=known[file.person.number],
            profile=PROFILE,
            subject=subjects[file.person.number],
        )
        for file in made.files
        if file.name in outputs
    }


def test_the_verifier_passes_them_all(examined: dict[str, Examined]) -> None:
    failed = Counter(
        (name[9:], check.path.rpartition(".")[2], check.action, check.reason)
        for name, each in examined.items()
        for check in each.failures
    )
    assert not failed
    assert conclude(examined.values()).passed


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_verifier_finds_what_is_wrong(
    made: Cohort,
    outputs: Outputs,
    known: dict[int, Known],
    subjects: dict[int, Subject],
    examined: dict[str, Examined],
    name: str,
) -> None:
    mutation = MUTATIONS[name]
    missed = []
    for who in PEOPLE:
        file = next(each for each in made.of_kind(mutation.kind) if each.person == who)
        found = _examine(file, outputs[file.name], known, subjects)
        assert found.passed  # as it was, so that what is found is what was put there
        changed = mutation.of(file, outputs[file.name])
        found = _examine(file, changed, known, subjects)
        others = [each for other, each in examined.items() if other != file.name]
        if found.passed and conclude([*others, found]).passed:
            missed.append(file.name)
    assert not missed


def _examine(file: File, output: bytes, known: dict[int, Known], subjects: dict[int, Subject]) -> Examined:
    number = file.person.number
    return examine(file.content, output, known=known[number], profile=PROFILE, subject=subjects[number])


@pytest.fixture(scope="module")
def checker() -> Path:
    program, why = dciodvfy.find()
    if program is None:
        pytest.skip(why)
    return program


def test_no_output_has_a_kind_of_error_that_its_original_had_not(made: Cohort, outputs: Outputs, checker: Path) -> None:
    kinds = ("ct", "overlays", "highbits", "jpeg", "j2k", "sr", "rtstruct", "seg", "pet", "enhanced", "private")
    new, aborted = {}, []
    for file in made.of_kind(*kinds):
        if file.study == 1 and file.run == 1:
            try:
                new[file.name] = dciodvfy.error_classes(checker, outputs[file.name]) - dciodvfy.error_classes(
                    checker, file.content
                )
            except dciodvfy.Aborted as error:
                aborted.append(f"{file.name}: {error}")
    assert not {name: kinds for name, kinds in new.items() if kinds}
    assert not aborted


def test_real_outputs_have_no_kind_of_error_that_their_originals_had_not(realdata: Path, checker: Path) -> None:
    """One file of each folder, the smallest that the engine takes; the checker's own crashes are told."""
    key, new, aborted, taken = Key(bytes(range(32))), {}, set(), 0
    for folder in sorted(each for each in realdata.iterdir() if each.is_dir()):
        for path in sorted(folder.rglob("*"), key=lambda each: each.stat().st_size)[:12]:
            content = path.read_bytes() if path.is_file() else b""
            if content[128:132] != b"DICM":
                continue
            try:
                output = deidentify(content, PROFILE, key, Subject("CANARY0001", -1000)).content
            except DeidError:
                continue
            taken += 1
            try:
                before = dciodvfy.error_classes(checker, content)
            except dciodvfy.Aborted:
                break  # nothing can be held against it
            try:
                found = dciodvfy.error_classes(checker, output) - before
            except dciodvfy.Aborted as error:
                aborted.add(f"{path.relative_to(realdata)}: {error}")
            else:
                if found:
                    new[str(path.relative_to(realdata))] = found
            break
    assert taken > 20
    assert not new
    assert not aborted
