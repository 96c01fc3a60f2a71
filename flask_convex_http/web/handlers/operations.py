"""The parameters and the result of a route, found once at registration: the source for OpenAPI, and for its readers.

`Route.operation` of a router has, for each handler: its parameters with their places and types, its guards, the type
and the status of its response, and its docstring. Annotations that name a class that is defined later are read when the
router is registered on an app, and `parameters` and `returns` are complete from then on.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from flask_convex_http.errors import RegistrationError
from flask_convex_http.schema.documents import Schema
from flask_convex_http.validation.texts import TextConverter
from flask_convex_http.validation.validator import Validator
from flask_convex_http.web.handlers.handlers import Readers, readers_of, signature_of
from flask_convex_http.web.handlers.readers import Binds, reader_of, variable_reader, with_default
from flask_convex_http.web.handlers.route_checks import GUARDED, LIMITED
from flask_convex_http.web.handlers.signatures import BODY, FORM, HandlerSignature

Place = Literal["path", "query", "body", "form"]

_NO_CONTENT = 204
_WITHOUT_BODY = ("GET", "OPTIONS")
_VARIABLE = re.compile(r"<(?:(?P<converter>[A-Za-z_]\w*)(?:\([^<>]*\))?:)?(?P<name>[A-Za-z_]\w*)>")
#: Werkzeug's converters, with the types that they make.
_TEXTS = dict.fromkeys(("default", "string", "path", "any"), str)
_MADE: dict[str, type] = {**_TEXTS, "int": int, "float": float, "uuid": UUID}


@dataclass(frozen=True, slots=True)
class Guard:
    """A decorator that asks for a credential.

    Attributes:
        scheme: The name of the scheme, "api_key", "bearer", or "identity" for either.
        scopes: The scopes that it requires, in order.
    """

    scheme: str
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A part of the request that a handler takes.

    Attributes:
        name: The name of the handler's parameter, and of the variable of the path.
        place: Where it comes from.
        type: Its annotation. `query` and `form` have a type with their fields. Any without an annotation.
        required: Whether it has no default.
        default: Its default, if it has one.
        converter: The URL converter of a variable: "default" without one, "" for the rest of a prefix.
    """

    name: str
    place: Place
    type: Any
    required: bool = True
    default: Any = None
    converter: str = ""


@dataclass
class Operation:
    """A handler at a path, for some methods.

    Attributes:
        path: The exact path, or a prefix followed by `*`, without the prefixes of blueprints.
        methods: Its methods.
        signature: The signature of the handler.
        status: The status of a response for which the handler chooses none.
        content_types: Content types of the body beside JSON.
        guards: The guards of the handler, the innermost first.
        is_limited: Whether the handler has a rate limit.
        variables: The variables of the path and of the router's own `url_prefix`, with their converters.
        suffix_name: The parameter that takes the rest of a prefix, if any.
        parameters: The parameters of the handler, in order.
        idempotent: Whether it takes an idempotency key: True, "optional", or False.
        described_body: The types of a body that the handler reads itself, by content type.
        returns: The annotation of its result, Any if there is none that can be read at run time.
        converters: The converters of the path's variables that need one.
    """

    path: str
    methods: tuple[str, ...]
    signature: HandlerSignature
    status: int
    content_types: tuple[str, ...]
    guards: tuple[Guard, ...]
    is_limited: bool
    variables: dict[str, str]
    suffix_name: str | None
    idempotent: Literal[True, "optional", False] = False
    described_body: Mapping[str, Any] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = ()
    returns: Any = Any
    converters: list[tuple[str, TextConverter]] = field(default_factory=list)
    _readers: Readers = field(default_factory=dict)
    _bindings: list[tuple[str, Binds]] = field(default_factory=list)
    _is_read: bool = False
    _schema: Schema | None = None

    @classmethod
    def of(
        cls,
        handler: Callable[..., Any],
        path: str,
        methods: tuple[str, ...],
        *,
        status: int | None = None,
        content_types: tuple[str, ...] = (),
        idempotent: Literal[True, "optional", False] = False,
        described_body: Mapping[str, Any] | None = None,
        url_prefix: str = "",
        defaults: Collection[str] = (),
        may_drop_variables: bool = False,
    ) -> Operation:
        """Return the operation of a handler, which `uniform` has returned.

        Args:
            handler: The handler.
            path: Its path.
            methods: Its methods.
            status: The status of its responses; by default 200, or 204 if it returns None.
            content_types: Content types of the body beside JSON.
            idempotent: The option of the route.
            described_body: Its option `openapi_body`.
            url_prefix: The router's own prefix.
            defaults: The names of variables that the rule has beside those in the path.
            may_drop_variables: Whether the router has functions that may take variables away.

        Raises:
            RegistrationError: The handler cannot work there.
        """
        signature = signature_of(handler)
        variables = dict.fromkeys(defaults, "") | _variables(url_prefix + path)
        operation = cls(
            path,
            methods,
            signature,
            _checked_status(status, signature),
            content_types,
            tuple(getattr(handler, GUARDED, ())),
            hasattr(handler, LIMITED),
            variables,
            _suffix_name(signature, variables) if path.endswith("*") else None,
            idempotent or False,
            _checked_description(described_body or {}),
            _readers=readers_of(handler),
        )
        operation._check(() if may_drop_variables else _variables(path))
        with contextlib.suppress(NameError):  # of a class that is defined later; `bind` reads them again
            operation.read_annotations()
        return operation

    @property
    def description(self) -> str | None:
        """The docstring of the handler."""
        return inspect.getdoc(self.signature.function)

    @property
    def needs_schema(self) -> bool:
        """Whether something of the request is converted, which `bind` prepares."""
        return bool(self._bindings) or not self._is_read

    def read_annotations(self) -> None:
        """Read the annotations of the handler. A second call does nothing.

        Raises:
            RegistrationError: An annotation cannot work.
            NameError: An annotation names a class that is not defined yet.
        """
        if self._is_read:
            return
        parameters = [self._parameter(name) for name in self.signature.named if self._place(name) is not None]
        bindings: list[tuple[str, Binds]] = []
        for parameter in parameters:
            self._add_reader(parameter, bindings)
        where = f"{self.signature.name}: openapi_body="
        bindings += [("openapi_body", Validator(described, where)) for described in self.described_body.values()]
        self.parameters, self._bindings = tuple(parameters), bindings
        self.converters = [(name, found) for name, found in bindings if isinstance(found, TextConverter)]
        self.returns = self.signature.return_hint()
        self._is_read = True

    def bind(self, schema: Schema) -> None:
        """Resolve the tables of ids in annotations. A second call with the same schema does nothing.

        Raises:
            RegistrationError: An annotation cannot be read, or refers to a class that is not in the schema.
        """
        if self._schema is schema:
            return
        try:
            self.read_annotations()
        except NameError as error:
            raise RegistrationError(
                f"{self.signature.name}: {error}; the annotations of what a route reads must be readable at run time: "
                "import or define the class in the module, not under TYPE_CHECKING or in a function"
            ) from None
        for name, validator in self._bindings:
            unknown = validator.bind(schema.id_prefixes)
            if unknown:
                raise RegistrationError(
                    f"{self.signature.name}({name}) refers to Id[{unknown[0]}], which is not in the schema: "
                    f"add {unknown[0]} to Schema(...)"
                )
        self._schema = schema

    # --- parameters -----------------------------------------------------------------------------------------------

    def _place(self, name: str) -> Place | None:
        """Return where a parameter comes from, or None for one that the route does not pass."""
        if name in self.variables or name == self.suffix_name:
            return "path"
        return name if name in self.signature.read else None  # type: ignore[return-value]  # its names are places

    def _parameter(self, name: str) -> Parameter:
        declared = self.signature.named[name]
        place = self._place(name)
        assert place is not None
        required = declared.default is declared.empty
        return Parameter(
            name,
            place,
            self.signature.hint(name),
            required,
            None if required else declared.default,
            self.variables.get(name, "") if place == "path" else "",
        )

    def _add_reader(self, parameter: Parameter, bindings: list[tuple[str, Binds]]) -> None:
        where = f"{self.signature.name}({parameter.name})"
        if parameter.place == "path":
            converter = self._variable_converter(parameter, where)
            if converter is not None:
                bindings.append((parameter.name, converter))
            return
        read, validator = reader_of(parameter.name, parameter.type, where)
        self._readers[parameter.name] = (
            read if parameter.required else with_default(parameter.name, read, parameter.default)
        )
        bindings.append((parameter.name, validator))

    def _variable_converter(self, parameter: Parameter, where: str) -> TextConverter | None:
        made = _MADE.get(parameter.converter or "default")
        if made is None or (not parameter.converter and parameter.name != self.suffix_name):
            return None  # of the application, or a default of the rule: the value needs no check
        if made is not str and parameter.type is str:
            raise RegistrationError(
                f"{where}: <{parameter.converter}:{parameter.name}> is no text; write {parameter.name}: {made.__name__}"
            )
        return variable_reader(parameter.type, where)

    # --- checks -----------------------------------------------------------------------------------------------------

    def _check(self, needed: Collection[str]) -> None:
        """Check the names of the parameters against the path and the methods.

        Args:
            needed: The variables that the handler must take.

        Raises:
            RegistrationError: They do not fit.
        """
        self._check_body()
        signature, name = self.signature, self.signature.name
        if signature.is_wrapped:
            return  # a decorator may pass and take away arguments
        self._check_unknown()
        missing = [variable for variable in needed if variable not in signature.named]
        if missing and not signature.takes_any:
            raise RegistrationError(
                f"{name} does not take {missing[0]}, a variable of the path {self.path}; write "
                f"{signature.suggestion(*missing)}"
            )

    def _check_body(self) -> None:
        signature, name = self.signature, self.signature.name
        read = [parameter for parameter in signature.read if self._place(parameter) == parameter]
        if BODY in read and FORM in read:
            raise RegistrationError(f"{name} takes both body and form, and a request has one body; drop one of them")
        without = next((method for method in self.methods if method in _WITHOUT_BODY), None)
        if without and (BODY in read or FORM in read):
            wrong = BODY if BODY in read else FORM
            raise RegistrationError(
                f"{name} takes {wrong}, and {without} requests have none; write query: ..., or register it for "
                "POST only"
            )
        if self.content_types and BODY not in read:
            raise RegistrationError(
                f"content_types= is for a handler that takes body, which {name} does not; write "
                f"{signature.suggestion('body: ...')}, or read_json(request, ..., content_types=...)"
            )
        if self.described_body and (BODY in read or FORM in read):
            raise RegistrationError(
                f"openapi_body= is for a handler that reads the body itself, and the annotations of {name} describe it "
                "already; drop openapi_body="
            )
        if self.described_body and without:
            raise RegistrationError(f"{name} has openapi_body=, and {without} requests have no body; drop it")

    def _check_unknown(self) -> None:
        for parameter in self.signature.named.values():
            if parameter.default is not parameter.empty or self._place(parameter.name) is not None:
                continue
            rest = [f"<{name}>" for name in (parameter.name,) if not self.path.endswith("*")]
            where = f"{self.path.rstrip('/')}/{rest[0]}" if rest else f"{self.path.rstrip('*')} (its rest is suffix)"
            raise RegistrationError(
                f"{self.signature.name} requires {parameter.name}, which nothing passes: a handler takes the ctx, the "
                f"request, body, query, form and the variables of its path. Write the variable into the path ({where}) "
                "or into url_prefix= of the HttpRouter, or give the parameter a default"
            )


def _variables(path: str) -> dict[str, str]:
    """Return the variables of a path with their converters."""
    return {found["name"]: found["converter"] or "default" for found in _VARIABLE.finditer(path)}


def _suffix_name(signature: HandlerSignature, variables: Collection[str]) -> str | None:
    """Return the name of the parameter that takes the rest of a prefix: `suffix`, or else the first that is free."""
    if "suffix" in signature.named or signature.takes_any:
        return "suffix"
    return next((name for name in signature.named if name not in variables and name not in signature.read), None)


def _checked_description(described: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(described, Mapping) or not all(isinstance(name, str) and "/" in name for name in described):
        raise RegistrationError(
            f"openapi_body={described!r} must have types by content type; write "
            'openapi_body={"application/json": NewItem}'
        )
    return dict(described)


def _checked_status(status: int | None, signature: HandlerSignature) -> int:
    if status is None:
        return _NO_CONTENT if signature.return_hint() is type(None) else 200
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise RegistrationError(f"status={status!r} must be a status of a response, such as 201")
    return int(status)
