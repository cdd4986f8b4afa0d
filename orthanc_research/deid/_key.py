"""The project's secret key: everything keyed comes from here, and it shows itself to nobody."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import NoReturn

from orthanc_research.errors import DeidError

__all__ = ["Key"]

_BYTES = 32
_BLANKS = " \t\r\n\0"


class Key:
    """A secret of exactly 32 bytes, from which pseudonyms, UIDs and date offsets follow by HMAC (RFC 2104).

    It can be neither pickled nor copied, and its `repr` shows the id alone. `DeidError` for any other length.
    """

    __slots__ = ("_secret", "id")

    def __init__(self, secret: bytes) -> None:
        if not isinstance(secret, bytes) or len(secret) != _BYTES:
            raise DeidError("A key is exactly 32 bytes.")
        self._secret = secret
        self.id: str = self._hmac(b"key-id").hex()[:8]

    @classmethod
    def parse(cls, text: str) -> Key:
        """The key written as 64 hexadecimal digits, or as base64 of exactly 32 bytes; else `DeidError`."""
        text = text.strip()
        if re.fullmatch(r"[0-9A-Fa-f]{64}", text):
            return cls(bytes.fromhex(text))
        try:
            return cls(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError, DeidError):
            # Not chained: the cause's message may repeat what was typed.
            raise DeidError("A key is 64 hexadecimal digits, or the base64 of exactly 32 bytes.") from None

    def reveal(self) -> str:
        """The key as 64 hexadecimal digits, for handing it to a process of one's own; it is a secret."""
        return self._secret.hex()

    def digest(self, purpose: str, namespace: str, value: str) -> bytes:
        """HMAC-SHA-256 (32 bytes) over the three parts, each after its length; blanks and NULs around them go."""
        message = b""
        for part in (purpose, namespace, value):
            content = part.strip(_BLANKS).encode("utf-8", "surrogatepass")
            message += len(content).to_bytes(8, "big") + content
        return self._hmac(message)

    def _hmac(self, message: bytes) -> bytes:
        return hmac.digest(self._secret, message, "sha256")

    def __repr__(self) -> str:
        return f"<Key {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key is not pickled or copied by accident; hand over key.reveal() where that is meant.")
