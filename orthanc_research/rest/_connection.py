"""Where an Orthanc is and how to get in: a frozen description without a socket.

Secrets live here and nowhere else: they are in no repr, no message and no pickle.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from orthanc_research.errors import QueryError

__all__ = ["Auth", "Connection"]

Auth = tuple[str, str] | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Address, credentials, TLS and time-outs of one Orthanc.

    `auth` is (user, password) or "env:NAME" where NAME holds "user:password"; `token` a bearer token or "env:NAME";
    `headers` are sent with every request. `verify` is True, False (no check: say so yourself) or the path of a CA file;
    `cert` the path of a client certificate with its key, or (certificate, key[, password]). `timeout` is seconds
    without a byte; connecting takes at most 5. `trust_env` lets proxies be taken from the environment.
    """

    url: str
    auth: Auth = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool | str = True
    cert: str | tuple[str, ...] | None = field(default=None, repr=False)
    timeout: float = 60.0
    trust_env: bool = False
    stripped: bool = field(default=False, repr=False)

    @classmethod
    def make(cls, url: str | None = None, **options: Any) -> Connection:
        """Check the arguments and fill in from the environment; `QueryError` names what is wrong.

        Without `url`, ORTHANC_URL is used, and ORTHANC_USERNAME with ORTHANC_PASSWORD, or ORTHANC_TOKEN. With a `url`
        the environment's credentials are left alone: they belong to another server, perhaps.
        """
        options = {name: value for name, value in options.items() if value is not None}
        if url is None:
            url = os.environ.get("ORTHANC_URL")
            if not url:
                raise QueryError("Say where Orthanc is: Orthanc('http://localhost:8042'), or set ORTHANC_URL.")
            options = {**_environment(), **options}
        address, credentials = _split(url)
        if credentials and "auth" not in options:
            options["auth"] = credentials
        connection = cls(url=address, **options)
        connection._check()
        return connection

    def _check(self) -> None:
        if self.auth is not None and self.token is not None:
            raise QueryError("Give either auth=(user, password) or token=, not both.")
        if isinstance(self.auth, str) and not self.auth.startswith("env:"):
            raise QueryError('auth is (user, password), or "env:NAME" where NAME holds "user:password".')
        if isinstance(self.auth, tuple) and (len(self.auth) != 2 or not all(isinstance(a, str) for a in self.auth)):
            raise QueryError("auth is a pair of strings: (user, password).")
        if not self.timeout > 0:
            raise QueryError("timeout is a positive number of seconds.")
        for name, value in self.headers.items():
            if any(c in f"{name}{value}" for c in "\r\n\0"):
                raise QueryError(f"The header {name!r} holds a line break; headers are one line.")

    def request_headers(self) -> dict[str, str]:
        """Headers for every request, the bearer token among them."""
        headers = {"User-Agent": "orthanc-research", **self.headers}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {_secret(self.token)}"
        return headers

    def basic_auth(self) -> tuple[str, str] | None:
        """User and password, or None."""
        if self.stripped:
            raise QueryError(
                "This connection was pickled, and pickles carry no password or token; use auth='env:NAME' instead."
            )
        if isinstance(self.auth, str):
            user, colon, password = _secret(self.auth).partition(":")
            if not colon:
                raise QueryError(f"The variable {self.auth[4:]} does not hold user:password.")
            return user, password
        return self.auth

    def tls(self) -> ssl.SSLContext | bool:
        """What verifies the server and identifies us."""
        if self.verify is False and self.cert is None:
            return False
        try:
            context = ssl.create_default_context(cafile=self.verify if isinstance(self.verify, str) else None)
        except OSError:
            raise QueryError("verify= names a CA file that is not there, or is not one (PEM).") from None
        if self.verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert is not None:
            chain = (self.cert,) if isinstance(self.cert, str) else self.cert
            try:
                context.load_cert_chain(*chain)
            except OSError:
                raise QueryError("cert= names a client certificate that is not there, or has no key (PEM).") from None
        return context

    def __reduce__(self) -> tuple[Any, ...]:
        # References ("env:NAME") travel; secrets do not, and neither do headers, which may hold them. By __reduce__:
        # Python 3.11.2 gives a frozen dataclass with slots a __getstate__ of its own, which would carry everything.
        bare = replace(self, auth=_reference(self.auth), token=_reference(self.token), headers={})
        lost = bare.auth != self.auth or bare.token != self.token or bool(self.headers)
        state = {each.name: getattr(bare, each.name) for each in fields(bare)}
        return _restored, ({**state, "stripped": self.stripped or lost},)


def _restored(state: Mapping[str, Any]) -> Connection:
    return Connection(**state)


def _reference(value: Any) -> Any:
    return value if isinstance(value, str) and value.startswith("env:") else None


def _secret(value: str) -> str:
    if not value.startswith("env:"):
        return value
    name = value[4:]
    if not os.environ.get(name):
        raise QueryError(f"The environment variable {name} is not set.")
    return os.environ[name]


def _environment() -> dict[str, Any]:
    user, password = os.environ.get("ORTHANC_USERNAME"), os.environ.get("ORTHANC_PASSWORD")
    if user and password is not None:
        return {"auth": (user, password)}
    token = os.environ.get("ORTHANC_TOKEN")
    return {"token": token} if token else {}


def _split(url: str) -> tuple[str, tuple[str, str] | None]:
    if not isinstance(url, str):
        raise QueryError(f"The address is text such as 'http://localhost:8042', not a {type(url).__name__}.")
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise QueryError("The address cannot be read; it looks like 'http://localhost:8042/orthanc'.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise QueryError("The address starts with http:// or https:// and names a host: 'http://localhost:8042'.")
    if parts.query or parts.fragment:
        raise QueryError("The address has no '?' or '#': give the address of Orthanc itself, not of a page of it.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    address = urlunsplit((parts.scheme, f"{host}:{port}" if port else host, parts.path.rstrip("/"), "", ""))
    if parts.username is None:
        return address, None
    return address, (unquote(parts.username), unquote(parts.password or ""))
