"""Draw docs/figures/architecture.svg: python -m tools.draw_architecture"""

from __future__ import annotations

from html import escape
from pathlib import Path

PICTURE = Path(__file__).parent.parent / "docs" / "figures" / "architecture.svg"

WIDTH, HEIGHT = 1000, 470
STYLE = """
  text { font-family: Helvetica, Arial, sans-serif; font-size: 13px; fill: #222; }
  .package { fill: #f4f1ea; stroke: #b9ad96; }
  .title { font-size: 15px; font-weight: bold; fill: #5d4a2c; }
  .step { fill: #fff; stroke: #7a6a4d; }
  .outside { fill: #e4ecdf; stroke: #6d8760; }
  .small { font-size: 11px; fill: #666; }
  .flow { stroke: #444; stroke-width: 1.6; fill: none; marker-end: url(#head); }
"""
BOX_HEIGHT = 52


def draw() -> str:
    """Return the picture as SVG."""
    parts = [
        package(20, 20, 430, 190, "firmware_bridge", "speaks with spectrometers; knows no soil"),
        package(470, 20, 510, 190, "edge", "predicts beside the instrument; no torch"),
        package(20, 290, 560, 160, "train", "libraries, networks, calibration; no serial port"),
        package(600, 290, 200, 160, "export", "model files, proved equal"),
        *row(80, [(35, 90, "instrument", "a URL", "outside"), (150, 84, "transport", "bytes", "")]),
        *row(80, [(259, 84, "link, drivers", "frames", ""), (368, 70, "scan", "counts", "")]),
        *row(80, [(485, 84, "reflectance", "pipeline", ""), (594, 100, "preprocessing", "", "")]),
        *row(80, [(719, 76, "session", "on an engine", ""), (820, 145, "prediction", "", "")]),
        *row(146, [(820, 64, "store", "SQLite", ""), (905, 60, "stream", "JSON", "outside")]),
        *row(360, [(35, 90, "libraries", "", "outside"), (150, 70, "soils", "on a grid", "")]),
        *row(360, [(245, 90, "network", "", ""), (360, 95, "calibration", "intervals", "")]),
        *row(360, [(480, 80, "run", "a folder", ""), (620, 160, "parity gate", "", "")]),
        *row(360, [(830, 130, "bundle", "one *.ccnvr file", "outside")]),
        *arrows(106, [125, 234, 343, 438, 569, 694, 795], [150, 259, 368, 485, 594, 719, 820]),
        *arrows(172, [884], [905]),
        *arrows(386, [125, 220, 335, 455, 560, 780], [150, 245, 360, 480, 620, 830]),
        path("M 852 132 V 146"),
        path("M 895 360 V 250 H 757 V 132"),
        text(905, 262, "the only thing that travels to the edge", "small", anchor="end", dx=-20),
    ]
    head = (
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#444"/></marker>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="The four packages and the way of a spectrum through them">'
        f"\n<style>{STYLE}</style>\n<defs>{head}</defs>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def package(x: int, y: int, width: int, height: int, name: str, says: str) -> str:
    """Return a package's frame with its name and what it knows."""
    frame = f'<rect class="package" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'
    return "\n".join(
        [frame, text(x + 15, y + 24, name, "title"), text(x + 15, y + 42, says, "small")]
    )


def row(y: int, boxes: list[tuple[int, int, str, str, str]]) -> list[str]:
    """Return boxes at one height; each has x, width, a name, a remark, and a class of its own."""
    drawn = []
    for x, width, name, remark, kind in boxes:
        drawn.append(
            f'<rect class="{kind or "step"}" x="{x}" y="{y}" width="{width}" '
            f'height="{BOX_HEIGHT}" rx="5"/>'
        )
        middle = x + width // 2
        drawn.append(text(middle, y + (24 if remark else 31), name, anchor="middle"))
        if remark:
            drawn.append(text(middle, y + 41, remark, "small", anchor="middle"))
    return drawn


def arrows(y: int, starts: list[int], ends: list[int]) -> list[str]:
    """Return horizontal arrows at one height."""
    return [path(f"M {a} {y} H {b}") for a, b in zip(starts, ends, strict=True)]


def path(steps: str) -> str:
    """Return an arrow along an SVG path."""
    return f'<path class="flow" d="{steps}"/>'


def text(x: int, y: int, words: str, kind: str = "", anchor: str = "start", dx: int = 0) -> str:
    """Return a line of text."""
    return (
        f'<text class="{kind}" x="{x + dx}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw())
