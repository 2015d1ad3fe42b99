"""Sections of a report as one self-contained HTML page and as Markdown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:70rem;margin:0 auto;padding:0 1rem 3rem}
h1{font-size:1.6rem;line-height:1.2}h1,p,caption,figcaption{overflow-wrap:anywhere}
h2{font-size:1.25rem;margin-top:2.5rem;border-top:1px solid #ccc;padding-top:1rem}
.wide{overflow-x:auto;margin:1rem 0}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:#fff}
caption{text-align:left;font-size:.9rem;padding:.3rem 0;color:#444}
figure{margin:1.5rem 0}figure svg{display:block;width:100%;height:auto;min-width:32rem}
figcaption{font-size:.85rem;color:#444}nav a{margin-right:1rem}
pre{overflow-x:auto;background:#f5f5f5;padding:.6rem;font-size:.8rem}summary{cursor:pointer;color:#0645ad}
"""


@dataclass(frozen=True)
class Table:
    """caption: what the figures are. Rows are as long as the header."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """svg: an <svg> element."""

    caption: str
    svg: str


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
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in table.rows)
    return (
        f'<div class="wide"><table><caption>{html.escape(table.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>\n"
    )


def _section_html(section: Section) -> str:
    parts = [f'<section id="{section.anchor}">\n<h2>{html.escape(section.title)}</h2>\n']
    parts += [f"<p>{html.escape(text)}</p>\n" for text in section.text]
    for picture in section.pictures:
        caption = html.escape(picture.caption)
        parts.append(f'<figure><div class="wide">{picture.svg}</div><figcaption>{caption}</figcaption></figure>\n')
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


def _section_markdown(section: Section) -> str:
    parts = [f"## {section.title}", *section.text]
    for table in section.tables:
        lines = [f"| {' | '.join(map(_cell, table.header))} |", "|" + "---|" * len(table.header)]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in table.rows]
        parts += [f"{table.caption}:", "\n".join(lines)]
    if section.commands:
        parts.append("```\n" + "\n".join(section.commands) + "\n```")
    return "\n\n".join(parts)


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """The same text, tables and commands; pictures are the page's alone."""
    return "\n\n".join([f"# {title}", *map(_section_markdown, sections)]) + "\n"
