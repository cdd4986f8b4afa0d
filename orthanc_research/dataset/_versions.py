"""With what a dataset was built: versions of libraries, and what decoded each transfer syntax."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from pydicom import Dataset

from orthanc_research.pixels._codecs import CODECS
from orthanc_research.tables import is_uid

__all__ = ["decoder_of", "syntax_of", "versions"]

_PACKAGES = ("orthanc-research", "numpy", "pandas", "pyarrow", "pydicom")


def versions(names: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Package name → version of those that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def syntax_of(dataset: Dataset) -> str:
    """The transfer syntax that a file names; "none" where it names none, or what is no UID."""
    syntax = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID") or "")
    return syntax if is_uid(syntax) else "none"


@cache
def decoder_of(syntax: str) -> str:
    """What decodes a transfer syntax in this process, with versions: "numpy 2.4.1", "pylibjpeg 2.0.1 + …"."""
    codec = CODECS.get(syntax)
    found = versions(codec.package.split() if codec is not None else ("numpy", "pydicom")[: 1 + (syntax == "none")])
    return " + ".join(f"{name} {number}" for name, number in found.items()) or "not installed"
