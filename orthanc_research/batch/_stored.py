"""Whether an Orthanc has what was sent to it: each stored file's MD5, held against the MD5 of what was sent.

Orthanc stores whatever arrives, and keeps what it has: "Success" and "AlreadyStored" say nothing of the bytes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orthanc_research.batch._inputs import Item, content_of
from orthanc_research.batch._listing import files_of_series
from orthanc_research.errors import NotFoundError, ResponseError
from orthanc_research.pixels import transfer_syntax
from orthanc_research.rest import Rest

__all__ = ["Part", "Sent", "md5_of", "md5s_of", "parted", "verdict"]

_STATUS = {"Success": "stored", "AlreadyStored": "already-stored"}
_OTHER = {
    "stored": (
        "failed",
        "It was damaged on its way: what is stored is not what was sent. Delete that and send it again.",
    ),
    "already-stored": ("conflict", "Another file with this SOPInstanceUID is stored already, and stays."),
}
# A find tells the MD5s of a whole series in 50 µs an instance; asking for one takes 1.3 ms (1.12.7, 1.13.0), and a way
# there and back. So a series is listed for so many of it, unless it has far more than these.
_MANY, _FAR = 8, 25


@dataclass(frozen=True, slots=True)
class Sent:
    """An input that Orthanc answered to, and what is needed to check it."""

    place: int
    item: Item
    answer: Mapping[str, Any]
    size: int
    md5: str
    start: float


# The series that is listed to check these files, or None where each is asked for by itself.
Part = tuple[str | None, Sequence[Sent]]


def parted(rest: Rest, group: Sequence[Sent], sent: Counter[str]) -> Iterator[Part]:
    """A group of files as the parts that are checked together; `sent` counts those of each series in this run."""
    of: dict[str, list[Sent]] = {}
    for each in group:
        of.setdefault(str(each.answer.get("ParentSeries")), []).append(each)
    sent.update({series: len(files) for series, files in of.items()})
    for series, files in of.items():
        if len(files) >= max(_MANY, sent[series] / _FAR) and rest.capabilities().has("extended-find"):
            yield series, files
        else:
            yield from ((None, [each]) for each in files)


def md5s_of(rest: Rest, series: str) -> dict[str, str]:
    """{instance: MD5} of the files of a series; a server that caps its answers, or keeps no MD5, tells less."""
    return {each: str(file.get("UncompressedMD5") or "") for each, file in files_of_series(rest, series).items()}


def verdict(rest: Rest, sent: Sent, there: Mapping[str, str]) -> tuple[str, str | None]:
    """(status, error), once what Orthanc has now is known: from `there`, {instance: MD5}, or asked for."""
    status = _STATUS.get(sent.answer.get("Status", ""))
    if status is None:
        return "failed", f"Orthanc did not store it: {sent.answer.get('Status', 'no status')}."
    instance = str(sent.answer["ID"])
    if (there.get(instance) or _md5_there(rest, instance)) == sent.md5:
        return status, None
    # A server may be told to store everything in another syntax (IngestTranscoding).
    kept = rest.instances.metadata(instance).get("TransferSyntax", "").strip(" \0")
    return _OTHER[status] if kept == _syntax(sent.item) else (status, None)


def md5_of(content: bytes) -> str:
    """In hex."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _md5_there(rest: Rest, instance: str) -> str:
    try:
        return rest.instances.md5(instance).strip()
    except NotFoundError:  # this server keeps none (StoreMD5ForAttachments), or the instance is gone
        return md5_of(rest.instances.file(instance))


def _syntax(item: Item) -> str:
    """Its transfer syntax, from its bytes, which are not kept until somebody asks."""
    try:
        return transfer_syntax(content_of(item))
    except Exception as failure:
        raise ResponseError(f"It cannot be read again: {type(failure).__name__}.") from failure
