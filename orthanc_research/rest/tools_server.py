"""Routes under /tools that look after the server itself: clocks, encodings, what it accepts, logs, metrics, scripts.

/tools/shutdown and /tools/reset end the server for everybody and are no methods: `rest.post("/tools/reset")`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from orthanc_research.capabilities import Feature
from orthanc_research.errors import QueryError, ResponseError
from orthanc_research.rest._call import Answer, Call, Level, json_list, nothing, segment_of, text
from orthanc_research.rest._submission import PATIENCE, one_of
from orthanc_research.rest.nodes import Manufacturer, node

__all__ = ["Encoding", "LogCategory", "LogLevel", "Metric"]

Json = dict[str, Any]

Encoding = Literal[
    "Ascii",
    "Utf8",
    "Latin1",
    "Latin2",
    "Latin3",
    "Latin4",
    "Latin5",
    "Cyrillic",
    "Windows1251",
    "Arabic",
    "Greek",
    "Hebrew",
    "Thai",
    "Japanese",
    "JapaneseKanji",
    "Chinese",
    "SimplifiedChinese",
    "Korean",
]
LogLevel = Literal["default", "verbose", "trace"]
LogCategory = Literal["generic", "plugins", "http", "sqlite", "dicom", "jobs", "lua"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of /tools/metrics-prometheus; `time` is when the server last wrote it down."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    time: datetime | None = None


_LINE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+(-?\d+))?", re.ASCII)
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"', re.ASCII)
_UIDS = re.compile(r"[0-9.*?]{1,64}", re.ASCII)


def now() -> Call[str]:
    """GET /tools/now: the server's clock, UTC, as YYYYMMDDThhmmss."""
    return Call("GET", ("tools", "now"), text)


def now_local() -> Call[str]:
    """GET /tools/now-local: the server's clock in its own time zone, as YYYYMMDDThhmmss."""
    return Call("GET", ("tools", "now-local"), text)


def generate_uid(level: Level) -> Call[str]:
    """GET /tools/generate-uid?level=: a new identifier: a UID, or for "Patient" a random PatientID."""
    segment_of(level)  # a level that Orthanc does not know is a 404 without a word
    return Call("GET", ("tools", "generate-uid"), text, query={"level": level.lower()})


def dicom_conformance() -> Call[str]:
    """GET /tools/dicom-conformance: the conformance statement, as text."""
    return Call("GET", ("tools", "dicom-conformance"), text)


def default_encoding() -> Call[str]:
    """GET /tools/default-encoding: how text without SpecificCharacterSet is read."""
    return Call("GET", ("tools", "default-encoding"), text)


def set_default_encoding(encoding: Encoding) -> Call[str]:
    """PUT /tools/default-encoding, until the server restarts; the encoding. POST, as in the 2019 text, is a 405."""
    one_of(encoding, get_args(Encoding), "An encoding")
    return Call("PUT", ("tools", "default-encoding"), text, content=encoding.encode())


def accepted_transfer_syntaxes() -> Call[list[str]]:
    """GET /tools/accepted-transfer-syntaxes (1.9.0): UIDs that the server accepts over DICOM."""
    return Call("GET", ("tools", "accepted-transfer-syntaxes"), json_list)


def set_accepted_transfer_syntaxes(syntaxes: Sequence[str]) -> Call[list[str]]:
    """PUT /tools/accepted-transfer-syntaxes, until the server restarts; those that are accepted from now on.

    UIDs, with `*` and `?`; "*" is all. Names that match none leave none accepted, without an error: look at the answer.
    """
    if isinstance(syntaxes, str) or not syntaxes or not all(_UIDS.fullmatch(syntax) for syntax in syntaxes):
        raise QueryError("Transfer syntaxes are one or more UIDs; * and ? stand for parts of them.")
    return Call("PUT", ("tools", "accepted-transfer-syntaxes"), json_list, json=list(syntaxes))


def accepted_sop_classes() -> Call[list[str]]:
    """GET /tools/accepted-sop-classes (1.12.6): UIDs of what the server accepts over DICOM."""
    return Call("GET", ("tools", "accepted-sop-classes"), json_list, needs=("accepted-sop-classes",))


def unknown_sop_class_accepted() -> Call[bool]:
    """GET /tools/unknown-sop-class-accepted: whether instances of unknown SOP classes are accepted over DICOM."""
    return Call("GET", ("tools", "unknown-sop-class-accepted"), _flag)


def set_unknown_sop_class_accepted(accepted: bool) -> Call[None]:
    """PUT /tools/unknown-sop-class-accepted, until the server restarts."""
    return Call("PUT", ("tools", "unknown-sop-class-accepted"), nothing, content=_bit(accepted))


def log_level(category: LogCategory | None = None) -> Call[str]:
    """GET /tools/log-level, or /tools/log-level-{category}: "default", "verbose" or "trace"."""
    return Call("GET", ("tools", _log(category)), text)


def set_log_level(level: LogLevel, category: LogCategory | None = None) -> Call[None]:
    """PUT /tools/log-level, for all categories, or /tools/log-level-{category}.

    "trace" writes tag values, names among them, into the server's log: turn it off again.
    """
    one_of(level, get_args(LogLevel), "A log level")
    return Call("PUT", ("tools", _log(category)), nothing, content=level.encode())


def labels() -> Call[list[str]]:
    """GET /tools/labels (1.12.0): the labels that any resource has."""
    return Call("GET", ("tools", "labels"), json_list, needs=("labels",))


def metrics() -> Call[bool]:
    """GET /tools/metrics: whether metrics are collected."""
    return Call("GET", ("tools", "metrics"), _flag)


def set_metrics(collected: bool) -> Call[None]:
    """PUT /tools/metrics: collect them, or not, until the server restarts."""
    return Call("PUT", ("tools", "metrics"), nothing, content=_bit(collected))


def metrics_prometheus() -> Call[list[Metric]]:
    """GET /tools/metrics-prometheus: the metrics; none when they are not collected. Names differ between versions."""
    return Call("GET", ("tools", "metrics-prometheus"), _metrics)


def execute_script(lua: str) -> Call[str]:
    """POST /tools/execute-script: run Lua within the server; what it printed. Never sent twice.

    `AccessError` unless the server is configured with ExecuteLuaEnabled; `ServerError` (500, 2031) for Lua's errors.
    """
    return Call("POST", ("tools", "execute-script"), text, content=lua.encode(), patience=PATIENCE)


def dicom_echo(
    aet: str,
    host: str,
    port: int,
    *,
    manufacturer: Manufacturer | None = None,
    local_aet: str | None = None,
    timeout: int = 10,
    use_dicom_tls: bool = False,
    check_find: bool = False,
) -> Call[None]:
    """POST /tools/dicom-echo (1.8.1): C-ECHO to a node that is not registered; `ModalityError` when it fails."""
    body = node(
        aet,
        host,
        port,
        manufacturer=manufacturer,
        local_aet=local_aet,
        timeout=timeout,
        use_dicom_tls=use_dicom_tls,
    )
    if check_find:
        body["CheckFind"] = True
    return Call("POST", ("tools", "dicom-echo"), nothing, json=body, repeat=True, patience=2 * timeout + 10)


def reconstruct(*, files: bool = False) -> Call[None]:
    """POST /tools/reconstruct: read the whole archive again into the index; hours on a large one. Never sent twice.

    `files` also applies the server's transcoding and compression to the stored files (1.13.0 here: it came with 1.11.0,
    but 1.12.7 does not answer the second such request, and then none that writes).
    """
    body: Json = {"ReconstructFiles": True} if files else {}
    needs: tuple[Feature, ...] = ("reconstruct-files",) if files else ()
    return Call("POST", ("tools", "reconstruct"), nothing, json=body, patience=24 * PATIENCE, needs=needs)


def invalidate_tags() -> Call[None]:
    """POST /tools/invalidate-tags: forget the summaries of tags that the server kept; they come again when needed."""
    return Call("POST", ("tools", "invalidate-tags"), nothing, repeat=True, patience=PATIENCE)


def _log(category: LogCategory | None) -> str:
    if category is None:
        return "log-level"
    one_of(category, get_args(LogCategory), "A category of logs")
    return f"log-level-{category}"


def _bit(value: bool) -> bytes:
    return b"1" if value else b"0"


def _flag(answer: Answer) -> bool:
    value = answer.content.strip()
    if value not in (b"0", b"1"):
        raise ResponseError("The server answered something else than 0 or 1.")
    return value == b"1"


def _metrics(answer: Answer) -> list[Metric]:
    found = []
    for line in answer.content.decode("utf-8", "replace").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ResponseError("A line of the server's metrics is none.")
        name, labels, value, stamp = match.groups()
        try:
            number = float(value)
        except ValueError:
            raise ResponseError("A metric of the server has no number.") from None
        time = None if stamp is None else datetime.fromtimestamp(int(stamp) / 1000, UTC)
        found.append(Metric(name, number, {key: _unescaped(v) for key, v in _LABEL.findall(labels or "")}, time))
    return found


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value)
