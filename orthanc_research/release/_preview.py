"""Before and after, element by element, of instances that are de-identified in memory only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from orthanc_research.deid import Subject, deidentify
from orthanc_research.deid.check._reading import WORD, Element, name_of, read_leniently
from orthanc_research.deid.check._text import TEXTS, charset_of, decoded
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
    file = read_leniently(content)
    yield from _walk(file.meta, "meta.", b"")
    yield from _walk(file.elements, "", b"")


def _walk(elements: Mapping[int, Element], above: str, charset: bytes) -> Iterator[tuple[str, str]]:
    here = charset_of(dict(elements), charset)
    for element in elements.values():
        name = f"{above}{name_of(element.tag, element.creator)}"
        if element.items is not None:
            for number, item in enumerate(element.items):
                yield from _walk(item, f"{name}[{number}].", here)
        elif element.vr in TEXTS:
            yield name, decoded(element.value, element.vr, here)[:_WIDTH]
        elif element.vr in WORD and len(element.value) == WORD[element.vr] and element.vr in ("US", "UL"):
            yield name, str(int.from_bytes(element.value, "little"))
        else:
            yield name, f"{len(element.value) + sum(map(len, element.fragments or ()))} bytes"
