"""Sections of a report as one self-contained HTML page and as Markdown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

# Below 48rem a row of a table is a card: nothing is wider than the page. Plots are black on nothing, and are turned
# round on a dark page.
STYLE = """
:root{color-scheme:light dark;--ink:#1a1a1a;--paper:#fff;--rule:#ddd;--soft:#444;--code:#f5f5f5;--link:#0645ad}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:76rem;margin:0 auto;
padding:0 1rem 3rem}
h1{font-size:1.6rem;line-height:1.2}h1,h2,p,caption,figcaption,li,td,th{overflow-wrap:anywhere}
h2{font-size:1.25rem;margin-top:2.5rem;border-top:1px solid var(--rule);padding-top:1rem}
a,summary{color:var(--link)}summary{cursor:pointer}nav a{margin-right:1rem;display:inline-block}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;margin:1rem 0;max-width:100%}
th,td{padding:.25rem .5rem;text-align:right;border-bottom:1px solid var(--rule);vertical-align:bottom}
th:first-child,td:first-child{text-align:left;min-width:7rem}
caption{text-align:left;font-size:.9rem;padding:.3rem 0;color:var(--soft)}
figure{margin:1.5rem 0}.panels{display:flex;flex-wrap:wrap;gap:1rem}.panels svg{max-width:100%;height:auto}
figcaption{font-size:.85rem;color:var(--soft)}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;margin:.3rem 0;padding:0;font-size:.85rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--code);padding:.6rem;font-size:.8rem}
@media (max-width:48rem){thead{display:none}table,tbody,tr,td,caption{display:block}tr{margin:.6rem 0}
td{display:flex;justify-content:space-between;gap:1rem}td::before{content:attr(data-label);color:var(--soft)}
td:first-child{font-weight:600}}
@media (prefers-color-scheme:dark){:root{--ink:#e6e6e6;--paper:#16181b;--rule:#3a3d42;--soft:#b0b3b8;--code:#22252a;
--link:#8ab4f8}.panels svg,.legend span{filter:invert(1) hue-rotate(180deg)}}
"""


@dataclass(frozen=True)
class Table:
    """caption: what the figures are. Rows are as long as the header."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """panels: <svg> elements, beside each other where there is room. legend: colour, sign and name of what all show."""

    caption: str
    panels: Sequence[str]
    legend: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class Section:
    """commands: those that give its figures."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    commands: Sequence[str] = field(default=())

    @property
    def anchor(self) -> str:
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


def _table_html(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)

    def row_html(row: Sequence[str]) -> str:
        cells = zip(table.header, row, strict=True)
        return "".join(f'<td data-label="{html.escape(name)}">{html.escape(cell)}</td>' for name, cell in cells)

    rows = "".join(f"<tr>{row_html(row)}</tr>\n" for row in table.rows)
    return (
        f"<table><caption>{html.escape(table.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}</tbody></table>\n"
    )


def _picture_html(picture: Picture) -> str:
    signs = "".join(
        f'<li><span style="color:{color}">{sign}</span> {html.escape(name)}</li>'
        for color, sign, name in picture.legend
    )
    legend = f'<ul class="legend">{signs}</ul>' if signs else ""
    panels = "\n".join(picture.panels)
    caption = html.escape(picture.caption)
    return f'<figure>{legend}<div class="panels">{panels}</div><figcaption>{caption}</figcaption></figure>\n'


def _section_html(section: Section) -> str:
    parts = [f'<section id="{section.anchor}">\n<h2>{html.escape(section.title)}</h2>\n']
    parts += [f"<p>{html.escape(text)}</p>\n" for text in section.text]
    parts += map(_picture_html, section.pictures)
    parts += [_table_html(table) for table in section.tables]
    if section.commands:
        commands = html.escape("\n".join(section.commands))
        parts.append(f"<details><summary>Commands</summary><pre>{commands}</pre></details>\n")
    return "".join([*parts, "</section>\n"])


def to_html(title: str, sections: Sequence[Section]) -> str:
    """The page: nothing is loaded, no script is run."""
    links = "\n".join(f'<a href="#{section.anchor}">{html.escape(section.title)}</a>' for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n<nav>{links}</nav>\n"
        + "".join(map(_section_html, sections))
        + "</body>\n</html>\n"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def table_markdown(table: Table) -> str:
    """The caption and the table."""
    lines = [f"| {' | '.join(map(_cell, table.header))} |", "|" + "---|" * len(table.header)]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in table.rows]
    return f"{table.caption}:\n\n" + "\n".join(lines)


def _section_markdown(section: Section) -> str:
    parts = [f"## {section.title}", *section.text, *map(table_markdown, section.tables)]
    if section.commands:
        parts.append("```\n" + "\n".join(section.commands) + "\n```")
    return "\n\n".join(parts)


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """The same text, tables and commands; pictures are the page's alone."""
    return "\n\n".join([f"# {title}", *map(_section_markdown, sections)]) + "\n"
