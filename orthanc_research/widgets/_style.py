"""How every screen looks: one style sheet, in the colours of the notebook, light or dark."""

from __future__ import annotations

import ipywidgets

__all__ = ["style"]

# JupyterLab and Voilà define the --jp colours for their theme; elsewhere the second value holds.
_CSS = """
.ores { color: var(--jp-ui-font-color1, #1a1a1a); }
.ores-rows select, .ores-head { font-family: var(--jp-code-font-family, monospace); font-size: 13px; white-space: pre; }
.ores-rows select { width: 100%; background: var(--jp-layout-color0, #fff); color: var(--jp-ui-font-color1, #1a1a1a); }
.ores-rows select:focus, .ores button:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); }
.ores-head { font-weight: 600; overflow: hidden; padding-left: 4px; }
.ores-status { min-height: 1.4em; padding: 2px 4px; overflow-wrap: anywhere; }
.ores-status .failed { color: var(--jp-error-color1, #b42318); }
.ores-field { color: var(--jp-error-color1, #b42318); overflow-wrap: anywhere; }
.ores-call code { user-select: all; overflow-wrap: anywhere; white-space: pre-wrap; font-size: 12px;
  background: var(--jp-layout-color2, #f0f0f0); color: var(--jp-ui-font-color1, #1a1a1a); padding: 1px 4px; }
.ores-title { font-weight: 600; font-size: 15px; }
.ores-call .widget-html-content, .ores-row .widget-html-content { line-height: 1.4; overflow-wrap: anywhere; }
.ores-note { color: var(--jp-ui-font-color2, #555); }
"""


def style() -> ipywidgets.HTML:
    """The style sheet as a widget, for the head of a screen."""
    return ipywidgets.HTML(f"<style>{_CSS}</style>", layout={"display": "none"})
