"""The configuration of a private server: closed to everybody but its owner, as far as each version can be closed.

HTTP (1.10.1, 1.12.7) and DICOM (all) listen on every interface whatever they are told; only 1.13.0 honours
HttpBindAddresses. So other hosts are refused by RemoteAccessAllowed, other users of this host by a random password, and
DICOM is off unless asked for, and then checks the called and the calling title and the caller's address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orthanc_research.errors import QueryError

__all__ = ["Settings", "check", "configuration"]

_OWN = re.compile(
    r"Http(Port|ServerEnabled|BindAddresses)|RemoteAccessAllowed|AuthenticationEnabled|RegisteredUsers|Ssl\w+"
    r"|Dicom(Port|ServerEnabled|CheckCalledAet|CheckModalityHost|AlwaysAllow\w+)|(Storage|Index|Temporary)Directory"
)
_OPERATIONS = ("Echo", "Find", "FindWorklist", "Get", "Move", "Store")  # Echo and Store default to true


@dataclass(frozen=True)
class Settings:
    """What one start of a server needs to know. `dicom_port` is None for a server without DICOM."""

    folder: Path
    user: str
    password: str = field(repr=False)
    http_port: int
    dicom_port: int | None
    extra: Mapping[str, Any]

    @property
    def aet(self) -> str:
        """The application entity title; with the port in it, so that two servers of one machine differ."""
        return str(self.extra.get("DicomAet") or f"ORES{self.dicom_port or self.http_port}")


def check(extra: Mapping[str, Any]) -> None:
    """`QueryError` for a setting that would open the server or take its storage away, or a plugin that is not there."""
    for key in extra:
        if _OWN.fullmatch(key):
            raise QueryError(f'"{key}" keeps the private server private and cannot be configured; leave it out.')
    plugins = extra.get("Plugins", [])
    if not isinstance(plugins, list | tuple):
        raise QueryError('"Plugins" is a list of paths.')
    for plugin in plugins:
        if not Path(plugin).exists():  # 1.10.1 would go on without it and say nothing
            raise QueryError(f"There is no Orthanc plugin at {plugin}.")


def configuration(settings: Settings) -> dict[str, Any]:
    """The configuration file, as JSON."""
    storage = str(settings.folder / "storage")
    return {
        "Name": "orthanc_research",
        "Plugins": [],
        "ConcurrentJobs": 2,
        "DicomAet": settings.aet,
        **{key: list(value) if isinstance(value, tuple) else value for key, value in settings.extra.items()},
        "StorageDirectory": storage,
        "IndexDirectory": storage,
        "TemporaryDirectory": str(settings.folder / "temporary"),  # else uploads pass through a shared /tmp
        "HttpServerEnabled": True,
        "HttpPort": settings.http_port,
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "SslEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {settings.user: settings.password},
        "DicomServerEnabled": settings.dicom_port is not None,
        "DicomPort": settings.dicom_port or 4242,
        "DicomCheckCalledAet": True,
        "DicomCheckModalityHost": True,
        **{f"DicomAlwaysAllow{operation}": False for operation in _OPERATIONS},
    }
