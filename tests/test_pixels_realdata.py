"""Real series against references that others made: dcm2niix, MIRP, and the repositories the data are from.

`docs/pixels.md` has a row for each reference. With ORTHANC_RESEARCH_WRITE_DOCS=1 its tables are written, otherwise
compared.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from pixel_references import (
    NOT_DICOM,
    REFERENCES,
    Reference,
    built,
    datasets_of,
    files_of,
    in_axes_of,
    outcome,
    rows,
)
from pydicom import Dataset

from orthanc_research.errors import Error, GeometryError, PixelError
from orthanc_research.pixels import (
    Stack,
    Volume,
    arrange,
    decode,
    frames_of,
    one_stack,
    read_dataset,
    references_of,
    stacks_of,
)

PAGE = Path(__file__).parent.parent / "docs" / "pixels.md"
MARK = "<!-- what follows is made by tests/test_pixels_realdata.py -->\n"
WITHOUT_REFERENCE = {"CT_mask.nii.gz", "MR_T1_mask.nii.gz", "PET_mask.nii.gz"}  # masks, not volumes


def stacks(realdata: Path, *parts: str) -> list[Stack]:
    return stacks_of(datasets_of(realdata.joinpath(*parts)))


def volume(realdata: Path, *parts: str, values: str = "stored") -> Volume:
    datasets = datasets_of(realdata.joinpath(*parts))
    return built(one_stack(stacks_of(datasets)), datasets, values)


# -- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
def test_a_volume_has_the_shape_values_and_affine_of_its_reference(realdata: Path, reference: Reference) -> None:
    found = outcome(reference, realdata)
    if reference.refused:
        assert found.verdict == reference.refused
        return
    assert found.same_shape
    assert found.equal, found.worst
    if reference.affine_within is not None:
        assert found.affine_error is not None
        assert found.affine_error <= reference.affine_within


def test_no_reference_is_left_out(realdata: Path) -> None:
    there = {
        f"{path.relative_to(realdata)}" for path in realdata.rglob("*.nii.gz") if path.name not in WITHOUT_REFERENCE
    }
    for path in realdata.rglob("reference.json"):
        there |= {f"{path.relative_to(realdata)}#{name}" for name in json.loads(path.read_text())["volumes"]}
    assert {reference.name for reference in REFERENCES} == there
    assert len(there) > 75


def test_the_tilted_ct_is_refused_for_both_reasons_and_its_slices_are_in_the_right_order(realdata: Path) -> None:
    with pytest.raises(GeometryError) as caught:
        one_stack(stacks(realdata, "ct-ge-head-tilt-varspacing", "dicom"))
    assert caught.value.code == "non-uniform"
    details = caught.value.details
    assert details["problems"] == ["non-uniform", "sheared"]
    assert details["shear_degrees"] == pytest.approx(18.5, abs=0.05)
    assert details["gap_min"] == pytest.approx(1.081, abs=1e-3)
    assert details["gap_max"] == pytest.approx(6.999, abs=1e-3)
    assert "18.5°" in str(caught.value)
    first = next(reference for reference in REFERENCES if reference.name.endswith("#2_0.nii.gz"))
    assert outcome(first, realdata).equal
    for options in ({"on_shear": "keep"}, {"on_shear": "resample"}, {"on_missing": "nan"}):
        (stack,) = arrange(stacks(realdata, "ct-ge-head-tilt-varspacing", "dicom"), **options)  # type: ignore[arg-type]
        assert stack.status == "non-uniform"


def test_the_united_imaging_grid_is_cut_as_dcm2niix_cuts_it(realdata: Path) -> None:
    """dcm2niix v1.0.20260724 on these two files: its affine, and the SHA-256 of its voxels."""
    datasets = datasets_of(realdata / "private-tags-uih-grid")
    (stack,) = arrange(stacks_of(datasets), on_4d="stack")
    made = built(stack, datasets)
    affine = np.array(UIH_AFFINE)
    ours, error = in_axes_of(made, affine)
    assert ours.shape == (64, 64, 20, 2)
    assert float(np.abs(error - affine).max()) < 1e-4
    assert hashlib.sha256(ours.tobytes(order="F")).hexdigest() == UIH_SHA256


UIH_AFFINE = [
    [-3.496896, -0.106993, 0.121611, 121.183418],
    [-0.107038, 3.498363, 0.000000, -108.072556],
    [0.101295, 0.003099, 4.198239, -6.589681],
    [0.000000, 0.000000, 0.000000, 1.000000],
]
UIH_SHA256 = "63051663aa80122a14eea3b98fd7e76759a1d247c8f8b85a88c9e7a8b8183b50"


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "codes"),
    [
        (("not-a-volume", "sliceincrement"), ["missing-slices"]),
        (("not-a-volume", "sliceorientation"), ["too-few-slices", "too-few-slices"]),
        (("not-a-volume", "slicecount"), ["too-few-slices"]),
        (("not-a-volume", "dupe-positions"), ["duplicate-positions"]),
        (("mr-siemens-pdt2-dual-echo", "dicom"), ["4d"]),
        (("mr-ge-fmri-4d", "dicom"), ["4d"]),
        (("mr-siemens-mosaic-epi", "dicom", "mr_0003"), ["4d"]),
        (("mr-siemens-12bit-packed-mosaic", "dicom"), ["duplicate-instances", "duplicate-instances"]),
        (("private-tags-uih-grid",), ["4d"]),
        (("ct-philips-rgb-dose-summary",), ["colour"]),
        (("mr-enhanced-philips-b0",), ["ok", "ok"]),
        (("mr-enhanced-siemens-xa10",), ["4d"]),
        (("sr-phoenix-siemens",), ["not-an-image"]),
        (("cr-mg-dx",), ["bad-header", "no-geometry", "no-geometry"]),
        (("us-xa-multiframe", "examples_ybr_color.dcm"), ["colour"]),
        (("us-xa-multiframe", "HasFragmentSequence.dcm"), ["no-geometry"]),
        (("us-xa-multiframe", "NM-MONO2-16-13x-heart.dcm"), ["no-geometry"]),
        (("nonimage-and-rt", "waveform_ecg.dcm"), ["not-an-image"]),
        (("nonimage-and-rt", "rtstruct.dcm"), ["not-an-image"]),
        (("nonimage-and-rt", "rtplan.dcm"), ["not-an-image"]),
        (("pydicom-data-odds", "liver.dcm"), ["not-an-image"]),
        (("pydicom-data-odds", "parametric_map_float.dcm"), ["too-few-slices"]),
    ],
)
def test_real_series_that_are_no_volume_are_refused(realdata: Path, parts: tuple[str, ...], codes: list[str]) -> None:
    found = stacks(realdata, *parts)
    assert sorted(s.status for s in found) == sorted(codes)
    with pytest.raises(GeometryError):
        one_stack(found)


def test_a_missing_slice_is_filled_or_split_only_when_asked(realdata: Path) -> None:
    datasets = datasets_of(realdata / "not-a-volume" / "sliceincrement")
    (stack,) = arrange(stacks_of(datasets), on_missing="nan")
    made = built(stack, datasets, "rescaled")
    assert stack.status == "ok"
    empty = [k for k, uid in enumerate(made.sop_uids) if not uid]
    assert len(empty) == stack.details["missing"]
    assert np.isnan(made.array[empty]).all()
    parts = arrange(stacks_of(datasets), on_missing="split", min_slices=2)
    assert sum(len(part.frames) for part in parts) == len(datasets)


def test_three_planes_of_a_localizer_are_three_stacks(realdata: Path) -> None:
    found = stacks(realdata, "not-a-volume", "mr-localizer-3plane")
    assert [len(s.frames) for s in found] == [5, 3, 3]
    with pytest.raises(GeometryError, match="several-stacks"):
        one_stack(found)


def test_the_dimensions_of_the_4d_series_are_counted_and_named(realdata: Path) -> None:
    (echoes,) = stacks(realdata, "mr-siemens-pdt2-dual-echo", "dicom")
    assert (echoes.shape, echoes.details["axis"]) == ((2, 18, 64, 64), "echo_time")
    (times,) = stacks(realdata, "mr-ge-fmri-4d", "dicom")
    assert (times.shape, times.details["axis"]) == ((10, 15, 64, 64), "instance_number")
    (directions,) = stacks(realdata, "mini-volumes", "philips", "dti", "001")
    assert list(directions.axes["b_value"]) == [0, 1000, 1000, 1000]
    (enhanced,) = stacks(realdata, "mr-enhanced-siemens-xa10", "dicom")
    assert (enhanced.shape, enhanced.details["axis"]) == ((4, 6, 64, 64), "temporal_position")


def test_a_magnitude_and_its_field_map_have_units_of_their_own(realdata: Path) -> None:
    datasets = datasets_of(realdata / "mr-enhanced-philips-b0" / "dicom")
    magnitude, field_map = (built(stack, datasets, "rescaled") for stack in stacks_of(datasets))
    assert (magnitude.units, field_map.units) == ("1", "Hz")
    assert (float(field_map.array.min()), float(field_map.array.max())) == pytest.approx((-500, 500), abs=5)


def test_a_dose_is_in_its_own_units_and_place(realdata: Path) -> None:
    made = volume(realdata, "nonimage-and-rt", "rtdose.dcm", values="rescaled")
    assert (made.shape, made.spacing, made.units) == ((15, 10, 10), (5, 10, 10), "RELATIVE")
    np.testing.assert_allclose(made.affine @ [14, 9, 9, 1], [189.43125 + 90, 199.43125 + 90, -761.87 + 70, 1])


def test_every_rtstruct_of_the_ibsi_series_points_at_images_that_are_not_there(realdata: Path) -> None:
    """Its references all dangle, and it still says what it is of; the series beside it is a volume all the same."""
    structures = sorted(realdata.glob("ct-pet-mr-rtstruct/*/*/mask"))
    assert len(structures) == 6
    for structure in structures:
        (stack,) = stacks_of(datasets_of(structure))
        assert (stack.status, "contours" in stack.reason) == ("not-an-image", True)
        references = stack.frames[0].references
        images = stacks_of(datasets_of(structure.parent / "image"))[0].sop_uids
        assert len(references) >= len(images)
        assert not {reference.sop_uid for reference in references} & set(images)
        assert {bool(reference.series_uid) for reference in references} == {True}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("nonimage-and-rt/rt-utils/rt.dcm", 2),
        ("nonimage-and-rt/rt-utils/non_existent_reference_rt.dcm", 3),
        ("nonimage-and-rt/dicompyler/rtss.dcm", 98),
        ("nonimage-and-rt/rtplan.dcm", 2),
        ("nonimage-and-rt/rtdose.dcm", 1),
        ("nonimage-and-rt/waveform_ecg.dcm", 0),
        ("nonimage-and-rt/test-SR.dcm", 5),
        ("seg-sm-highdicom/seg_image_ct_binary.dcm", 4),
        ("seg-sm-highdicom/sr_document.dcm", 1),
        ("seg-sm-highdicom/sm_annotations.dcm", 1),
    ],
)
def test_what_is_no_image_keeps_what_it_points_at(realdata: Path, name: str, count: int) -> None:
    (dataset,) = datasets_of(realdata / name)
    frame = frames_of(dataset)[0]
    assert frame.references == references_of(dataset)
    assert len(frame.references) == count
    assert all(reference.sop_uid and reference.sop_class for reference in frame.references)
    named = {str(element.value) for element in dataset.iterall() if element.keyword == "ReferencedSOPInstanceUID"}
    assert {reference.sop_uid for reference in frame.references} <= named


def test_nine_files_in_seven_syntaxes_are_one_image(realdata: Path) -> None:
    arrays = [decode(d) for d in datasets_of(realdata / "mr-siemens-9-transfer-syntaxes" / "dicom")]
    assert len(arrays) == 9
    for array in arrays:
        assert array.dtype == np.uint16
        np.testing.assert_array_equal(array, arrays[0])


@pytest.mark.parametrize("codec", ["compressed_jpegls", "compressed_j2k", "compressed_jpeg"])
def test_one_small_series_in_four_codecs_is_one_volume(realdata: Path, codec: str) -> None:
    made = volume(realdata, "mini-volumes", "generic", codec, "001")
    other = volume(realdata, "mini-volumes", "generic", "compressed_rle", "001")
    np.testing.assert_array_equal(made.array, other.array)


def test_whatever_is_in_the_folder_gives_a_verdict_and_pixels_or_a_reason(realdata: Path) -> None:
    """Every file: damaged, hostile, odd. No exception but ours; what decodes has the declared shape."""
    decoded, by_series = 0, defaultdict(list)
    for path in sorted(realdata.rglob("*")):
        if not path.is_file() or path.suffix in NOT_DICOM or path.stat().st_size > 3_000_000:
            continue
        data = path.read_bytes()
        try:
            dataset = read_dataset(data)
            array = decode(data)
        except PixelError as error:
            text = str(error)
            assert text.endswith(".")
            continue
        by_series[str(path.parent)].append(dataset)
        assert array.shape[1:3] == (dataset.Rows, dataset.Columns)
        frames = frames_of(dataset)
        if frames[0].code not in ("not-an-image", "bad-header"):
            assert len(array) == len(frames)
            assert frames[0].dtype == array.dtype
        decoded += 1
    assert decoded > 900
    for each in by_series.values():
        found = stacks_of(each)
        files = [(file.sop_uid, file.fills) for stack in found for file in stack.files]
        assert len({uid for uid, _ in files}) == len({str(d.SOPInstanceUID) for d in each})
        for stack in found:
            assert (stack.affine is not None) <= (stack.status in ("ok", "4d", "colour"))


# -- the page ---------------------------------------------------------------------------------------------------------


def _verdicts(realdata: Path) -> list[str]:
    """A row for each set: how many files, and the verdicts on its stacks."""
    lines = ["| set | files | verdicts |", "|---|---|---|"]
    for folder in sorted(path for path in realdata.iterdir() if path.is_dir() and path.name != "LICENSES"):
        read: list[Dataset] = []
        for path in files_of(folder):
            try:
                read.append(read_dataset(path.read_bytes()))
            except Error:
                continue
        counted = Counter(stack.status for stack in stacks_of(read))
        said = ", ".join(f"{count} {status}" for status, count in sorted(counted.items()))
        lines.append(f"| {folder.name} | {len(read)} | {said} |")
    return lines


def tables(realdata: Path) -> str:
    """The part of the page that is made from a run."""
    lines = [
        "",
        f"## {len(REFERENCES)} references",
        "",
        "Bit for bit where it says yes; errors are rounded up to one digit. `4d, stack` and `4d, split`: refused",
        "as it is, built with that option.",
        "",
        *rows(realdata),
        "",
        "## Verdicts on every set",
        "",
        "Stacks of all files of a set together, read from their headers; where a set holds one image in many forms,",
        "with the same SOPInstanceUID, they are duplicates.",
        "",
        *_verdicts(realdata),
        "",
    ]
    return "\n".join(lines)


def test_the_page_says_what_was_measured(realdata: Path) -> None:
    prose, mark, _ = PAGE.read_text().partition(MARK)
    text = prose + MARK + tables(realdata)
    if os.environ.get("ORTHANC_RESEARCH_WRITE_DOCS"):
        PAGE.write_text(text)
    assert mark
    assert PAGE.read_text() == text
