"""Every failure of the wire, turned into our exceptions.

Classified by HTTP status and by Orthanc's own status number in the body, never by Content-Type: Orthanc's error bodies
are JSON that does not say so (1.10.1 sends no type, later ones text/plain), and many errors have no body at all.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from orthanc_research.errors import (
    AccessError,
    ConflictError,
    DeadlineError,
    ModalityError,
    NotFoundError,
    OrthancError,
    QueryError,
    ResponseError,
    ServerError,
    UnreachableError,
)
from orthanc_research.rest._call import Call

__all__ = ["NETWORK", "TRANSIENT", "mapped", "refusal", "transient"]

# ErrorCode of Orthanc's sources: the way to a remote DICOM node or HTTP server (9), no presentation context, no C-FIND,
# no C-MOVE, no C-GET there. Other codes from 2000 on are Orthanc's own: 2018 is its storage, 2031 its Lua.
NETWORK = frozenset({9, 2015, 2016, 2017, 2044})
# Internal, plugin, memory, database, time-out, storage area, database plugin, database unavailable, serialization:
# what may pass. The rest of its 500s are verdicts on the request (27 is an unknown tag) and stay what they are.
TRANSIENT = frozenset({-1, 1, 4, 11, 16, 31, 32, 36, 42})


@dataclass(frozen=True, slots=True)
class _Words:
    """What Orthanc's error body says."""

    status: int | None = None
    message: str | None = None
    details: str | None = None
    payload: Mapping[str, Any] | None = None


def transient(error: OrthancError) -> bool:
    """True for an answer that a busy server or a proxy gives and may not give again."""
    if error.status in (408, 429, 502, 503, 504):
        return True
    return error.status == 500 and (error.orthanc_status is None or error.orthanc_status in TRANSIENT)


def refusal(call: Call[Any], status: int, headers: Mapping[str, str], body: bytes, *, anonymous: bool) -> OrthancError:
    """The exception for an answer that is not a 2xx."""
    if 300 <= status < 400:
        return ResponseError(
            f"The server answers with a redirect{_elsewhere(headers)}; give that address instead: no credentials are "
            "sent to an address that was not asked for.",
            status=status,
        )
    words = _words(body)
    make, text = _sentence(call, status, words, anonymous)
    return make(
        text,
        status=status,
        orthanc_status=words.status,
        message=words.message,
        details=words.details,
        payload=words.payload,
    )


def _sentence(call: Call[Any], status: int, words: _Words, anonymous: bool) -> tuple[type[OrthancError], str]:
    if status == 401:
        if anonymous:
            return AccessError, "This Orthanc asks for a user name and password: Orthanc(url, auth=(user, password))."
        return AccessError, "Orthanc refused the user name and password, or the token (401)."
    if status == 403:
        return AccessError, f"Orthanc does not allow this ({call.label}); its configuration or this user's rights do."
    if words.status in NETWORK:
        return ModalityError, f"The remote node failed: {_own_words(call, words)}"
    if status == 404:
        return NotFoundError, f"Orthanc has no such resource, or this version no such route: {call.label}."
    if status in (409, 412):
        return ConflictError, f"What is stored is not what this request assumed ({call.label}): read it again first."
    return ServerError, f"Orthanc answered {status} to {call.label}: {_own_words(call, words)}"


def _own_words(call: Call[Any], words: _Words) -> str:
    said = ": ".join(part for part in (words.message, words.details) if part)
    if not said:
        return "it did not say why."
    # Orthanc's details repeat what was sent at times; what was sent may be a name.
    for value in sorted(_values(call.json), key=len, reverse=True):
        said = re.sub(re.escape(value), "…", said, flags=re.IGNORECASE)
    return said if said.endswith(".") else f"{said}."


def _values(body: Any) -> set[str]:
    """The values of a request's body that may identify somebody: everything but words of the API and tag names."""
    if isinstance(body, str):
        return {body} if len(body) > 2 else set()
    if isinstance(body, Mapping):
        return {v for key in ("Query", "Replace", "Tags", "Resources") if key in body for v in _leaves(body[key])}
    return set()


def _leaves(value: Any) -> set[str]:
    if isinstance(value, str):
        return {value} if len(value) > 2 else set()
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return {leaf for child in children for leaf in _leaves(child)}


def _words(body: bytes) -> _Words:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _Words()
    if not isinstance(value, dict):
        return _Words()
    status, payload = value.get("OrthancStatus"), value.get("ErrorPayload")
    return _Words(
        status=status if isinstance(status, int) else None,
        message=_string(value.get("Message")),
        details=_string(value.get("Details")),
        payload=payload if isinstance(payload, dict) else None,
    )


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _elsewhere(headers: Mapping[str, str]) -> str:
    try:
        parts = urlsplit(headers.get("location", ""))
        return (
            f" to {parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}" if parts.hostname else ""
        )
    except ValueError:
        return ""


@contextmanager
def mapped(call: Call[Any], base: str) -> Iterator[None]:
    """Turn httpx's exceptions into ours, chained."""
    try:
        yield
    except httpx.TimeoutException as error:
        if isinstance(error, httpx.ConnectTimeout):
            raise UnreachableError(f"No answer from {base} to a connection; is the address right?") from error
        raise DeadlineError(f"Orthanc did not answer {call.label} in time; a longer timeout= may help.") from error
    except httpx.ConnectError as error:
        raise UnreachableError(_unreachable(error, base)) from error
    except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError) as error:
        raise UnreachableError(f"The connection to {base} broke during {call.label}.") from error
    except httpx.DecodingError as error:
        raise ResponseError(f"The answer to {call.label} is damaged: its compression does not decode.") from error
    except httpx.LocalProtocolError:
        # Its text repeats the header that it does not like, which may be a token.
        raise QueryError(f"{call.label} cannot be sent: a header or an argument is not valid HTTP.") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ResponseError(f"{call.label} failed: {type(error).__name__}.") from error


def tls_failure(error: BaseException | None) -> ssl.SSLError | None:
    """The TLS error in a chain of causes, if there is one."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _unreachable(error: httpx.ConnectError, base: str) -> str:
    tls = tls_failure(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {base} was not accepted ({tls.verify_message.rstrip('.')}); give its CA with "
            "verify='ca.pem'."
        )
    if tls is not None:
        return (
            f"No secure connection to {base} ({tls.reason or 'TLS failed'}): is it https, is a client certificate due?"
        )
    return f"No Orthanc answers at {base}: is it running, and is the address right?"
