"""A second DICOM node that misbehaves on request: the failures that a real archive does not produce on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, StoragePresentationContexts, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)


@dataclass
class Node:
    """What the node holds and how it behaves; change it while it runs."""

    aet: str = "ODDPACS"
    port: int = 0
    studies: list[dict[str, Any]] = field(default_factory=list)
    files: list[Dataset] = field(default_factory=list)
    reject: bool = False
    abort: bool = False
    delay: float = 0.0
    fail_find: int = 0  # DICOM status after the answers
    fail_move: int = 0  # DICOM status
    send: int | None = None  # how many of the files a move really sends
    announce: int | None = None  # how many instances an answer claims
    instance_level: bool = True
    ignore_keys: bool = False
    move_to: tuple[str, int] = ("127.0.0.1", 0)
    finds: int = 0
    moves: int = 0
    # What goes wrong for single studies, by their UID (a move) or accession number (a find).
    refuse: set[str] = field(default_factory=set)
    slow: Mapping[str, float] = field(default_factory=dict)
    short: Mapping[str, int] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    moved: list[str] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)  # cleared, no file after the first is sent

    def __post_init__(self) -> None:
        self.go.set()


@contextmanager
def odd_node(node: Node) -> Iterator[Node]:
    """The node, listening; `node.port` is where."""
    ae = AE(ae_title=node.aet)
    ae.require_called_aet = True
    for model in (Verification, StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelMove):
        ae.add_supported_context(model)
    ae.requested_contexts = StoragePresentationContexts[:100]
    handlers: Any = [
        (evt.EVT_REQUESTED, lambda event: _requested(node, event)),
        (evt.EVT_C_ECHO, lambda event: _slow(node)),
        (evt.EVT_C_FIND, lambda event: _find(node, event)),
        (evt.EVT_C_MOVE, lambda event: _move(node, event)),
    ]
    ae.maximum_associations = 20
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    node.port = server.socket.getsockname()[1]
    try:
        yield node
    finally:
        server.shutdown()
        for thread in threading.enumerate():
            if thread.name.startswith("AcceptorThread"):
                thread.join(5)


def _requested(node: Node, event: Any) -> None:
    if node.reject:
        event.assoc.acse.send_reject(0x01, 0x01, 0x01)
        event.assoc.kill()


def _slow(node: Node) -> int:
    time.sleep(node.delay)
    return 0


def _find(node: Node, event: Any) -> Iterator[tuple[int, Dataset | None]]:
    node.finds += 1
    time.sleep(node.delay)
    if node.abort:
        event.assoc.abort()
        return
    wanted = event.identifier
    if wanted.QueryRetrieveLevel == "IMAGE":
        if not node.instance_level:
            yield 0xA900, None
            return
        uid = wanted.get("StudyInstanceUID")
        for file in node.files:
            if file.StudyInstanceUID == uid or node.ignore_keys:
                yield 0xFF00, _answer(wanted, {k: file.get(k) for k in ("StudyInstanceUID", "SOPInstanceUID")})
        return
    accession = str(wanted.get("AccessionNumber") or "")
    time.sleep(node.slow.get(accession, 0.0))
    if accession in node.refuse:
        yield 0xA700, None
        return
    for number, study in enumerate(node.studies):
        keys = ("StudyInstanceUID", "AccessionNumber", "PatientID", "StudyDate")
        asked = {key: str(wanted.get(key)) for key in keys if key in study and wanted.get(key)}
        if any(study[key] != text for key, text in asked.items()) and not node.ignore_keys:
            continue
        claims = {} if node.announce is None else {"NumberOfStudyRelatedInstances": node.announce}
        yield 0xFF00, _answer(wanted, {**study, **claims})
        if node.fail_find and number >= 1:
            yield node.fail_find, None
            return
    if node.fail_find:
        yield node.fail_find, None


def _answer(wanted: Dataset, values: dict[str, Any]) -> Dataset:
    answer = Dataset()
    answer.QueryRetrieveLevel = wanted.QueryRetrieveLevel
    for keyword in wanted.dir():
        if keyword != "QueryRetrieveLevel":
            setattr(answer, keyword, values.get(keyword, ""))
    return answer


def _move(node: Node, event: Any) -> Iterator[Any]:
    node.moves += 1
    study = str(event.identifier.StudyInstanceUID)
    node.moved.append(study)
    if node.fail_move == 0xA801:
        yield None, None
        return
    host, port = node.move_to
    yield host, port, {"contexts": [_context(file) for file in node.files[:1]]}
    files = [file for file in node.files if study == file.StudyInstanceUID]
    chosen = files[: node.short.get(study, len(files) if node.send is None else node.send)]
    yield len(chosen)
    for number, file in enumerate(chosen):
        time.sleep(node.delay)
        if number:
            node.go.wait(60)
        if (node.fail_move and number >= 2) or (study in node.cut and number):
            yield node.fail_move or 0xA702, None
            return
        yield 0xFF00, file


def _context(file: Dataset) -> Any:
    from pynetdicom import build_context

    return build_context(file.SOPClassUID, ALL_TRANSFER_SYNTAXES)
