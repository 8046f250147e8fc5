"""How each outcome looks: a colour, a hatch and a symbol, so that none hangs on colour alone.

The colours are of the palette of Okabe and Ito, told apart with every common colour blindness.
"""

from __future__ import annotations

COLOURS: dict[str, str] = {
    "ok": "#0072B2",
    "wrong": "#E69F00",
    "error": "#D55E00",
    "timeout": "#999999",
    "lost": "#000000",
}
HATCHES: dict[str, str] = {"ok": "", "wrong": "//", "error": "xx", "timeout": "..", "lost": ""}
SYMBOLS: dict[str, str] = {"ok": "✓", "wrong": "≠", "error": "✗", "timeout": "…", "lost": "†"}
