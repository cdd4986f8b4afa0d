"""Where an Orthanc is and how to get in: a frozen description without a socket.

Secrets live here and nowhere else: they are in no repr, no message and no pickle.
"""

from __future__ import annotations

import base64
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from orthanc_research.errors import QueryError

__all__ = ["Auth", "Connection"]

Auth = tuple[str, str] | str | None

# RFC 9110 §5.6.2 and §5.5: what may be a header's name, and its value (spaces inside, none around it). httpx would send
# or refuse the rest with the value in its traceback.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.IGNORECASE)
# A day; sockets fail on what does not fit into 64 bits of nanoseconds.
_LONGEST = 86_400.0


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
                raise QueryError(
                    "Say where Orthanc is, as in http://localhost:8042: Orthanc(url), --url in a shell, or ORTHANC_URL."
                )
            options = {**_environment(), **options}
        address, credentials = _split(url)
        if credentials and "auth" not in options:
            options["auth"] = credentials
        if options.get("auth") is not None and options.get("token") is not None:
            raise QueryError("Give either auth=(user, password) or token=, not both.")
        for name, check in _CHECKS.items():
            if name in options:
                options[name] = check(options[name])
        return cls(url=address, **options)

    def request_headers(self) -> dict[str, str]:
        """Headers for every request, with the password or the bearer token; `QueryError` where these cannot be had."""
        headers = {"User-Agent": "orthanc-research", **self.headers}
        if (pair := self.basic_auth()) is not None:
            headers["Authorization"] = f"Basic {base64.b64encode(':'.join(pair).encode()).decode()}"
        if self.token is not None:
            # Checked when it is used: a variable may change, and come from a file with a line end.
            headers["Authorization"] = f"Bearer {_visible(_secret(self.token).strip(), 'The token')}"
        return headers

    def basic_auth(self) -> tuple[str, str] | None:
        """User and password, or None; `QueryError` where they were pickled away, or a variable does not hold them."""
        if self.stripped:
            raise QueryError(
                "This connection was pickled, and pickles carry no password or token; use auth='env:NAME' instead."
            )
        if isinstance(self.auth, str):
            user, colon, password = _secret(self.auth).rstrip("\r\n").partition(":")
            if not colon:
                raise QueryError(f"The variable {self.auth[4:]} does not hold user:password.")
            return _pair((user, password))
        return self.auth

    def tls(self) -> ssl.SSLContext | bool:
        """What verifies the server and identifies us; `QueryError` for certificates that cannot be read."""
        if self.url.startswith("http://") and not self.trust_env and self.verify is True and self.cert is None:
            return False  # nothing is encrypted, no redirect is followed, and reading the CAs takes 30 ms
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
    if not _is_host(parts.hostname):
        raise QueryError("The address names a host that cannot be one; it looks like 'http://localhost:8042'.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    address = urlunsplit((parts.scheme, f"{host}:{port}" if port else host, parts.path.rstrip("/"), "", ""))
    if parts.username is None:
        return address, None
    return address, (unquote(parts.username), unquote(parts.password or ""))


def _is_host(host: str) -> bool:
    try:
        raw = httpx.URL(scheme="http", host=host).raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError):
        return False
    return ":" in raw or (len(raw) <= 253 and _HOST.fullmatch(raw) is not None)


def _auth(given: Any) -> Auth:
    if isinstance(given, str):
        if not given.startswith("env:"):
            raise QueryError('auth is (user, password), or "env:NAME" where NAME holds "user:password".')
        return given
    return _pair(given)


def _pair(given: Any) -> tuple[str, str]:
    """Any pair of strings as a tuple; a subclass of tuple stays what it is: it may mask its repr."""
    if not isinstance(given, list | tuple) or len(given) != 2 or not all(isinstance(part, str) for part in given):
        raise QueryError("auth is a pair of strings: (user, password).")
    if not all(_encodes(part) for part in given) or ":" in given[0]:
        raise QueryError("auth holds text that cannot be sent; a user name has no colon in it.")
    return given if isinstance(given, tuple) else (given[0], given[1])


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _token(given: Any) -> str:
    if not isinstance(given, str):
        raise QueryError("token is text.")
    return given if given.startswith("env:") else _visible(given.strip(), "The token")


def _visible(value: str, what: str) -> str:
    """The value, or an error without it."""
    if not value or not _VALUE.fullmatch(value):
        raise QueryError(f"{what} is empty or has signs in it that are not visible ASCII.")
    return value


def _headers(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise QueryError("headers is a mapping of names to values: {'X-Site': 'b'}.")
    for name, value in given.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise QueryError("The name of a header is letters, digits and hyphens.")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise QueryError(f"The value of the header {name} is no visible ASCII text, or has blanks around it.")
    return dict(given)


def _timeout(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, Real) or not 0 < given <= _LONGEST:  # type: ignore[operator]
        raise QueryError("timeout is a positive number of seconds, a day at most.")
    return float(given)


def _verify(given: Any) -> bool | str:
    if isinstance(given, bool):
        return given
    return _path(given, "verify is True, False or the path of a CA file (PEM).")


def _cert(given: Any) -> str | tuple[str, ...]:
    wrong = "cert is the path of a client certificate, or (certificate, key[, password])."
    if isinstance(given, list | tuple):
        if not 1 <= len(given) <= 3:
            raise QueryError(wrong)
        return tuple(_path(each, wrong) for each in given)
    return _path(given, wrong)


def _path(given: Any, wrong: str) -> str:
    if not isinstance(given, str | os.PathLike):
        raise QueryError(wrong)
    return str(os.fspath(given))


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "auth": _auth,
    "token": _token,
    "headers": _headers,
    "verify": _verify,
    "cert": _cert,
    "timeout": _timeout,
    "trust_env": bool,
}
