"""The key shows itself to nobody, and what follows from it is the same everywhere."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import pickle

import pytest

from orthanc_research.deid import Key, Subject, accession_of, days_of, patient_id_of, uid_of
from orthanc_research.errors import DeidError

SECRET = bytes(range(32))
KEY = Key(SECRET)


@pytest.mark.parametrize(
    "text", [SECRET.hex(), SECRET.hex().upper(), base64.b64encode(SECRET).decode(), f" {SECRET.hex()}\n"]
)
def test_a_key_is_read_as_hex_and_as_base64(text: str) -> None:
    assert Key.parse(text) == KEY


@pytest.mark.parametrize(
    "text", ["", "secret", SECRET.hex()[:-2], SECRET.hex() + "00", base64.b64encode(SECRET[:31]).decode()]
)
def test_anything_but_32_bytes_is_no_key_and_is_not_repeated(text: str) -> None:
    with pytest.raises(DeidError) as caught:
        Key.parse(text)
    assert not text or text not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_key_cannot_leave_by_accident() -> None:
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leave(KEY)
    shown = f"{KEY!r} {KEY} {[KEY]}"
    assert KEY.id in shown
    assert SECRET.hex() not in shown
    assert not hasattr(KEY, "__dict__")
    assert Key.parse(KEY.reveal()) == KEY


def test_the_digest_is_hmac_over_parts_with_their_lengths() -> None:
    message = b"".join(len(part).to_bytes(8, "big") + part for part in (b"uid", b"", b"1.2.3"))
    assert KEY.digest("uid", "", "1.2.3") == hmac.new(SECRET, message, hashlib.sha256).digest()
    assert KEY.id == hmac.new(SECRET, b"key-id", hashlib.sha256).hexdigest()[:8]
    # No two ways of cutting one text into parts are the same.
    assert len({KEY.digest(*parts) for parts in (("ab", "c", "d"), ("a", "bc", "d"), ("a", "b", "cd"))}) == 3


def test_blanks_around_a_value_do_not_matter_and_case_does() -> None:
    assert patient_id_of(KEY, " 4711\0") == patient_id_of(KEY, "4711")
    assert patient_id_of(KEY, "a1") != patient_id_of(KEY, "A1")


def test_pseudonyms_differ_by_key_purpose_and_value() -> None:
    other = Key(bytes(32))
    codes = {
        patient_id_of(KEY, "4711"),
        accession_of(KEY, "4711"),
        patient_id_of(other, "4711"),
        patient_id_of(KEY, "4712"),
    }
    assert len(codes) == 4
    assert all(len(code) == 10 and code.isascii() for code in codes)


def test_a_uid_has_128_bits_and_its_root() -> None:
    uid = uid_of(KEY, "1.2.3")
    assert uid.startswith("2.25.")
    assert int(uid[5:]) == int.from_bytes(KEY.digest("uid", "", "1.2.3")[:16], "big")
    assert len(uid) <= 44
    assert uid != uid_of(KEY, "1.2.3", "of another patient")


def test_days_lie_between_one_and_ten_years_back() -> None:
    days = [days_of(KEY, str(number)) for number in range(2000)]
    assert min(days) >= -3650
    assert max(days) <= -365
    assert len(set(days)) > 1000


@pytest.mark.parametrize("pseudonym", ["", " ", "Müller", "a\\b", "^", "x" * 65, "a\n"])
def test_a_pseudonym_is_plain_ascii(pseudonym: str) -> None:
    with pytest.raises(DeidError):
        Subject(pseudonym, -1)
