"""Pages of HTML that are one file: pictures inside, no scripts, nothing from outside.

Names of labels and images come from users, so every text goes through `html.escape` on its way into
a tag; nothing else makes tags here.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 52rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: 0.8rem 0; font-size: 0.95rem; }
th, td { text-align: left; padding: 0.25rem 0.9rem 0.25rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; overflow-wrap: anywhere; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.verdict { border-left: 0.5rem solid #0072b2; background: #eef5fa; padding: 0.6rem 1rem; }
.refused { border-color: #d55e00; background: #fbf0ea; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
figcaption, .small { color: #555; font-size: 0.9rem; }
""".strip()


def document(title: str, parts: Sequence[str]) -> str:
    """A whole page.

    Args:
        title: as text.
        parts: its body as HTML, one under the other.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def section(title: str, content: str) -> str:
    """A heading, and HTML below it."""
    return f"{tag('h2', title)}\n{content}"


def picture(title: str, png: bytes, caption: str = "") -> str:
    """A PNG inside of the page.

    Args:
        title: what it shows, for those who do not see it.
        png: the file's content.
        caption: text below it.
    """
    encoded = base64.b64encode(png).decode("ascii")
    below = tag("figcaption", caption) if caption else ""
    image = f'<img alt="{escape(title)}" src="data:image/png;base64,{encoded}">'
    return f"<figure>{image}{below}</figure>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns whose cells are all numbers are set flush right."""
    columns = range(len(rows[0])) if rows else range(0)
    numeric = [bool(heads) and all(_is_number(row[n]) for row in rows) for n in columns]
    marks = [' class="n"' if number else "" for number in numeric]
    lines = []
    if heads:
        cells = zip(marks, heads, strict=True)
        lines.append("".join(f"<th{mark}>{escape(text)}</th>" for mark, text in cells))
    for row in rows:
        cells = zip(marks, row, strict=True)
        lines.append("".join(f"<td{mark}>{escape(text)}</td>" for mark, text in cells))
    return "<table>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table>"


def tag(name: str, text: str) -> str:
    """Text in a tag."""
    return f"<{name}>{escape(text)}</{name}>"


def _is_number(text: str) -> bool:
    return text.replace(" to ", "").strip("+-0123456789.") == "" and text != ""
