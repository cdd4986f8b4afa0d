"""What stands for a patient, a UID, an accession number: codes that nobody can compute without the key."""

from __future__ import annotations

import base64

from ._key import Key

__all__ = ["accession_of", "code_of", "days_of", "patient_id_of", "uid_of"]

_NEAREST, _FARTHEST = 365, 3650  # days
_LETTERS = 10


def uid_of(key: Key, uid: str, namespace: str = "") -> str:
    """`2.25.` and 128 bits (PS3.5 Annex B.2): the same for the same UID, wherever and whenever."""
    return f"2.25.{int.from_bytes(key.digest('uid', namespace, uid)[:16], 'big')}"


def patient_id_of(key: Key, issuer_and_id: str) -> str:
    """Ten characters of base32 (RFC 4648) for a patient; the caller checks that no two patients share one."""
    return code_of(key, "patient", issuer_and_id)


def accession_of(key: Key, accession_number: str) -> str:
    """Ten characters of base32 for an accession number: an SH has at most 16 (PS3.5 section 6.2)."""
    return code_of(key, "accession", accession_number)


def days_of(key: Key, patient: str) -> int:
    """By how many days the dates of a patient move (PS3.15 E.3.6): -3650 to -365."""
    number = int.from_bytes(key.digest("days", "", patient)[:8], "big")
    return -(_NEAREST + number % (_FARTHEST - _NEAREST + 1))


def code_of(key: Key, purpose: str, value: str, namespace: str = "") -> str:
    """Ten characters of base32 (RFC 4648) for another identifier, by what it is for; `namespace` keeps equals apart."""
    return base64.b32encode(key.digest(purpose, namespace, value))[:_LETTERS].decode("ascii")
