"""Damaged files end as a `PixelError` or as pixels: no crash, no hang, no memory without end. See docs/pixels.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from codec_fuzz import Ended, fuzz
from pydicom import dcmread
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from orthanc_research.errors import PixelError
from orthanc_research.pixels import decode, needs_isolation

SETS = ("derived-mutated", "codec-oddities", "malformed-and-odd")
# Sets of which each syntax and kind of image gives one file.
SOURCES = ("codec-oddities", "compressed-cornerstone-ct", "compressed-nema-wg04", "mini-volumes", "us-xa-multiframe",
           "seg-sm-highdicom", "mr-siemens-9-transfer-syntaxes")  # fmt: skip


def compressed(realdata: Path) -> dict[Path, UID]:
    """One file of each syntax, photometric interpretation, bits and count of frames, below 1 MB."""
    found: dict[tuple[object, ...], tuple[Path, UID]] = {}
    for path in sorted(path for source in SOURCES for path in (realdata / source).rglob("*.dcm")):
        if path.stat().st_size > 1_000_000:
            continue
        header = dcmread(path, stop_before_pixels=True)
        syntax = header.file_meta.TransferSyntaxUID
        if syntax.is_encapsulated and "Rows" in header:
            kind = (syntax, header.PhotometricInterpretation, header.BitsStored, header.get("NumberOfFrames"))
            found.setdefault(kind, (path, syntax))
    return dict(found.values())


def check(ends: Sequence[Ended], syntaxes: Sequence[UID]) -> Counter[tuple[str, str, str]]:
    """Hold the ends to what is promised; how many there were by syntax, mutation and verdict."""
    assert [end for end in ends if end.verdict == "hang"] == []
    crashed = [end for end in ends if end.verdict == "crash"]
    assert [end for end in crashed if not needs_isolation(syntaxes[end.file])] == []
    # What is cut off at any place is seen in every syntax.
    assert [end for end in ends if end.mutation == "truncate" and end.verdict not in ("refused", "same")] == []
    assert all(end.said.endswith(".") for end in ends if end.verdict == "refused")
    return Counter((str(syntaxes[end.file]), end.mutation, end.verdict) for end in ends)


def test_every_odd_file_gives_pixels_or_a_reason(realdata: Path) -> None:
    files = sorted(path for name in SETS for path in (realdata / name).iterdir() if path.suffix != ".md")
    ends = list(fuzz(files, [(k, -1) for k in range(len(files))]))
    assert len(ends) > 85
    assert {end.verdict for end in ends} == {"same", "refused"}


def test_odd_files_that_give_pixels_give_those_that_pydicom_reads(realdata: Path) -> None:
    compared = 0
    for path in sorted(path for name in SETS[1:] for path in (realdata / name).glob("*.dcm")):
        try:
            array = decode(path.read_bytes())
        except PixelError:
            continue
        theirs = dcmread(path, force=True).pixel_array
        np.testing.assert_array_equal(array, theirs.reshape(array.shape), err_msg=path.name)
        compared += 1
    assert compared >= 10


PAGE = Path(__file__).parent.parent / "docs" / "pixels.md"
# Their pixel data were overwritten, or moved within, and still decode: see docs/pixels.md. Nothing but MD5 tells.
UNTOLD = {3, 4, 9, 15, 16, 18, 22, 24, 25, 29, 31, 51, 52, 53, 57, 58, 60}


def test_damaged_copies_of_one_image_are_that_image_or_refused(realdata: Path, ct_small: Path) -> None:
    whole = decode((ct_small.parent / "MR_small.dcm").read_bytes())
    others, same, refused = set(), 0, 0
    for path in (realdata / "derived-mutated").glob("*.dcm"):
        try:
            array = decode(path.read_bytes())
        except PixelError:
            refused += 1
            continue
        assert (array.shape, array.dtype) == (whole.shape, whole.dtype)
        if not np.array_equal(array, whole):
            others.add(int(path.name[:3]))
        else:
            same += 1
    assert others <= UNTOLD
    said = f"{refused} are refused, {same} are the slice all the same, and {len(others)} decode to other pixels"
    assert said in " ".join(PAGE.read_text().split())


def test_mutated_files_crash_and_hang_nothing(realdata: Path) -> None:
    files = compressed(realdata)
    assert len(files) > 20
    ends = list(fuzz(list(files), [(k, 8 * k + seed) for k in range(len(files)) for seed in (0, 1, 3, 4, 7)]))
    counted = check(ends, list(files.values()))
    assert sum(counted.values()) == 5 * len(files)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_thousands_of_mutations_crash_and_hang_nothing(realdata: Path) -> None:
    files = compressed(realdata)
    ends = list(fuzz(list(files), [(k, seed) for seed in range(10_000, 10_200) for k in range(len(files))]))
    counted = check(ends, list(files.values()))
    for mutation in sorted({mutation for _, mutation, _ in counted}):
        print(mutation, {verdict: count for (_, kind, verdict), count in counted.items() if kind == mutation})
    verdicts = Counter[tuple[str, str]]()
    for (syntax, _, verdict), count in counted.items():
        verdicts[syntax, verdict] += count
    print(*table(verdicts), sep="\n")
    assert "\n".join(table(verdicts)) in PAGE.read_text()


# As docs/pixels.md names them, and shows them.
NAMED = {
    "JPEG-LS": (JPEGLSLossless, JPEGLSNearLossless),
    "JPEG Baseline": (JPEGBaseline8Bit,),
    "JPEG Lossless": (JPEGLossless, JPEGLosslessSV1),
    "JPEG Extended": (JPEGExtended12Bit,),
    "RLE": (RLELossless,),
    "JPEG 2000": (JPEG2000Lossless, JPEG2000),
}


def table(verdicts: Counter[tuple[str, str]]) -> list[str]:
    """The rows of the page: how many of a hundred were refused, had the same pixels, and others."""
    lines = ["| syntax | refused | the same pixels | other pixels |", "|---|---|---|---|"]
    for name, syntaxes in NAMED.items():
        counts = {
            verdict: [verdicts[str(syntax), verdict] for syntax in syntaxes] for verdict in ("refused", "same", "other")
        }
        totals = [sum(each) for each in zip(*counts.values(), strict=True)]
        cells = [f"{100 * sum(each) / sum(totals) + 1e-9:.0f} %" for each in counts.values()]
        if name == "JPEG-LS":
            plain, near = (
                f"{count or 'none'} of {total:,}" for count, total in zip(counts["other"], totals, strict=True)
            )
            cells[-1] = f"{plain} lossless, {near} near-lossless"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
