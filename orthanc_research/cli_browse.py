"""`orthanc-research browse`: the browsers as a page, for who has no notebook.

Voilà serves one notebook of one cell. It listens on this machine only and asks for a token, which is in the address
that is printed and in no argument of any process. The notebook holds no credentials: its kernel has the environment of
this command. The page asks nothing of any other server than this one. What it needs on the disk is in a folder of its
own, which goes at the end.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from traitlets.config import Config

from orthanc_research.errors import QueryError
from orthanc_research.orthanc import Orthanc

__all__ = ["browse"]

HOST = "127.0.0.1"
_NAME = "browse.ipynb"
_LONGEST = 40  # bytes of the folder's path, so that those of the sockets below it have fewer than 104
# The pages of Voilà ask a public server for fonts of icons. Behind a firewall that says nothing they would wait for it.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws://{host}; "
    "frame-ancestors 'none'; form-action 'none'; base-uri 'self'"
)


def browse(
    url: Annotated[str | None, typer.Argument(help="Address of Orthanc; without it, ORTHANC_URL.")] = None,
    auth_env: Annotated[
        str | None, typer.Option("--auth-env", metavar="NAME", help="Variable that holds user:password for URL.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the page is; 0 takes a free one.")] = 0,
) -> None:
    """The browsers as a page, for this machine alone, until Ctrl-C."""
    if find_spec("voila") is None:
        raise QueryError("The page needs Voilà, which is not installed: pip install voila ipykernel.")
    with Orthanc(url, auth=f"env:{auth_env}" if auth_env else None) as orthanc:
        orthanc.capabilities()  # an Orthanc that is not there is said here, not in the page
    from voila.app import Voila

    os.umask(0o077)
    for each in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, each):
            signal.signal(getattr(signal, each), _end)
    with tempfile.TemporaryDirectory(prefix="ores-browse-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _environment(folder)
        _write(folder / _NAME, url, auth_env)
        _serve(Voila, folder, port or _free_port())
    print("\nEnded.")


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """A request to end, and a terminal that was closed, are as Ctrl-C."""
    raise KeyboardInterrupt


def _environment(folder: Path) -> None:
    """Jupyter's own files go into the folder, and nothing of the user's settings changes what is served."""
    for variable in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        place = folder / variable.lower()
        place.mkdir(mode=0o700)
        os.environ[variable] = str(place)
    os.environ["JUPYTER_NO_CONFIG"] = "1"
    # What goes wrong in a panel is on its status line. A kernel's log has no reader, may quote tags in its tracebacks,
    # and at the end says what it was at.
    profile = folder / "ipythondir" / "profile_default"
    profile.mkdir(mode=0o700)
    (profile / "ipython_kernel_config.py").write_text("import logging\nlogging.disable(logging.CRITICAL)\n")


def _write(path: Path, url: str | None, auth_env: str | None) -> None:
    code = (
        f"import os\nos.chdir({str(Path.cwd())!r})\n"  # where the user is, for relative paths
        f"from orthanc_research.widgets._page import page\npage({url!r}, {auth_env!r})"
    )
    cell: dict[str, Any] = {"cell_type": "code", "id": "one", "execution_count": None, "outputs": []}
    cell |= {"metadata": {}, "source": code}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook))


def _serve(kind: Any, folder: Path, port: int) -> None:
    """Until Ctrl-C. Voilà runs in this process: what it is told, the token too, is in no list of processes."""
    token = secrets.token_urlsafe(32)
    # At INFO it prints addresses of its own, as a warning that this notebook is not signed.
    server = kind(log_level=logging.ERROR)
    logging.getLogger("tornado.general").setLevel(logging.ERROR)
    headers = {"Content-Security-Policy": _POLICY.format(host=f"{HOST}:{port}"), "Referrer-Policy": "no-referrer"}
    server.update_config(
        Config(
            Voila={
                "ip": HOST,
                "port": port,
                "port_retries": 0,
                "token": token,
                "open_browser": True,
                "config_file_paths": [],
                "connection_dir_root": str(folder),
                "tornado_settings": {"headers": headers},
            },
            # On a busy machine what the cell shows comes later than the 4 s of the default: the page would stay empty.
            VoilaExecutor={"iopub_timeout": 120},
            # Sockets in the folder: at a port, who else is on this machine could read along what a kernel shows.
            KernelManager={"transport": "ipc" if len(os.fsencode(folder)) <= _LONGEST else "tcp"},
        )
    )
    address = f"http://{HOST}:{port}/?token={token}"
    # It is called once the server listens. A browser started with the address would show it in the list of processes.
    server.launch_browser = lambda: print(f"Open {address}\nCtrl-C ends it.", flush=True)
    server.initialize([str(folder / _NAME)])
    server.stop = partial(_stop, server.stop)
    _stop_by_signal()
    server.start()


def _stop_by_signal() -> None:
    """Ctrl-C is an event of the server's loop.

    As an exception it would be lost wherever Python ignores one: in the callback of a weak reference, of which each
    message of a busy page has some. The command would go on.
    """
    from tornado.ioloop import IOLoop

    loop = IOLoop.current()

    def stop(_number: int, _frame: FrameType | None) -> None:
        loop.add_callback_from_signal(loop.stop)

    for each in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, each):
            signal.signal(getattr(signal, each), stop)


def _stop(stop: Callable[[], None]) -> None:
    """Ends the kernels, and says no word of answers that were on their way."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # who will not wait for that asks again
    stop()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
