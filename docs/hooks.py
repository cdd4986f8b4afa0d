"""What mkdocs does not do: lists of notebooks and decisions in the navigation, screens in the reader's theme."""

import re
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Every notebook and every decision has its place, without a list to keep."""
    root = Path(config["docs_dir"])
    for entry in config["nav"]:
        for name in entry:
            if name in ("Notebooks", "Decisions"):
                folder = root / name.lower()
                pages = sorted(folder.glob("[0-9]*.md"))
                first = [folder / "README.md"] if (folder / "README.md").exists() else []
                entry[name] = [str(path.relative_to(root)) for path in [*first, *pages]]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Pages name the light picture of a screen; the dark one beside it is for readers of dark pages."""
    both = r"![\1](\2-light.png#only-light)\n![\1](\2-dark.png#only-dark)"
    return re.sub(r"!\[([^]]*)\]\(((?:\.\./)?screens/[\w-]+)-light\.png\)", both, markdown)
