"""How the documentation becomes a site: bin/docs. The pages are Markdown, and linked as GitHub links them."""

from service import __version__

project = "Rosetta source details"
version = release = __version__
copyright = "the authors of Rosetta source details, Apache-2.0"  # noqa: A001  # Sphinx's name
extensions = ["myst_parser"]
include_patterns = ["docs/**", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"]
exclude_patterns = ["docs/conf.py", "docs/site"]
root_doc = "docs/index"
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"{project} {version}"
# The top of the site leads to docs/index.html.
html_extra_path = ["site"]
html_copy_source = False
html_show_sphinx = False
