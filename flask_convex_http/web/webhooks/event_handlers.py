"""The handlers of a webhook, and the choice among them by the type of an event.

A pattern is a type, or the beginning of types followed by `*`. A type itself beats a pattern with `*`, and the longest
of these wins. The order of registration does not matter.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask_convex_http.errors import RegistrationError, WebhookFailedError
from flask_convex_http.functions.function import Function
from flask_convex_http.runtime import MutationCtx
from flask_convex_http.schema.documents import Schema
from flask_convex_http.validation.validator import InvalidValueError, Validator
from flask_convex_http.web.handlers.route_checks import GUARDED
from flask_convex_http.web.handlers.signatures import resolve_hint
from flask_convex_http.webhooks.base import Provider
from flask_convex_http.webhooks.events import WebhookEvent

ANY = "*"

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(slots=True)
class EventHandler:
    """A handler for the types of events that match a pattern.

    Attributes:
        pattern: A type, or the beginning of types followed by `*`. `*` alone stands for any type.
        handler: The function that the application wrote.
        takes_object: Whether its third parameter is the sender's object.
        object_type: The annotation of that parameter. Any without one, or while it names a class that is defined later.
    """

    pattern: str
    handler: Callable[..., Any]
    takes_object: bool = False
    object_type: Any = Any
    _validator: Validator | None = None
    _schema: Schema | None = None

    @classmethod
    def of(cls, pattern: str, handler: Callable[..., Any], *, may_take_object: bool = True) -> EventHandler:
        """Return a handler whose signature is checked.

        Args:
            pattern: The pattern.
            handler: The function.
            may_take_object: Whether it may have a third parameter.

        Raises:
            RegistrationError: The function cannot be a handler.
        """
        third = check_handler(handler, may_take_object=may_take_object)
        found = cls(pattern, handler, third is not None)
        if third is not None:
            with contextlib.suppress(NameError):  # of a class that is defined later; `bind` reads it again
                found._read(third.annotation)
        return found

    @property
    def name(self) -> str:
        """The name of the function."""
        return name_of(self.handler)

    @property
    def description(self) -> str | None:
        """The docstring of the function."""
        return inspect.getdoc(self.handler)

    def bind(self, schema: Schema) -> None:
        """Resolve the tables of ids in the annotation, and an annotation that names a class defined later.

        Raises:
            RegistrationError: The annotation cannot be read, or refers to a class that is not in the schema.
        """
        if not self.takes_object or self._schema is schema:
            return
        if self._validator is None:
            self._read_again()
        assert self._validator is not None
        unknown = self._validator.bind(schema.id_prefixes)
        if unknown:
            raise RegistrationError(
                f"{self.name} refers to Id[{unknown[0]}], which is not in the schema: add {unknown[0]} to Schema(...)"
            )
        self._schema = schema

    def run(self, ctx: MutationCtx, event: WebhookEvent, provider: Provider) -> Any:
        """Run the handler for an event, and return its value.

        Raises:
            WebhookFailedError: The sender's object does not match the annotation. The message names the field.
            Exception: Any exception of the handler.
        """
        if self._validator is None:
            return self.handler(ctx, event)
        value = provider.object_of(event)
        try:
            converted = self._validator.check_json(value)
        except InvalidValueError as error:
            raise self._mismatch(event, provider, value, error) from None
        return self.handler(ctx, event, converted)

    def _mismatch(
        self, event: WebhookEvent, provider: Provider, value: Any, error: InvalidValueError
    ) -> WebhookFailedError:
        place = "" if value is event.payload else f"`$.{provider.object_field}"
        text = str(error).replace("`$", place, 1) if place else str(error)
        kind = f"An event of type {event.type!r}" if event.type else "An event"
        return WebhookFailedError(f"{kind} does not match the third parameter of {self.name}: {text}")

    def _read(self, annotation: Any) -> None:
        hint = Any if annotation is inspect.Parameter.empty else resolve_hint(inspect.unwrap(self.handler), annotation)
        self._validator = Validator(hint, f"the third parameter of {self.name}")
        self.object_type = hint

    def _read_again(self) -> None:
        third = check_handler(self.handler, may_take_object=True)
        assert third is not None
        try:
            self._read(third.annotation)
        except NameError as error:
            raise RegistrationError(
                f"{self.name}: {error}; the annotation of the third parameter must be readable at run time: import or "
                "define the class in the module, not under TYPE_CHECKING or in a function"
            ) from None


@dataclass(slots=True)
class EventHandlers:
    """The handlers of one webhook.

    Attributes:
        provider: The sender.
        by_pattern: The handlers by their pattern.
        is_bound: Whether the handlers are prepared for the tables of an app.
    """

    provider: Provider
    by_pattern: dict[str, EventHandler] = field(default_factory=dict)
    is_bound: bool = False
    _prefixes: tuple[tuple[str, EventHandler], ...] = ()

    def add(self, handler: EventHandler) -> None:
        """Add a handler.

        Raises:
            RegistrationError: Another handler has its pattern.
        """
        other = self.by_pattern.setdefault(handler.pattern, handler)
        if other is not handler:
            raise RegistrationError(_taken(other, handler))
        prefixes = [(pattern[:-1], found) for pattern, found in self.by_pattern.items() if pattern.endswith(ANY)]
        self._prefixes = tuple(sorted(prefixes, key=lambda prefix: -len(prefix[0])))

    def find(self, event_type: str) -> EventHandler | None:
        """Return the handler for a type, or None."""
        found = self.by_pattern.get(event_type)
        if found is not None:
            return found
        return next((handler for prefix, handler in self._prefixes if event_type.startswith(prefix)), None)

    def name_for(self, event_type: str) -> str | None:
        """Return the name of the handler for a type, or None."""
        found = self.find(event_type)
        return None if found is None else found.name

    def bind(self, schema: Schema) -> None:
        """Prepare the handlers for the tables of an app.

        Raises:
            RegistrationError: An annotation cannot work.
        """
        for handler in self.by_pattern.values():
            handler.bind(schema)
        self.is_bound = True

    def run(self, ctx: MutationCtx, event: WebhookEvent) -> Any:
        """Run the handler for an event, and return its value. Without one it is None."""
        found = self.find(event.type)
        return None if found is None else found.run(ctx, event, self.provider)


def checked_pattern(pattern: object) -> str:
    """Return a pattern.

    Raises:
        RegistrationError: It is no pattern.
    """
    if not isinstance(pattern, str) or not pattern:
        raise RegistrationError(
            f'on({pattern!r}) takes the types of events: write .on("invoice.paid"), or .on("invoice.*") for all that '
            "begin so"
        )
    if ANY in pattern[:-1]:
        raise RegistrationError(
            f"on({pattern!r}) has a * that is not at the end, and a pattern is a type or the beginning of types: write "
            f".on({pattern[: pattern.index(ANY) + 1]!r}), and look at event.type in the handler"
        )
    return pattern


def check_handler(handler: Any, *, may_take_object: bool) -> inspect.Parameter | None:
    """Return the third parameter of a handler, or None if it has two.

    Raises:
        RegistrationError: The function cannot be a handler.
    """
    name = name_of(handler)
    third = ", object: ItsType" if may_take_object else ""
    wanted = f"write a plain function: def {name}(ctx: MutationCtx, event: WebhookEvent{third})"
    if isinstance(handler, Function) or not callable(handler):
        raise RegistrationError(f"{name} is no handler of webhooks; {wanted}")
    try:
        parameters = inspect.signature(handler).parameters
    except (TypeError, ValueError):  # a built-in function, for example
        return None
    by_place = [parameter for parameter in parameters.values() if parameter.kind in _BY_PLACE]
    count = 3 if len(by_place) > 2 else 2
    if not _takes(handler, count) or _is_misplaced(parameters):
        raise RegistrationError(f"{name} is no handler of webhooks; {wanted}")
    if count == 3 and not may_take_object and by_place[2].default is inspect.Parameter.empty:
        raise RegistrationError(
            f'{name} takes three parameters; {wanted}, or register it for a type, as in stripe.on("invoice.paid"), '
            "where the third is the sender's object"
        )
    if inspect.iscoroutinefunction(inspect.unwrap(handler)):
        raise RegistrationError(f"{name} is async; a webhook runs in a transaction: write def")
    if hasattr(handler, GUARDED):
        raise RegistrationError(
            f"{name} asks for a key or a token, and senders of webhooks have none: their signature is checked; drop "
            "the decorator"
        )
    return by_place[2] if count == 3 and may_take_object else None


def name_of(handler: Any) -> str:
    """Return the name of a handler, for people."""
    return str(getattr(handler, "__name__", "handler"))


def _takes(handler: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(handler).bind(*[None] * count)
    except TypeError:
        return False
    return True


def _is_misplaced(parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Return whether the first parameter is annotated as something else than the ctx of a mutation."""
    first = next(iter(parameters.values())).annotation
    return getattr(first, "__name__", first) in ("ActionCtx", "WebhookEvent", "Request")


def _taken(other: EventHandler, handler: EventHandler) -> str:
    if handler.pattern == ANY:
        return (
            f"{other.name} and {handler.name} are both for every other type: a webhook has one .otherwise, which is "
            'the same as .on("*")'
        )
    return (
        f"{other.name} and {handler.name} are both on({handler.pattern!r}): a type has one handler; call one function "
        "from the other"
    )
