"""Before and after, element by element, of instances that are de-identified in memory only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from pydicom import Dataset

from orthanc_research.deid import Subject, deidentify
from orthanc_research.pixels import read_dataset
from orthanc_research.release._patients import subject_of
from orthanc_research.release._rows import Named
from orthanc_research.release._setting import Setting

__all__ = ["preview"]

_COLUMNS = ["SOPInstanceUID", "path", "before", "after"]
_WIDTH = 200  # characters of a value
# What a patient of a blocked row is called in a preview: they have no pseudonym yet.
_NOBODY = Subject("PREVIEW", -365)


def preview(setting: Setting, named: Named | None, keys: Sequence[str]) -> pd.DataFrame:
    """The elements of each instance, in the order of the original, then what is new in the copy."""
    subject = subject_of(named, setting.profile) if named else _NOBODY
    rows = []
    for key in keys:
        content = setting.source.read(key)
        done = deidentify(content, setting.profile, setting.key, subject)
        before, after = dict(_elements(content)), dict(_elements(done.content))
        paths = dict.fromkeys([*before, *after])
        rows += [(done.sop_instance_uid, path, before.get(path), after.get(path)) for path in paths]
    return pd.DataFrame(rows, columns=_COLUMNS).astype(dict.fromkeys(_COLUMNS, "str"))


def _elements(content: bytes) -> Iterator[tuple[str, str]]:
    dataset = read_dataset(content)
    yield from _walk(dataset.file_meta, "meta.")
    yield from _walk(dataset, "")


def _walk(dataset: Dataset, above: str) -> Iterator[tuple[str, str]]:
    for element in dataset:
        name = f"{above}{element.keyword or f'({element.tag.group:04x},{element.tag.element:04x})'}"
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from _walk(item, f"{name}[{number}].")
        elif isinstance(element.value, bytes):
            yield name, f"{len(element.value)} bytes"
        else:
            yield name, str(element.value)[:_WIDTH]
