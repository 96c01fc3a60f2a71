"""Every page can be followed: each code block of the README and of `docs/` works as documented."""

from pathlib import Path

import pytest

from tests.docs.markdown import Block, Page, pages
from tests.docs.services import services
from tests.docs.workspace import Workspace
from tests.lengths import LONG

#: The pages that take long, and their folders. `make test` follows the README, and most of the reference.
_LONG = (
    *("docs/tutorials/", "docs/how-to/", "docs/deploying/", "docs/coming-from/", "docs/concepts/"),
    *("docs/quickstart.md", "docs/errors.md", "docs/reference/settings.md"),
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.name, marks=[LONG] if page.name.startswith(_LONG) else []) for page in pages()],
)
def test_a_page_can_be_followed(page: Page, tmp_path: Path) -> None:
    """The blocks of a page run in order in an empty folder, with the documented output and statuses."""
    for number, blocks in enumerate(page.folders()):
        folder = tmp_path / f"folder{number}"
        with services(blocks, folder) as started:
            Workspace(folder, started).follow(blocks)


@pytest.mark.parametrize(
    ("language", "code", "message"),
    [
        ("python", "x = 1\n", "names its file"),
        ("python", "# a.py\nimport nothing_like_it\n", "nothing_like_it"),
        ("python", "# test_a.py\ndef test_a() -> None:\n    assert False\n", "assert False"),
        ("sh", "false\n", "exits with 1"),
        ("console", "$ echo one\ntwo\n", "two"),
        ("sh", "pip install 'flask_convex_http[nonsense]'\n", "no extra nonsense"),
        ("sh", "make nonsense\n", "no make nonsense"),
        ("text", "never printed\n", "not in the output"),
        ("json", "{]\n", "JSONDecodeError"),
        ("yaml", "a: [\n", "ParserError"),
        ("nginx", "server {\n", "unmatched"),
        ("dockerfile", "FORM python\n", "FORM"),
        ("typescript", "const = ;\n", "SyntaxError"),
        ("ruby", "puts 1\n", "nothing checks"),
        ("", "indented\n", "nothing checks"),
        ("{code-block}", "x\n", "nothing checks"),
    ],
)
def test_a_block_that_is_wrong_or_not_run_fails(language: str, code: str, message: str, tmp_path: Path) -> None:
    """A block that fails, or that no test runs or parses, fails its page."""
    with pytest.raises(AssertionError, match=message):
        Workspace(tmp_path / "folder").follow([Block(language, code, 1)])


@pytest.mark.parametrize("names", [("shop.py", "shop.py"), ("shop.py (continued)",)])
def test_a_file_without_the_mark_that_a_reader_needs_fails(names: tuple[str, ...], tmp_path: Path) -> None:
    """A block with the name of an earlier file says whether it continues or replaces the file."""
    with pytest.raises(AssertionError, match="after a known name"):
        Workspace(tmp_path / "folder").follow([Block("python", f"# {name}\n", 1) for name in names])


def test_a_page_is_followed_as_a_reader_would(tmp_path: Path) -> None:
    """Files continue or are replaced, variables persist, output and requests are compared, and servers start."""
    app = "# shop.py\nfrom flask import Flask\n\napp = Flask(__name__)\n"
    view = '@app.get("/")\ndef index() -> str:\n    return "one two three"\n'
    Workspace(tmp_path / "folder").follow(
        [
            Block("python", "# shop.py\nraise SystemExit\n", 1),
            Block("python", app.replace("shop.py", "shop.py (new version)"), 2),
            Block("python", "# other.py\n", 3),
            Block("python", "# shop.py (continued)\n" + view, 3),
            Block("sh", "NAME=shop\nmkdir -p deep && cd deep\ncd ..\nflask --app $NAME run\n", 4),
            Block("text", "Running on http://127.0.0.1:5000\n", 5),
            Block("console", "$ curl localhost:5000\none ... three\n$ curl localhost:5000/x  # 404 Not Found\n", 6),
            Block("sh", "test $NAME = nonsense  # exits with 1\n", 7),
            Block("none", "--> a drawing", 8),
            Block("typescript", "const a: number = 1;\n", 9),
        ]
    )
