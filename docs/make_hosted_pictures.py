"""Draw the pictures of the page *On a hosted notebook machine* in START_HERE.md: ``python docs/make_hosted_pictures.py``.

Each is a sketch of what a student sees, drawn as SVG from a few boxes and lines of text: no screenshot of anybody's site.
"""

from html import escape
from pathlib import Path

RELEASE = Path(__file__).resolve().parent.parent / "autograder" / "assignments" / "fcn" / "release"
WIDTH, FONT = 640, "font-family='Helvetica, Arial, sans-serif'"
MONO = "font-family='Menlo, Consolas, monospace'"
INK, LINE, PAPER, SHADE, GREEN = "#1f2937", "#9ca3af", "#ffffff", "#f3f4f6", "#15803d"


def text(x: int, y: int, words: str, size: int = 14, font: str = FONT, colour: str = INK, weight: str = "normal") -> str:
    style = f"font-size='{size}' {font} fill='{colour}' font-weight='{weight}' xml:space='preserve'"
    return f"<text x='{x}' y='{y}' {style}>{escape(words)}</text>"


def box(x: int, y: int, width: int, height: int, fill: str = PAPER, stroke: str = LINE) -> str:
    return f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='6' fill='{fill}' stroke='{stroke}'/>"


def window(title: str, height: int, *parts: str) -> str:
    """A window with a title line, and what is in it."""
    head = f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' viewBox='0 0 {WIDTH} {height}'>"
    frame = box(1, 1, WIDTH - 2, height - 2) + box(1, 1, WIDTH - 2, 34, SHADE) + text(16, 23, title, 14, weight="bold")
    return "\n".join([head, frame, *parts, "</svg>", ""])


def files(x: int, y: int, names: list[str], chosen: str = "") -> str:
    rows = [(box(x, y + 26 * row - 17, 260, 24, SHADE) if name == chosen else "") + text(x + 10, y + 26 * row, name, 14, MONO)
            for row, name in enumerate(names)]  # fmt: skip
    return "\n".join(rows)


def pictures() -> dict[str, str]:
    """File name -> SVG."""
    drive = window(
        "Step 1: your drive", 168,
        files(20, 66, ["My Drive", "  Colab Notebooks", "    1_data.ipynb", "  fcn.zip"], "  fcn.zip"),
        text(310, 66, "Two files, and nothing to unpack:"),
        text(310, 92, "the notebook that you open and, in My Drive"), text(310, 114, "or in a folder in it, the zip."),
    )  # fmt: skip
    cell = window(
        "Step 3: the first cell", 236,
        box(20, 50, 600, 52, SHADE), text(30, 82, "\u25b6", 18, colour=GREEN),
        text(60, 72, "import contextlib as c, glob, sys; ...", 13, MONO),
        text(60, 91, "with c.suppress(Exception): ... d.mount(\"/content/drive\")", 13, MONO),
        box(130, 118, 380, 100), text(150, 146, "May this notebook use the files of your drive?"),
        box(300, 170, 90, 30), text(321, 190, "No"), box(402, 170, 90, 30, GREEN, GREEN),
        text(427, 190, "Allow", colour=PAPER, weight="bold"),
    )  # fmt: skip
    proof = window(
        "Step 4: what it answers", 172,
        text(20, 64, "[ok] segkit 0.1.0    /content/drive/MyDrive/fcn/segkit", 13, MONO),
        text(20, 86, "[ok] device          the name of your GPU", 13, MONO),
        text(20, 108, "[ok] data            split sample (24 train, 4 val, 4 test)", 13, MONO),
        text(20, 130, "[ok] work folder     /content/drive/MyDrive/fcn", 13, MONO, GREEN, "bold"),
        text(20, 156, "The work folder is on the drive: a lost machine loses nothing.", 13),
    )  # fmt: skip
    return {"hosted-1-drive.svg": drive, "hosted-2-cell.svg": cell, "hosted-3-answer.svg": proof}


def main() -> None:
    for name, drawing in pictures().items():
        (RELEASE / name).write_text(drawing, encoding="utf-8", newline="\n")
        print(f"{name}: {len(drawing) / 1024:.1f} KiB")


if __name__ == "__main__":
    main()
