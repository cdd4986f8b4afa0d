"""How every screen looks: one style sheet, in the colours of the notebook, light or dark."""

from __future__ import annotations

import ipywidgets

__all__ = ["style"]

# JupyterLab and Voilà define the --jp colours for their theme; elsewhere the second value holds. Their red alone has
# too little contrast in the dark (4.4 to 1; WCAG 2.2 §1.4.3 asks for 4.5): it is mixed with the colour of text. An
# arrow of a middle grey is seen on both. Of the theme's numbers one alone tells which it is: 0 where it is light, 32
# where it is dark.
_CSS = """
.ores { color: var(--jp-ui-font-color1, #1a1a1a); }
.ores-rows > .widget-label { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.ores .widget-html-content span, .ores .widget-html-content td { white-space: pre-wrap; }
.ores .ores-head span { white-space: pre; }
.ores-rows select, .ores-head { font-family: var(--jp-code-font-family, monospace); font-size: 13px; white-space: pre; }
.ores-sheet { overflow: auto hidden; }
.ores-sheet > .ores-rows { width: max-content; min-width: calc(100% - 4px); max-width: none; }
.ores-rows select { flex: 1 0 auto; width: auto; max-width: none; }
.ores-rows select { background: var(--jp-layout-color0, #fff); color: var(--jp-ui-font-color1, #1a1a1a); }
.ores-rows select:focus, .ores button:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); }
.ores-head { font-weight: 600; padding-left: 4px; flex: none; }
.ores-row .widget-html-content, .ores-call .widget-html-content { line-height: 1.5; }
.ores-status { min-height: 1.4em; padding: 2px 4px; overflow-wrap: anywhere; }
.ores-field { overflow-wrap: anywhere; }
.ores-status .failed, .ores-field span { color: var(--jp-error-color1, #b42318);
  color: color-mix(in srgb, var(--jp-error-color1, #b42318) 75%, var(--jp-ui-font-color1, #1a1a1a)); }
.ores-call code { user-select: all; overflow-wrap: anywhere; white-space: pre-wrap; font-size: 12px;
  background: var(--jp-layout-color2, #f0f0f0); color: var(--jp-ui-font-color1, #1a1a1a); padding: 1px 4px; }
.ores > .jupyter-button, .ores .widget-vbox > .jupyter-button, .ores .widget-image, .ores-take {
  align-self: flex-start; }
.ores .widget-hbox { flex-wrap: wrap; }
.ores .widget-hbox > * { max-width: 100%; }
.ores-page .lm-TabBar-tab { min-width: max-content !important; }
.ores-title { font-weight: 600; font-size: 15px; }
.ores-working { transition: visibility 0s linear 0.3s; }
.ores-tags pre { max-height: 560px; width: 44em; max-width: 100%; overflow: auto; margin: 0; padding: 4px;
  font-family: var(--jp-code-font-family, monospace); font-size: 12px; line-height: 1.35;
  background: var(--jp-layout-color0, #fff); color: var(--jp-ui-font-color1, #1a1a1a); }
.ores-tags pre:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); }
.ores-beside { flex-flow: row wrap; gap: 8px; }
.ores-warning { font-weight: 600; color: var(--jp-warn-color0, #8a4b00); }
.ores-scroll { max-height: 24em; overflow: auto; }
.ores-before-after { border-collapse: collapse; font-size: 12px; overflow-wrap: anywhere; }
.ores-before-after th, .ores-before-after td { text-align: left; vertical-align: top; padding: 1px 8px 1px 4px;
  border-bottom: 1px solid var(--jp-border-color2, #ddd); unicode-bidi: isolate; }
.ores-before-after .gone td:nth-child(2), .ores-before-after .changed td:nth-child(2) { text-decoration: line-through; }
.ores .widget-dropdown > select { background-image: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
viewBox='0 0 18 18'%3E%3Cpath fill='%23808080' d='M5.2 5.9 9 9.7l3.8-3.8 1.2 1.2L9 12.1 4 7.1z'/%3E%3C/svg%3E"); }
.ores-overview { filter: invert(min(.87, var(--jp-shadow-base-lightness, 0)))
  hue-rotate(calc(min(1, var(--jp-shadow-base-lightness, 0)) * 180deg)); }
.ores-note { color: var(--jp-ui-font-color2, #555); }
"""


def style() -> ipywidgets.HTML:
    """The style sheet as a widget, for the head of a screen."""
    return ipywidgets.HTML(f"<style>{_CSS}</style>", layout={"display": "none"})
