"""Pieces of an HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

CSS = """
:root { color-scheme: light dark; --ink: #1f2937; --soft: #5b6472; --line: #e5e7eb; --rule: #cbd5e1; --accent: #0072b2;
  --page: #f8fafc; --card: #ffffff; --box: #f1f5f9; --note: #fffbeb; --bad: #b42318; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e5e7eb; --soft: #a3adba; --line: #374151; --rule: #4b5563; --accent: #6cb8ea;
    --page: #111827; --card: #1b2433; --box: #273244; --note: #3a2f14; --bad: #fda29b; }
}
* { box-sizing: border-box; }
body { font: 15px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: var(--ink);
  margin: 0; background: var(--page); }
header, main, footer { max-width: 1060px; margin: 0 auto; padding: 0 28px; }
header { padding-top: 34px; }
h1 { font-size: 27px; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 0 0 10px; }
p { margin: 6px 0 12px; max-width: 80ch; }
.soft { color: var(--soft); }
nav { margin: 14px 0 4px; }
nav a { display: inline-block; margin: 0 14px 6px 0; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 20px 24px;
  margin: 18px 0; }
.figures { display: flex; gap: 12px; flex-wrap: wrap; margin: 16px 0 4px; }
.number { flex: 1 1 150px; background: var(--box); border-radius: 6px; padding: 10px 14px; }
.number b { display: block; font-size: 25px; line-height: 1.25; }
.number span { color: var(--soft); font-size: 13px; }
progress { width: 100%; height: 14px; accent-color: var(--accent); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0 14px; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { border-bottom: 2px solid var(--rule); font-weight: 600; }
td.n, th.n { text-align: right; padding-right: 16px; }
td.n, td:first-child { white-space: nowrap; }
tr.total td { font-weight: 600; border-top: 2px solid var(--rule); }
img { display: block; width: 100%; height: auto; margin: 10px 0 16px; }
.note { border-left: 4px solid #e69f00; background: var(--note); padding: 8px 14px; margin: 12px 0; }
code, pre { font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; background: var(--box); border-radius: 4px; }
code { padding: 1px 5px; }
pre { padding: 10px 14px; overflow-x: auto; }
footer { color: var(--soft); font-size: 13px; padding-bottom: 40px; }
"""


def image(content: bytes, text: str) -> str:
    """Return a PNG as an image that is part of the page, with a description for those who do not see it."""
    data = base64.b64encode(content).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    """Return text as it is, in lines."""
    return f"<pre>{escape(text)}</pre>"


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]], total: bool = False) -> str:
    """Return a table; numbers (given as ``int`` or `Number`) are set to the right, `total` marks the last row."""
    body = [list(row) for row in rows]
    numeric = [all(isinstance(v, int | Number) for v in column) for column in zip(*body, strict=True)]
    heads = zip(columns, numeric or [False] * 99, strict=False)
    head = "".join(f'<th scope="col"{_right(n)}>{escape(c)}</th>' for c, n in heads)
    lines = []
    for k, row in enumerate(body):
        cells = "".join(f"<td{_right(n)}>{_shown(v)}</td>" for v, n in zip(row, numeric, strict=True))
        kind = ' class="total"' if total and k == len(body) - 1 else ""
        lines.append(f"<tr{kind}>{cells}</tr>")
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


class Number(str):
    """A number as it shall be shown."""


class Html(str):
    """HTML to be shown as it is."""


def _right(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _shown(value: Any) -> str:
    if isinstance(value, Html):
        return value
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def progress(done: int, most: int, what: str) -> Html:
    """Return a bar; `what` says of what, for those who do not see it."""
    return Html(f'<progress max="{max(most, 1)}" value="{done}" aria-label="{escape(what)}"></progress>')


def headline(values: Mapping[str, str]) -> str:
    """Return the main figures in large type: value by caption."""
    boxes = [f'<div class="number"><b>{escape(v)}</b><span>{escape(k)}</span></div>' for k, v in values.items()]
    return f'<div class="figures">{"".join(boxes)}</div>'


def link(address: str, text: str) -> str:
    """Return a link."""
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def document(title: str, lead: str, sections: Mapping[str, tuple[str, str]], foot: str) -> str:
    """Return a page.

    Parameters
    ----------
    title, lead : str
        Plain text.
    sections : mapping of str to (str, str)
        Heading and HTML by anchor.
    foot : str
        HTML.
    """
    nav = "".join(link(f"#{anchor}", heading) for anchor, (heading, _) in sections.items())
    body = "\n".join(
        f'<section id="{anchor}">\n<h2>{escape(heading)}</h2>\n{content}\n</section>'
        for anchor, (heading, content) in sections.items()
    )
    header = f'<header><h1>{escape(title)}</h1><p class="soft">{escape(lead)}</p><nav>{nav}</nav></header>'
    return page(title, f"{header}\n<main>\n{body}\n</main>\n<footer>{foot}</footer>")


def page(title: str, body: str, head: str = "") -> str:
    """Return a page of HTML; `head` is what its head has beside title and style."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n{head}</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
