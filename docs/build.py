"""The site, into site/: pages and executed notebooks are gathered in build/docs, and no warning is let through."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "build" / "docs"


def gather() -> None:
    """Pages and pictures, as they are."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for path in sorted((ROOT / "docs").glob("**/*")):
        where = path.relative_to(ROOT / "docs")
        if path.suffix in (".md", ".png", ".css") and not where.parts[0].startswith("."):
            (PAGES / where).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, PAGES / where)


def execute() -> None:
    """Each notebook in a folder of its own, as pages with what it printed and drew."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        print(f"Running {path.name} ...", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(path, folder)
            command = ["nbconvert", "--execute", "--to", "markdown", "--log-level", "ERROR"]
            command += ["--KernelManager.transport=ipc", f"--KernelManager.connection_file={folder}/kernel.json"]
            made = ["--output-dir", str(PAGES / "notebooks"), path.name]
            subprocess.run([sys.executable, "-m", "jupyter", *command, *made], cwd=folder, check=True)
        page = PAGES / "notebooks" / f"{path.stem}.md"
        text = page.read_text().replace(".ipynb)", ".md)").replace("](../docs/", "](../")
        # A screen needs a kernel; what stands for it on paper says nothing.
        page.write_text(re.sub(r"^    (VBox|HBox)\(children=.*\n", "", text, flags=re.MULTILINE))


def main() -> None:
    """All of it; `--keep-notebooks` builds with those that were executed before."""
    kept = PAGES / "notebooks"
    before = ROOT / "build" / "notebooks"
    if "--keep-notebooks" in sys.argv[1:] and kept.exists():
        shutil.rmtree(before, ignore_errors=True)
        kept.rename(before)
    gather()
    if before.exists():
        before.rename(kept)
    else:
        execute()
    config = str(ROOT / "docs" / "mkdocs.yml")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "--quiet", "-f", config]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # an advertisement, not a warning
    if subprocess.run(command, check=False, env=quiet).returncode:
        sys.exit("The site was not built: see above.")
    print(f"The site is in {(ROOT / 'site').relative_to(ROOT)}/index.html", file=sys.stderr)


if __name__ == "__main__":
    main()
