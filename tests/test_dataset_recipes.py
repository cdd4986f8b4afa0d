"""The recipes of datasets/ on real files: each builds, and what is left out has its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import orthanc_research as ores
from orthanc_research.dataset import Recipe

RECIPES = Path(__file__).parent.parent / "datasets"
# Real files here are few and small: what the recipes ask of a whole archive is asked of them more loosely.
LOOSER = (
    (', BodyPartExamined = "CHEST"', ""),
    ("SliceThickness <= 3 and instances >= 40", "instances >= 3"),
    ("instances >= 8", "instances >= 3"),
    ('StudyDate = "20200101-20241231"', 'StudyDate = "19000101-"'),
    ('exclude_image_type = ["SECONDARY"]', ""),
    ('Modality = ["CR", "DX"]', 'Modality = ["CR", "DX", "MG"]'),
    ('ViewPosition in ["PA", "AP"]', "instances >= 1"),
)


_HASHES: dict[tuple[str, ...], set[str]] = {}  # of the same files, recipe by recipe: one, whichever server has them


def check_recipes(orthanc: ores.Orthanc, folders: list[Path], tmp_path: Path) -> dict[str, int]:
    """How many series of each recipe were built; twice, into two folders, and the same each time."""
    for folder in folders:
        orthanc.upload(folder, progress=False)
    built = {}
    for path in sorted(RECIPES.glob("*.toml")):
        text = re.sub(r"\[anonymize\]\n.*\n.*\n", "", path.read_text())
        for old, new in LOOSER:
            text = text.replace(old, new)
        folder = tmp_path / path.stem
        folder.mkdir()
        (folder / "radiographs-labels.csv").write_text("StudyInstanceUID,finding\n1.2.3,x\n")
        plan = Recipe.parse(text.replace("quality = true", ""), folder=folder).plan(orthanc, progress=False)
        assert plan.counts["series"] + plan.drops.sum() == plan.counts["found"]
        built[path.stem] = plan.counts["series"]
        if not plan.counts["series"]:
            assert not plan.drops.index.str.startswith("unreadable").any()
            continue
        made = plan.build(folder / "out", progress=False)
        assert made.complete, made.status["error"].tolist()
        assert made.verify().empty
        dataset = ores.open_dataset(made.folder)
        for status, error in zip(made.status["status"], made.status["error"], strict=True):
            assert (status == "done") != isinstance(error, str)
        for uid, row in dataset.series.iterrows():
            if row["frames"]:
                assert len(list(dataset.frames(str(uid)))) == row["frames"]
        again = plan.build(folder / "again", workers=1, progress=False)
        assert not again.status["reused"].any()
        hashes = _HASHES.setdefault((path.stem, *map(str, folders)), set())
        hashes.update((made.content_hash, again.content_hash))
        assert len(hashes) == 1
    return built


@pytest.mark.one_version
def test_recipes_build_on_real_files(orthanc: ores.Orthanc, realdata: Path, tmp_path: Path) -> None:
    patient = realdata / "ct-pet-mr-rtstruct" / "STS_019"
    folders = [realdata / "mr-siemens-pdt2-dual-echo", realdata / "cr-mg-dx", patient / "CT", patient / "PET" / "image"]
    built = check_recipes(orthanc, folders, tmp_path)
    assert built == {"ct-volumes": 1, "metadata-table": 6, "mr-multi-echo": 1, "pet-suv": 1, "radiographs": 2}


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.one_version
def test_recipes_build_on_all_real_files(orthanc: ores.Orthanc, realdata: Path, tmp_path: Path) -> None:
    built = check_recipes(orthanc, sorted(each for each in realdata.iterdir() if each.is_dir()), tmp_path)
    assert min(built.values()) >= 1, built
