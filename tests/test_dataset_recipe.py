"""Recipes: what they hold, what they refuse and on which line, and what of them may be published."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_research.dataset import Recipe
from orthanc_research.errors import DatasetError

DATASETS = Path(__file__).parent.parent / "datasets"
RECIPE = """[dataset]
name = "chest-ct"
version = "1.0.0"
license = "CC-BY-4.0"
seed = "chest-ct-2026"
[[source]]                             # one or several Orthancs
url = "env:ORTHANC_URL"
auth = "env:ORTHANC_AUTH"
concurrency = 4
[query]
level = "Series"
match = { Modality = "CT", StudyDate = "20200101-20241231", BodyPartExamined = "CHEST" }
[filter]
expr = "SliceThickness <= 3 and instances >= 40"
exclude_image_type = ["LOCALIZER", "SECONDARY"]
geometry = { require = "volume", on_missing = "drop", on_shear = "drop", on_4d = "split" }
[anonymize]
project = "env:ORES_PROJECT"
profile = "research"
[arrays]
values = "stored"
also = ["nifti"]
[metadata]
keywords = ["PatientAge", "PatientSex", "KVP", "ConvolutionKernel"]
[labels]
table = "labels.csv"
on = "StudyInstanceUID"
[splits]
unit = "patient"
ratios = { train = 0.7, val = 0.15, test = 0.15 }
stratify = ["PatientSex", "label"]
lock = true
[outputs]
croissant = true
card = true
"""


def test_the_recipe_of_the_specification_is_read() -> None:
    recipe = Recipe.parse(RECIPE)
    assert recipe.query.match["StudyDate"] == "20200101-20241231"
    assert recipe.filter.expr is not None
    assert recipe.filter.expr.columns == ("SliceThickness", "instances")
    assert recipe.filter.geometry.reading("stored").on_4d == "split"
    assert recipe.filter.geometry.reading("stored").on_missing == "raise"
    assert recipe.anonymize.on
    assert recipe.labels is not None
    assert recipe.labels.on == "StudyInstanceUID"
    assert recipe.splits.ratios == {"train": 0.7, "val": 0.15, "test": 0.15}
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert "CHEST" not in repr(recipe) + repr(recipe.query) + repr(recipe.filter)


@pytest.mark.parametrize("path", sorted(DATASETS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_repository_are_read_and_written(path: Path) -> None:
    recipe = Recipe.load(path)
    assert recipe.dataset.name == path.stem
    assert recipe.dataset.seed
    assert Recipe.parse(recipe.to_toml()) == recipe
    assert Recipe.parse(recipe.to_toml(public=True)).hash == recipe.hash  # nothing had to be withheld
    assert recipe.sources[0].url == "env:ORTHANC_URL"
    assert "ORTHANC_URL" not in recipe.to_toml(public=True)


def test_there_are_five_of_them() -> None:
    assert len(list(DATASETS.glob("*.toml"))) >= 5


# what is changed in it, the line of the error, what it says
WRONG = [
    ('seed = "chest', 'sed = "chest', 5, "did you mean seed"),
    ("[splits]", "[splitz]", 28, "did you mean splits"),
    ('"1.0.0"', "1.0", 3, "text in quotes"),
    ('"1.0.0"', '"first"', 3, "a version"),
    ('name = "chest-ct"', 'name = "../x"', 2, "letters, digits"),
    ('name = "chest-ct"', "", 1, "it is missing"),
    ("concurrency = 4", "concurrency = 80", 9, "from 1 to 8"),
    ("concurrency = 4", "concurrency = true", 9, "whole number"),
    ("[[source]]", "[source]", 6, "two brackets"),
    ('level = "Series"', 'level = "Serie"', 11, "did you mean Series"),
    ('Modality = "CT"', 'Modalty = "CT"', 12, "did you mean Modality"),
    ('Modality = "CT"', "Modality = []", 12, "a number, or a list"),
    ('Modality = "CT"', 'SOPInstanceUID = "1.2"', 12, "SOPInstanceUID"),
    ('StudyDate = "20200101-20241231"', 'StudyDate = "20201301"', 12, "StudyDate"),
    ("SliceThickness <= 3", "SliceThicknes <= 3", 14, "did you mean SliceThickness"),
    ("SliceThickness <= 3", "__import__('os')", 14, "Character 11"),
    ('"volume"', '"volumes"', 16, "did you mean volume"),
    ('on_4d = "split"', 'on_5d = "split"', 16, "did you mean on_4d"),
    ('"volume"', '"none"', 16, 'require = "volume"'),
    ('project = "env:ORES_PROJECT"', 'project = "/home/x/deid"', 18, "references only"),
    ('project = "env:ORES_PROJECT"', "", 19, "needs the release project"),
    ('profile = "research"', "", 18, "no profile"),
    ('"stored"', '"hounsfield"', 21, "choose from stored"),
    ('"stored"', '"suv"', 21, "PET alone"),
    ('"stored"', '"none"', 22, "reads no pixels"),
    ('on_missing = "drop"', 'on_missing = "nan"', 21, "needs numbers with NaN"),
    ('["nifti"]', '["nii"]', 22, "choose from nifti"),
    ('"KVP"', '"KVPP"', 24, "did you mean KVP"),
    ('"KVP"', '"PixelData"', 24, "binary"),
    ('"KVP"', '"PatientAge"', 24, "twice"),
    ('"labels.csv"', '"../labels.csv"', 26, "a way out"),
    ('"labels.csv"', '"a/../../labels.csv"', 26, "a way out"),
    ('"labels.csv"', '"/etc/labels.csv"', 26, "a way out"),
    ('"labels.csv"', '"~/labels.csv"', 26, "a way out"),
    ('"labels.csv"', "'C:\\labels.csv'", 26, "a way out"),
    ('"labels.csv"', '"labels.py"', 26, ".csv or a .parquet"),
    ('on = "StudyInstanceUID"', 'on = "StudyDate"', 27, "choose from"),
    ('"patient"', '"study"', 29, "both sides"),
    ("train = 0.7", "train = 0.8", 30, "add up to 1"),
    ("train = 0.7", "train = 0", 30, "above 0"),
    ("lock = true", 'lock = "yes"', 32, "true or false"),
    ("croissant = true", "croissant = tru", 34, "not TOML"),
    ("croissant = true", "card = true", 35, "not TOML"),
    ("[query]", "[quest]", 1, "no [query]"),
]


@pytest.mark.parametrize(("old", "new", "line", "says"), WRONG)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, line: int, says: str) -> None:
    assert old in RECIPE
    with pytest.raises(DatasetError) as caught:
        Recipe.parse(RECIPE.replace(old, new, 1))
    assert re.match(rf"recipe\.toml:{line}: [^\n]*[.?]$", str(caught.value)), str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"env:ORTHANC_URL"', '"http://alice:s3cret@host"'),
        ('"env:ORTHANC_URL"', '"http://s3cret-host:8042"'),
        ('"env:ORTHANC_AUTH"', '"alice:s3cret"'),
        ('"env:ORTHANC_AUTH"', '"env:s3cret value"'),
        ('"env:ORES_PROJECT"', '"s3cret"'),
        ('"chest-ct-2026"', '"http://s3cret@host"'),
        ('["LOCALIZER", "SECONDARY"]', '["https://alice:s3cret@host/x"]'),
        ("concurrency = 4", 'password = "s3cret"'),
        ("concurrency = 4", '"s3cret:x y" = 1'),
        ("concurrency = 4", "concurrency = s3cret"),
    ],
)
def test_a_secret_is_refused_and_not_repeated(old: str, new: str) -> None:
    assert old in RECIPE
    with pytest.raises(DatasetError) as caught:
        Recipe.parse(RECIPE.replace(old, new, 1))
    assert "s3cret" not in str(caught.value)


def test_the_hash_is_of_what_is_meant() -> None:
    recipe = Recipe.parse(RECIPE)
    same = [
        RECIPE.replace("concurrency = 4", "concurrency = 1").replace("env:ORTHANC_URL", "env:OTHER"),
        RECIPE.replace('unit = "patient"', "# the unit is the patient").replace("lock = true", ""),
        RECIPE.replace("{ train = 0.7, val = 0.15, test = 0.15 }", "{ test = 0.15, val = 0.15, train = 0.7 }"),
    ]
    assert {Recipe.parse(text).hash for text in same} == {recipe.hash}
    for old, new in (("<= 3", "<= 2"), ('"CT"', '"MR"'), ("2026", "2027"), ("lock = true", "lock = false")):
        assert Recipe.parse(RECIPE.replace(old, new)).hash != recipe.hash


def test_what_is_published_leads_to_nobody_and_widens_nothing() -> None:
    text = RECIPE.replace(
        'BodyPartExamined = "CHEST"',
        'PatientID = "P-77", StudyInstanceUID = ["1.2.77", "1.2.78"], AccessionNumber="A77"',
    ).replace("SliceThickness <= 3", "PatientName != 'Doe77'")
    recipe = Recipe.parse(text)
    public = recipe.to_toml(public=True)
    assert "77" not in public.split("\n", 1)[1]  # the first line is a hash
    assert "78" not in public.split("\n", 1)[1]
    assert 'StudyDate = "20200101-20241231"' in public
    assert "# Withheld, because they may lead to a patient: PatientID, StudyInstanceUID, AccessionNumber" in public
    with pytest.raises(DatasetError):
        Recipe.parse(public)
    day = Recipe.parse(RECIPE.replace("20200101-20241231", "20200317"))
    assert "20200317" not in day.to_toml(public=True)
    assert "20200317" in day.to_toml()


@pytest.mark.parametrize("text", ["CT QUIXOTEZ", "CT 77123456", "CT 17.03.2021", "*Quixotez*"])
def test_descriptions_are_published_in_words_that_are_nobodys_name(text: str) -> None:
    asked = f'StudyDescription = "{text}", SeriesDescription = "T1 MPRAGE*"'
    recipe = Recipe.parse(RECIPE.replace('BodyPartExamined = "CHEST"', asked))
    assert recipe.withheld == ("StudyDescription",)
    assert text not in recipe.to_toml(public=True)
    assert 'SeriesDescription = "T1 MPRAGE*"' in recipe.to_toml(public=True)
    for said in (f"ProtocolName contains '{text}'", f"not (Rows < 9 or ProtocolName in ['CT', '{text}'])"):
        recipe = Recipe.parse(RECIPE.replace("SliceThickness <= 3", said))
        assert recipe.withheld == ("ProtocolName",)
        assert text not in recipe.to_toml(public=True)
    assert not Recipe.parse(RECIPE.replace("SliceThickness <= 3", "ProtocolName contains 'scout'")).withheld


@pytest.mark.parametrize(
    "before",
    ['# """', "# '''", 'description = \'a """ b\'', 'description = "a\u2028b\u0085c"', 'license = "\\""'],
)
def test_what_looks_like_a_text_of_several_lines_moves_no_line(before: str) -> None:
    text = f'[dataset]\nname = "a"\n{before}\n[query]\nmatch = {{ Modality = "CT" }}\n[splits]\nlock = 3\n'
    with pytest.raises(DatasetError, match=r"^recipe\.toml:7: splits\.lock"):
        Recipe.parse(text)


def test_series_are_left_out_with_a_reason() -> None:
    series = pd.DataFrame(
        {
            "ImageType": [
                "ORIGINAL\\PRIMARY\\AXIAL",
                "ORIGINAL\\PRIMARY\\localizer",
                None,
                "ORIGINAL",
                "X\\SECONDARYISH",
            ],
            "SliceThickness": [1.0, 1.0, 2.0, None, 9.0],
            "instances": [50, 50, 50, 50, 50],
        }
    )
    filtering = Recipe.parse(RECIPE).filter
    assert set(filtering.columns) == set(series.columns)
    assert filtering.reasons(series).tolist() == [
        "",
        "image type LOCALIZER",
        "",
        "filter: SliceThickness missing",
        "filter: not met",
    ]


def test_labels_stay_in_the_folder_of_the_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "chest.toml").write_text(RECIPE)
    recipe = Recipe.load(folder / "chest.toml")
    with pytest.raises(DatasetError, match="no such file"):
        recipe.labels_file()
    (tmp_path / "labels.csv").write_text("StudyInstanceUID,label\n1.2,1\n")
    (folder / "labels.csv").symlink_to(tmp_path / "labels.csv")
    with pytest.raises(DatasetError, match="leads out"):
        recipe.labels_file()
    (folder / "labels.csv").unlink()
    (folder / "labels.csv").write_text("StudyInstanceUID,label\n1.2,1\n")
    assert recipe.labels_file() == (folder / "labels.csv").resolve()
    with pytest.raises(DatasetError, match="say in which folder"):
        Recipe.parse(RECIPE).labels_file()


def test_a_file_that_is_no_recipe_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.toml: it cannot be read \(No such file"):
        Recipe.load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="no UTF-8"):
        Recipe.load(tmp_path / "bytes.toml")
    (tmp_path / "large.toml").write_text("#" * 300_000)
    with pytest.raises(DatasetError, match="too large"):
        Recipe.load(tmp_path / "large.toml")
    with pytest.raises(DatasetError, match=r"recipe\.toml:1"):
        Recipe.parse("x = " + "[" * 5000)
    (tmp_path / "bom.toml").write_text("\ufeff" + RECIPE)
    assert Recipe.load(tmp_path / "bom.toml") == Recipe.parse(RECIPE)


@given(st.text(max_size=60))
def test_any_text_of_a_person_survives_writing(text: str) -> None:
    line = text.encode("utf-8", "ignore").decode().strip()
    line = "".join(each for each in line if ord(each) >= 32 and ord(each) != 127)
    recipe = Recipe.parse(RECIPE)
    if line and "://" not in line:
        written = recipe.to_toml().replace('"chest-ct-2026"', json.dumps(line, ensure_ascii=False))
        assert Recipe.parse(Recipe.parse(written).to_toml()).dataset.seed == line
