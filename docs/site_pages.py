"""Hook of mkdocs: pages of the repository's root become pages of the site, and links to files outside docs/ stay valid.

README.md is the home of the repository, docs/index.md that of the site. A file that a page links to (a recipe, an example,
the licence) is copied into the site under its own path.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the root's pages, and the files outside docs/ that any page links to."""
    from mkdocs.structure.files import File  # an extra: the tests of the functions below do without

    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    outside = set()
    for file in files.documentation_pages():
        own = source_of(file.src_uri)
        outside |= {path for path in targets(file.content_string, own) if site_path(path) == path}
    for path in sorted(outside):
        if (ROOT / path).is_file() and files.get_file_from_path(path) is None:
            files.append(File.generated(config, path, content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_unused: Any) -> str:
    """The page with links as the site has them; code stays as it is."""
    own = source_of(page.file.src_uri)
    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else rewritten(part, own) for part in parts)


def source_of(page: str) -> str:
    """Path in the repository of a page of the site."""
    return {new: old for old, new in ROOT_PAGES.items()}.get(page, f"docs/{page}")


def targets(markdown: str, source: str) -> set[str]:
    """Paths in the repository that a page links to."""
    return {resolved(link, source) for link in LINK.findall(FENCE.sub("", markdown))}


def rewritten(markdown: str, source: str) -> str:
    """Links of a page, from paths in the repository to paths in the site."""
    return LINK.sub(lambda found: site_path(resolved(found[1], source)), markdown)


def resolved(link: str, source: str) -> str:
    """The path in the repository that a link of the page `source` leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def site_path(path: str) -> str:
    """Where a file of the repository is in the site; all pages lie at its top."""
    if path == "README.md":
        return "index.md"
    return ROOT_PAGES.get(path, path.removeprefix("docs/"))
