"""What things look like in a notebook: cards that say what is known, ask nobody, and hold no markup of others."""

from __future__ import annotations

import base64
import io
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from release_cases import PROFILE, project
from volume_cases import volume_of

import orthanc_research as ores
from orthanc_research import cards
from orthanc_research.dataset import Recipe
from orthanc_research.pixels import Volume, Window, closest_axes, letters, stacks_of
from orthanc_research.rest import Job

HOSTILE = "<img src=x onerror=alert(1)>&\"'\u202e\n"
SMALL = """
[dataset]
name = "small"
[query]
match = { Modality = ["CT"] }
"""
TAGS = {"div", "strong", "table", "tr", "th", "td", "ul", "li", "img"}


class Card(HTMLParser):
    """A card as a reader gets it: its text, its facts by name, its pictures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said: list[tuple[str, str]] = []
        self.sources: list[str] = []
        self.bar: str | None = None
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag in TAGS, tag
        assert not [name for name in given if name.startswith("on")]
        self.bar = given.get("aria-valuenow") or self.bar
        if tag == "img":
            self.sources.append(given["src"] or "")
            assert given["alt"]
        else:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append((self.open[-1], data))

    @property
    def text(self) -> str:
        return " ".join(data for _, data in self.said)

    @property
    def facts(self) -> dict[str, str]:
        names = [(place, data) for place, data in self.said if place in ("th", "td")]
        return {one[1]: two[1] for one, two in itertools.pairwise(names) if (one[0], two[0]) == ("th", "td")}

    def picture(self) -> np.ndarray:
        (source,) = self.sources
        assert source.startswith("data:image/png;base64,")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def card_of(thing: Any) -> Card:
    return Card(thing._repr_html_())


def test_whatever_a_card_is_given_is_text() -> None:
    made = Card(
        cards.card(
            "x",
            HOSTILE,
            [(HOSTILE, HOSTILE), ("empty", "")],
            parts=[cards.bar(50), cards.tally({HOSTILE: [1200]}, [HOSTILE]), cards.image(np.eye(3), HOSTILE)],
            notes=[HOSTILE] * 20,
        )
    )
    shown = HOSTILE.replace("\u202e", "\\u202e").replace("\n", "\\u000a")
    assert made.text.count(shown) == 1 + 2 + 2 + 8
    assert "and 12 more" in made.text
    assert "empty" not in made.text
    assert "1,200" in made.text


@pytest.mark.parametrize(("percent", "width"), [(-5, "0"), (0, "0"), (41.6, "42"), (1e9, "100")])
def test_a_bar_is_as_long_as_it_can_be(percent: float, width: str) -> None:
    assert Card(cards.bar(percent)).bar == width


def test_pixels_that_are_not_square_are_drawn_as_they_are() -> None:
    for aspect, size in ((1.0, (10, 20)), (2.0, (192, 192)), (0.5, (192, 48)), (40.0, (10, 192))):
        made = Image.open(io.BytesIO(cards.png(np.zeros((10, 20), np.uint8), aspect=aspect)))
        assert made.size == ((20, 10) if aspect == 1.0 else size)
    assert Image.open(io.BytesIO(cards.png(np.zeros((1000, 500), np.uint8)))).size == (96, 192)


# -- directions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "said"),
    [
        ((1, 0, 0), "L"), ((-2, 0, 0), "R"), ((0, 3, 0), "P"), ((0, -1, 0), "A"), ((0, 0, 0.1), "H"), ((0, 0, -1), "F"),
        ((1, 0.3, 0), "L"), ((1, 0.5, 0), "LP"), ((0.5, -1, 0), "AL"), ((1, 1, 1), "LPH"), ((-1, 0, 0.9), "RH"),
        ((0, 0, 0), ""), ((float("nan"), 0, 0), ""),
    ],
)  # fmt: skip
def test_letters_say_where_a_direction_points(direction: tuple[float, float, float], said: str) -> None:
    assert letters(direction) == said


def test_each_axis_of_the_array_is_one_of_the_patients() -> None:
    axial = np.eye(4)
    axial[:3, :3] = np.array([[0, 0, 0.7], [0, 0.9, 0], [3, 0, 0]])
    assert closest_axes(axial) == ((2, 1, 0), (False, False, False))
    sagittal = np.eye(4)
    sagittal[:3, :3] = np.array([[-3, 0, 0], [0, 0, 0.9], [0, -0.7, 0]])  # slices to R, rows to F, columns to P
    assert closest_axes(sagittal) == ((0, 2, 1), (True, False, True))
    generator = np.random.default_rng(7)
    for _ in range(200):
        affine = np.eye(4)
        affine[:3, :3] = np.linalg.qr(generator.normal(size=(3, 3)))[0] * generator.uniform(0.1, 9, 3)
        axes, back = closest_axes(affine)
        assert sorted(axes) == [0, 1, 2]
        for k in range(3):
            assert (affine[k, axes[k]] < 0) == back[k]


# -- volumes and stacks -----------------------------------------------------------------------------------------------


def test_a_volume_shows_its_middle_slice_its_size_and_where_it_points() -> None:
    volume = replace(volume_of(size=(5, 20, 40)), inverted=False, window=Window(100, 200, function="LINEAR_EXACT"))
    made = card_of(volume)
    assert made.facts["shape"] == "5 x 20 x 40 int16 (slice, row, column)"
    assert made.facts["spacing"] == "3.5 x 0.9 x 0.7 mm"
    assert made.facts["values"] == "rescaled, HU"
    assert made.facts["verdict"] == "one volume, with 1 remark"
    assert "Before." in made.text
    rows, columns = (letters(volume.affine[:3, k]) for k in (1, 2))
    assert f"rows to {rows}, columns to {columns}" in made.facts["orientation"]
    picture = made.picture()
    assert picture.shape == (round(192 * 20 * 0.9 / (40 * 0.7)), 192)  # in mm
    assert not [uid for uid in (*volume.sop_uids, volume.series_uid) if uid in volume._repr_html_()]


def test_the_slice_is_drawn_by_its_window_or_by_its_own_values() -> None:
    array = np.zeros((3, 8, 8), np.float32)
    array[1, :, 4:] = 100
    array[1, 0, 0] = np.nan
    plain = replace(volume_of(size=(3, 8, 8)), array=array, spacing=(1.0, 1.0, 1.0), inverted=False)
    assert card_of(plain).picture()[4].tolist() == [0] * 4 + [255] * 4
    assert card_of(replace(plain, inverted=True)).picture()[4].tolist() == [255] * 4 + [0] * 4
    wide = replace(plain, window=Window(100, 200, function="LINEAR_EXACT"))
    assert card_of(wide).picture()[4].tolist() == [0] * 4 + [128] * 4
    assert card_of(replace(wide, values="stored")).picture()[4].tolist() == [0] * 4 + [255] * 4
    assert card_of(replace(plain, window=Window(0, 0))).picture()[4].tolist() == [0] * 4 + [255] * 4


@pytest.mark.parametrize(("dtype", "extra", "samples"), [("u1", 0, 3), ("u2", 0, 3), ("f4", 2, 0), ("?", 0, 0)])
def test_every_kind_of_volume_has_a_card(dtype: str, extra: int, samples: int) -> None:
    volume = volume_of(dtype, extra=extra, samples=samples)
    volume = replace(volume, axes={"echo_time": (1.0, 2.0)} if extra else {})
    made = card_of(volume)
    assert made.picture().shape[2:] == ((3,) if samples else ())
    assert ("echo time" in made.text) == bool(extra)


def test_missing_values_are_black_and_an_empty_volume_has_no_picture() -> None:
    assert not card_of(replace(volume_of("f4"), array=np.full((4, 5, 6), np.nan), inverted=False)).picture().any()
    assert not card_of(replace(volume_of(), array=np.zeros((0, 5, 6)))).sources


def test_a_stack_gives_its_verdict_and_why() -> None:
    datasets = [each for each in ores.samples.cohort(patients=1, studies=1, size=16, slices=8) if each.Modality == "CT"]
    good = card_of(stacks_of(datasets)[0])
    assert good.facts["verdict"] == "ok: one volume"
    assert good.facts["orientation"] == "slices to H, rows to P, columns to L"
    assert good.facts["files"] == str(len(datasets))
    (gap,) = stacks_of([each for k, each in enumerate(datasets) if k != 3])
    assert card_of(gap).facts["verdict"] == f"missing-slices: {gap.reason}"
    alone = stacks_of(datasets[:1])
    assert card_of(alone[0]).facts["verdict"].startswith("too-few-slices")


# -- what a server said -----------------------------------------------------------------------------------------------


def test_a_job_shows_a_bar_and_only_what_may_be_shown() -> None:
    job = Job(
        "1234", HOSTILE, "Running", 41, error_details="DOE^JOHN", content={"Description": "DOE^JOHN"}, runtime=3.2
    )
    made = card_of(job)
    assert made.bar == "41"
    assert made.facts["ran"] == "3.2 s"
    assert "DOE" not in made.text + repr(job)
    done = card_of(replace(job, state="Success", progress=97))
    assert (done.bar, done.facts["state"]) == ("100", "Success")
    failed = card_of(replace(job, state="Failure", error_code=37, error_description="Canceled job"))
    assert failed.facts["state"] == "Cancelled"
    assert "Canceled job" in failed.text
    lost = card_of(replace(job, state="Forgotten"))
    assert lost.bar is None
    assert "no longer knows" in lost.text


def test_a_server_that_nobody_asked_has_a_card_without_its_password() -> None:
    with ores.Orthanc("http://localhost:1", auth=("alice", "s3cret"), headers={"X-Key": "s3cret"}) as orthanc:
        made = card_of(orthanc)  # nothing listens there: a request would fail
        assert "has not been asked" in made.text
        assert made.facts["address"] == "http://localhost:1"
        assert "s3cret" not in orthanc._repr_html_()
        assert "alice" not in orthanc._repr_html_()


def test_a_servers_own_words_are_text() -> None:
    from orthanc_research.capabilities import Capabilities

    with ores.Orthanc("http://localhost:1") as orthanc:
        orthanc.rest._client._capabilities = Capabilities("1.2", name=HOSTILE, aet=HOSTILE, database=HOSTILE)
        assert card_of(orthanc).facts["name"].startswith("<img src=x")


@pytest.mark.one_version
def test_no_card_asks_the_server_or_names_a_patient(cohort: ores.Orthanc, tmp_path: Path) -> None:
    job = cohort.job(cohort.rest.tools.create_archive_job([cohort.studies().index[0]])["ID"]).wait()
    planned = Recipe.parse(SMALL).plan(cohort, progress=False)
    built = planned.build(tmp_path / "out", progress=False)
    ours = project(tmp_path)
    plan = ours.plan(cohort, cohort.studies().index[:2], profile=PROFILE, target=tmp_path / "release", progress=False)
    run = plan.run(workers=1, progress=False)
    series = cohort.series(Modality="CT")
    stack, volume = cohort.stacks(series.index[0])[0], cohort.volume(series.index[0])
    private = {str(value) for name in ("PatientID", "PatientName") for value in cohort.patients()[name]}
    private |= {f"{date:{form}}" for date in cohort.studies()["StudyDate"].dropna() for form in ("%Y-%m-%d", "%Y%m%d")}
    with cohort.rest.counting() as requests:
        made = [card_of(each) for each in (cohort, job, planned, built, ours, plan, run, stack, volume)]
    assert not requests
    assert not [text for each in made for text in private if text in each.text]
    assert made[0].facts["version"] == cohort.capabilities().version
    assert made[1].bar == "100"
    assert made[2].facts["series"].startswith(f"{planned.counts['series']} of")
    assert made[3].facts["complete"] == "yes"
    assert made[3].facts["content hash"] == built.content_hash
    assert made[4].facts["key"] == ours.key_id
    assert made[5].facts["patients"] == str(plan.frame["PatientID"].nunique())
    assert made[6].bar == "100"
    row = [data for place, data in made[6].said if place == "td"]
    assert row == ["done", str(len(run.frame)), *[str(run.frame["instances"].sum())] * 2]


def test_a_plan_says_what_is_kept_back_and_why(tmp_path: Path) -> None:
    ores.samples.cohort(tmp_path / "in", patients=1, studies=1, slices=3, size=16)
    (tmp_path / "in" / "DOE_JOHN.dcm").write_text("DOE^JOHN")
    plan = project(tmp_path).plan(tmp_path / "in", profile=PROFILE, target=tmp_path / "out", progress=False)
    made = card_of(plan)
    (reason,) = plan.problems["problem"]
    assert f"1 kept back: {reason}" in made.text
    assert "DOE" not in made.text
    assert made.facts["notice: face"] == f"{(plan.frame['notice'] == 'face').sum()} series"


def test_frames_are_pandas_own_and_show_tags_as_text() -> None:
    html = pd.DataFrame({"PatientName": ["<img src=x onerror=alert(1)>"]})._repr_html_()  # type: ignore[operator]
    assert not re.search(r"<img", html)


def test_the_card_of_a_whole_volume_is_small() -> None:
    volume: Volume = volume_of(size=(2, 512, 512))
    assert len(volume._repr_html_()) < 120_000
