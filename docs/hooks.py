"""What MkDocs lacks: pages from the whole repository, formulas without scripts, a word on what other machines serve."""

import html
import logging
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

logger = logging.getLogger("mkdocs.hooks.docs")  # its warnings are errors of a strict build

# Markdown that is a page, and the files that pages show, by their place in the repository.
SOURCES = ("README.md", "CONTRIBUTING.md", "benchmarks/*.md", "docs/**/*.md", "examples/**/*.md")
SHOWN = ("docs/**/*.svg", "docs/**/*.png", "docs/**/*.css", "examples/**/*.png", "examples/**/*.csv")
# What a browser fetches by itself when it shows a page.
FETCHED = re.compile(r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^\s\"'>]+")
STYLES = re.compile(
    r"<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect|icon))[^>]*\bhref=[\"']?(?:https?:)?//[^>]+"
)


def _paths(root: Path, patterns: tuple[str, ...]) -> list[str]:
    return sorted({path.relative_to(root).as_posix() for pattern in patterns for path in root.glob(pattern)})


def _named(nav: Any) -> set[str]:
    """All paths in a navigation."""
    if isinstance(nav, str):
        return {nav}
    parts = nav.values() if isinstance(nav, dict) else nav
    return set().union(*map(_named, parts))


def _filled(nav: Any, root: Path, named: set[str]) -> Any:
    """The navigation, where a pattern stands for its files that are not named."""
    if isinstance(nav, str):
        return nav
    if isinstance(nav, dict):
        return {title: _filled(part, root, named) for title, part in nav.items()}
    entries: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and "*" in entry:
            entries += [path for path in _paths(root, (entry,)) if path not in named]
        else:
            entries.append(_filled(entry, root, named))
    return entries


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in the navigation, and let fences of the language ``math`` be formulas, as on GitHub."""
    root = Path(config.config_file_path).parent
    config.nav = _filled(config.nav, root, _named(config.nav))
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {}).setdefault("custom_fences", [])
    fences.append({"name": "math", "class": "math", "format": formula})
    return config


def formula(source: str, *_: Any, **__: Any) -> str:
    """LaTeX as MathML, which browsers draw by themselves; what the converter does not know is a warning."""
    converted = convert(source, display="block")
    if left := re.findall(r">(\\\w+|&)<", converted):
        logger.warning("the formula %r has %s, which is not understood", source, ", ".join(left))
    return f'<div class="math">{converted}</div>'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's files, and ours under their place in the repository; docs/data.md is served as data/."""
    root = Path(config.config_file_path).parent
    kept = [file for file in files if file.src_dir != config.docs_dir]
    for path in _paths(root, SOURCES + SHOWN):
        file = File(path, str(root), config.site_dir, config.use_directory_urls)
        file.dest_uri = file.dest_uri.removeprefix("docs/")
        kept.append(file)
    return Files(kept)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn of a page for which a browser would ask other machines."""
    for found in FETCHED.findall(output) + STYLES.findall(output):
        logger.warning("%s fetches from another machine: %s", page.file.src_uri, html.escape(found))
    return output
