"""Configuration of the documentation: Markdown by MyST, the theme furo, nothing from the network."""

from importlib.metadata import version as installed_version

project = "flask_convex_http"
author = "flask_convex_http contributors"
copyright = author
release = version = installed_version("flask_convex_http")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
# Headings have the same anchors here as on GitHub: page.md#a-heading.
myst_heading_anchors = 3

nitpicky = True
# Types of other projects: their inventories would have to be fetched.
nitpick_ignore_regex = [
    ("py:.*", r"(flask|werkzeug|click|msgspec|sqlite3|collections|datetime|contextlib|typing|types|pathlib)\..*"),
]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
napoleon_numpy_docstring = False

html_theme = "furo"
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


def show_examples(app, ctx, lines):
    """Show the examples in a command's help as a shell block."""
    if "| Examples:" not in lines:
        return
    start = lines.index("| Examples:")
    examples = [line.removeprefix("|").strip() for line in lines[start + 1 :] if line.strip()]
    lines[start:] = ["Examples:", "", ".. code-block:: sh", "", *(f"   {example}" for example in examples), ""]


def setup(app):
    """Register what only this project needs."""
    app.connect("sphinx-click-process-description", show_examples)
