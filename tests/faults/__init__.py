"""Faults that happen on a wire and to a process, for the gates of reliability; nothing here is a test itself."""

from faults.proxy import Exchange, Fault, Proxy
from faults.script import Script

__all__ = ["Exchange", "Fault", "Proxy", "Script"]
