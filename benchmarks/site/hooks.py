"""What mkdocs calls while it builds the site (`hooks:` in mkdocs.yml)."""

import re
from html import unescape
from pathlib import Path

import ziamath
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from benchmarks.site import algorithms, reference, results, tables
from benchmarks.site.pages import Pages

ROOT = Path(__file__).parents[2]
FONT = Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"  #: for equations, where the reader has none
BESIDE = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")  #: pages of the site that lie in the repository's root

#: what a line `{{ WORDS }}` becomes, given what the page is about
PARTS = {
    "algorithms": lambda _: tables.algorithms(),
    "budgets": lambda _: tables.budgets(),
    "cost": results.cost,
    "held against": algorithms.held_against,
    "results": results.of_agents,
    "results pages": lambda _: results.index(),
    "settings": algorithms.settings,
    "sources": lambda _: tables.sources(),
    "studies": lambda _: tables.studies(),
    "suites": lambda _: tables.suites(),
    "tasks": lambda _: tables.tasks(),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that are made of code, results and the files in the repository's root."""
    made: Pages = reference.pages() | results.pages() | algorithms.pages() | results.pictures()
    made["assets/STIXTwoMath-Regular.ttf"] = FONT
    made |= {f"project/{name.lower()}": _at_home((ROOT / name).read_text(encoding="utf-8")) for name in BESIDE}
    for uri, content in made.items():
        of = {"abs_src_path": str(content)} if isinstance(content, Path) else {"content": content}
        files.append(File.generated(config, uri, **of))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Put what is generated in the place of the lines that ask for it."""

    def part(asked: re.Match) -> str:
        if asked[1] not in PARTS:
            raise PluginError(f"{page.file.src_uri}: there is no part '{asked[1]}'; there are {', '.join(PARTS)}")
        return PARTS[asked[1]](algorithms.subject(page.file.src_uri))

    return re.sub(r"^\{\{ ([\w ]+) \}\}$", part, markdown, flags=re.MULTILINE)


def on_page_content(html: str, **_: object) -> str:
    """Write equations as MathML, which browsers show without any script."""
    html = re.sub(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', _displayed, html, flags=re.DOTALL)
    return re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', lambda found: _math(found, "inline"), html)


def _displayed(found: re.Match) -> str:
    return f'<div class="equation">{_math(found, "block")}</div>'


def _math(found: re.Match, display: str) -> str:
    tex = unescape(found[1]).strip().replace(r"\log", r"\log\,")  # of which MathML would leave no space to its argument
    return convert(tex, display=display)


def _at_home(markdown: str) -> str:
    """Return a page of the repository's root with its links as they are in the site."""
    markdown = re.sub(r"\]\(docs/([^)]*)\)", r"](../\1)", markdown)
    return re.sub(r"\]\(([A-Z]+)\.md\)", lambda link: f"]({link[1].lower()}.md)", markdown)
