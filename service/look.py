"""The one look of pages, plots and sheets: colours, type and spacing."""

from __future__ import annotations

INK, FAINT, PAPER, LINE, ACCENT, ALERT = "#1a1a1a", "#6b6b6b", "#ffffff", "#d9d9d9", "#2f6f9f", "#c2455a"
DARK_INK, DARK_FAINT, DARK_PAPER, DARK_LINE, DARK_ACCENT = "#e6e6e6", "#a0a0a0", "#16181b", "#3a3d41", "#7fb8e0"

MARGIN, GAP, BAND_GAP, PANEL_GAP = 28, 6, 22, 36  # px of a sheet
CAPTION, HEADING, TITLE, FOOTER = 11, 14, 20, 11  # px of letters on a sheet
