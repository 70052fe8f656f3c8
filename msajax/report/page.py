"""A report as one HTML file that needs no other: text, tables and pictures."""

import base64
import html
from collections.abc import Sequence

STYLE = """
body { font-family: system-ui, sans-serif; margin: 1rem auto; padding: 0 1rem; max-width: 62rem; color: #111; line-height: 1.45; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid #bbb; }
h3 { font-size: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ccc; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th.text { text-align: left; } td.text { white-space: normal; text-align: left; min-width: 14rem; }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; max-width: min(100%, 28.5rem); vertical-align: top; }
img { max-width: 100%; height: auto; }
figcaption { font-size: .85rem; color: #444; }
nav a { margin-right: .8rem; display: inline-block; }
"""


class Page:
    """A page that is written from top to bottom."""

    def __init__(self, title: str, *, contents: bool = False):
        """A page with a title, which is its first heading too, and links to its parts."""
        self._title, self._linked = title, contents
        self._body: list[str] = []
        self._contents: list[str] = []

    def heading(self, text: str, *, level: int = 2) -> None:
        """A heading; those of level 2 are linked at the top."""
        name = f"part{len(self._contents)}"
        anchor = f' id="{name}"' if level == 2 else ""
        self._body.append(f"<h{level}{anchor}>{html.escape(text)}</h{level}>")
        if level == 2:
            self._contents.append(f'<a href="#{name}">{html.escape(text)}</a>')

    def text(self, text: str, *, strong: bool = False) -> None:
        """A paragraph."""
        shown = html.escape(text)
        self._body.append(f"<p>{f'<strong>{shown}</strong>' if strong else shown}</p>")

    def items(self, texts: Sequence[str]) -> None:
        """A list."""
        lines = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
        self._body.append(f"<ul>{lines}</ul>")

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 0
    ) -> None:
        """A table, which scrolls where the screen is narrower; the last `texts` columns are running text."""

        def line(cells: Sequence[str], tag: str) -> str:
            first = len(cells) - texts
            kinds = [' class="text"' if i >= first else "" for i in range(len(cells))]
            made = (
                f"<{tag}{kind}>{html.escape(cell)}</{tag}>"
                for kind, cell in zip(kinds, cells, strict=True)
            )
            return f"<tr>{''.join(made)}</tr>"

        body = "".join(line(row, "td") for row in rows)
        head = f"<thead>{line(header, 'th')}</thead>"
        self._body.append(
            f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'
        )

    def picture(self, png: bytes, caption: str) -> None:
        """A picture with the text below it."""
        code = base64.b64encode(png).decode()
        said = html.escape(caption, quote=True)
        self._body.append(
            f'<figure><img alt="{said}" src="data:image/png;base64,{code}">'
            f"<figcaption>{said}</figcaption></figure>"
        )

    def __str__(self) -> str:
        title = html.escape(self._title)
        links = f"<nav>{''.join(self._contents)}</nav>" if self._linked else ""
        head = (
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{title}</title><style>{STYLE}</style>"
        )
        body = [f"<body><h1>{title}</h1>", links, *self._body, "</body></html>"]
        return "\n".join(
            [f'<!DOCTYPE html><html lang="en"><head>{head}</head>', *body, ""]
        )
