"""Configuration of the documentation: Markdown by MyST, the theme furo, nothing from the network."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from click import Context
from docutils import nodes
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "flask_convex_http"
author = "flask_convex_http contributors"
copyright = author
release = version = installed_version("flask_convex_http")

extensions = [
    *("myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "sphinx_copybutton"),
    "public_api",  # in _ext
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
# Headings have the same anchors here as on GitHub: page.md#a-heading.
myst_heading_anchors = 3

# Docstrings have code between single backticks.
default_role = "literal"
nitpicky = True
# Types of other projects: their inventories would have to be fetched.
nitpick_ignore_regex = [
    ("py:.*", r"(flask|werkzeug|click|msgspec|sqlite3|collections|datetime|contextlib|typing|types|pathlib)\..*"),
]
python_maximum_signature_line_length = 100
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"flask_convex_http {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False

# Only what is typed is copied from a shell block, without its prompt.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
copybutton_remove_prompts = True
copybutton_line_continuation_character = "\\"

# "--files" and the quotes of JSON stay as they are typed.
smartquotes = False


def show_examples(app: Sphinx, ctx: Context, lines: list[str]) -> None:
    """Show the examples in a command's help as a shell block."""
    if "| Examples:" not in lines:
        return
    start = lines.index("| Examples:")
    examples = [line.removeprefix("|").strip() for line in lines[start + 1 :] if line.strip()]
    lines[start:] = ["Examples:", "", ".. code-block:: sh", "", *(f"   {example}" for example in examples), ""]


def show_dashes(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Show a dash between a parameter and its description, where Sphinx writes two hyphens."""
    for body in tree.findall(nodes.field_body):
        for text in [text for text in body.findall(nodes.Text) if text == " -- "]:
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))


def setup(app: Sphinx) -> None:
    """Register the changes that only this project needs."""
    app.connect("doctree-resolved", show_dashes)
    app.connect("sphinx-click-process-description", show_examples)
