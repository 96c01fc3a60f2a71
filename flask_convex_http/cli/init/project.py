"""The files of the app: templates in folders for all apps, for those with a webhook, and for each sender."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).parent / "templates"
_SUFFIX = ".jinja"
#: The name of a template has this instead of the dot at the start of a file's name.
_DOT = "dot_"


@dataclass(frozen=True, slots=True)
class Sender:
    """A sender of webhooks that an app can start with.

    Attributes:
        name: The name of its provider.
        title: Its name for people.
        variable: The environment variable of its secret.
        prefix: The first characters of its secrets.
        event: The event that the app handles.
        hint: Where the real secret comes from.
    """

    name: str
    title: str
    variable: str
    prefix: str
    event: str
    hint: str


_STRIPE = Sender(
    "stripe",
    "Stripe",
    "STRIPE_WEBHOOK_SECRET",
    "whsec_",
    "checkout.session.completed",
    "A random secret for trying. The real one is on the endpoint's page in Stripe's dashboard.",
)
_GITHUB = Sender(
    "github",
    "GitHub",
    "GITHUB_WEBHOOK_SECRET",
    "",
    "issues",
    "A random secret. Enter it in the settings of the repository's webhook.",
)
SENDERS = {sender.name: sender for sender in (_STRIPE, _GITHUB)}


def make_files(sender: Sender | None) -> dict[str, str]:
    """Return the text of each file of an app by its path.

    Args:
        sender: The sender whose webhook the app receives, or None.
    """
    folders = ["common"] if sender is None else ["common", "webhook", sender.name]
    made = {}
    for folder in folders:
        templates = Environment(
            loader=FileSystemLoader(_TEMPLATES / folder),
            undefined=StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
        )
        for name in templates.list_templates(extensions=[_SUFFIX[1:]]):
            text = templates.get_template(name).render(sender=sender, secret=secrets.token_urlsafe(24))
            made[name.removesuffix(_SUFFIX).replace(_DOT, ".", 1)] = text
    return dict(sorted(made.items()))


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Write files into a folder, which is created if it does not exist.

    Args:
        folder: The folder.
        files: The text of each file by its path.

    Raises:
        FileExistsError: Some of them exist, and nothing was written.
        OSError: A file cannot be written.
    """
    existing = [name for name in files if (folder / name).exists()]
    if existing:
        more = f" and {len(existing) - 3} more" if len(existing) > 3 else ""
        raise FileExistsError(f"{folder.resolve()} has {', '.join(existing[:3])}{more}")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
