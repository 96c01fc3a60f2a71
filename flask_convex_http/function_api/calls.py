"""Run a call of a client: find the function, read its arguments, run it, and write its result.

HTTP requests and other transports come here with a parsed call and the client. Nothing here knows either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from flask_convex_http.errors import ArgumentValidationError, HistoryError
from flask_convex_http.function_api.encoding import Form
from flask_convex_http.function_api.failures import CallError, Failure, ProtocolError, failure_of
from flask_convex_http.function_api.identity import Client
from flask_convex_http.function_api.names import wire_message
from flask_convex_http.function_api.surface import Endpoint, Surface, canonical
from flask_convex_http.function_api.values import ValueFormatError
from flask_convex_http.functions.function import Kind
from flask_convex_http.history.as_of import AsOfSnapshot
from flask_convex_http.history.reader import HistoryReader
from flask_convex_http.runtime import Auth, Caller, Runtime
from flask_convex_http.storage.files import Site

#: Runs a checked call.
Run = Callable[[Endpoint, dict[str, Any], Caller], Any]


class Call(msgspec.Struct, frozen=True):
    """A call as a client sends it.

    Attributes:
        path: The name of the function.
        args: Its arguments in encoded JSON: an object, or a list of one.
        kind: The kind that the client expects, or None for any.
        form: The form of the result.
    """

    path: str
    args: Any
    kind: Kind | None = None
    form: Form = "clean"


class Success(msgspec.Struct, tag="success", tag_field="status"):
    """The response to a call whose function has returned.

    Attributes:
        value: Its result as JSON.
    """

    value: Any


class Error(msgspec.Struct, tag="error", tag_field="status", rename="camel"):
    """The response to a call whose function has failed.

    Attributes:
        error_message: The message.
        error_data: The data of an application error as JSON; left out for other errors.
    """

    error_message: str
    error_data: Any | UnsetType = UNSET


class Calls:
    """Runs the calls of clients.

    Args:
        surface: The functions.
        runtime: Runs them.
        debug: Returns whether clients see every message, as developers do.
        report: Called with each error that the application did not expect, such as for an error tracker.
    """

    def __init__(
        self, surface: Surface, runtime: Runtime, debug: Callable[[], bool], report: Callable[[Exception], None]
    ) -> None:
        self._surface = surface
        self._runtime = runtime
        self._debug = debug
        self._report = report

    def check_path(self, path: Any) -> str:
        """Return the name of a function in its usual form.

        Raises:
            ProtocolError: It is not a valid name (400).
        """
        name = canonical(path) if isinstance(path, str) else None
        if name is None:
            raise ProtocolError(
                400,
                "BadConvexFunctionIdentifier",
                f"{str(path)[:200]!r} is not a valid path to a Convex function. Write a module and a function, such as "
                "'items:list'",
            )
        return name

    def run(self, call: Call, client: Client, site: Site, request_id: str) -> Success | Error:
        """Run a call, and return the response.

        Args:
            call: The call.
            client: The client.
            site: Returns the beginning of absolute URLs.
            request_id: The id of the request.

        Raises:
            ProtocolError: The deployment could not run it.
        """
        return self._respond(call, client, site, request_id, self._run)

    def run_all(self, calls: list[Call], client: Client, site: Site, request_id: str) -> list[Success | Error]:
        """Run queries on one snapshot, and return the responses.

        Raises:
            ProtocolError: The deployment could not run them.
        """
        runtime = self._runtime
        # a real snapshot: an optimistic one may have to run all of them again, which an error of one would hide
        with runtime.engine.snapshot() as snapshot:
            now = runtime.clock()

            def run_in(endpoint: Endpoint, arguments: dict[str, Any], caller: Caller) -> Any:
                return runtime.query_in(snapshot, now, endpoint.function, arguments, caller)

            return [self._respond(call, client, site, request_id, run_in) for call in calls]

    def last_commit(self) -> int:
        """Return the number of the newest commit, 0 without a commit log."""
        with self._runtime.engine.snapshot() as snapshot:
            return HistoryReader(snapshot, self._runtime.schema).newest()

    def run_at(self, number: int, call: Call, client: Client, site: Site, request_id: str) -> Success | Error:
        """Run a query on the documents as a commit had left them, and return the response.

        A query that reads a table without a commit log runs on the newest documents.

        Args:
            number: The number of the commit, as `last_commit` has returned it.
            call: The call.
            client: The client.
            site: Returns the beginning of absolute URLs.
            request_id: The id of the request.

        Raises:
            ProtocolError: There is no such commit yet, or the deployment could not run the query.
        """
        runtime = self._runtime
        with runtime.engine.snapshot() as snapshot:
            log, now = HistoryReader(snapshot, runtime.schema), runtime.clock()
            newest = log.newest()
            if number > newest:
                raise ProtocolError(400, "BadJsonBody", "ts must be one that /api/query_ts has returned")

            def run_in(endpoint: Endpoint, arguments: dict[str, Any], caller: Caller) -> Any:
                if number < newest:
                    with contextlib.suppress(HistoryError):
                        return runtime.query_in(AsOfSnapshot(log, number), now, endpoint.function, arguments, caller)
                return runtime.query_in(snapshot, now, endpoint.function, arguments, caller)

            return self._respond(call, client, site, request_id, run_in)

    def _respond(self, call: Call, client: Client, site: Site, request_id: str, run: Run) -> Success | Error:
        try:
            endpoint, arguments = self.resolve(call, client)
            caller = self._runtime.caller(Auth(client.identity), site, request_id).deeper()
            return Success(self.encoded(endpoint, run(endpoint, arguments, caller), call.form))
        except ProtocolError:
            raise
        except Exception as error:
            return self.error(call, error, request_id)

    def resolve(self, call: Call, client: Client) -> tuple[Endpoint, dict[str, Any]]:
        """Return the function of a call, and its checked arguments.

        Raises:
            ProtocolError: The name of the function is not valid.
            CallError: The client may call no such function, or the arguments do not match.
        """
        endpoint = self._find(call, client)
        return endpoint, self._arguments(endpoint, call.args)

    def error(self, call: Call, error: Exception, request_id: str) -> Error:
        """Return the response to an error of a call.

        Raises:
            ProtocolError: The deployment could not run it.
        """
        failure = failure_of(error, name=call.path, request_id=request_id, debug=self._debug())
        if not failure.is_expected:
            self._report(error)
        return self._error(failure, call.form)

    def _find(self, call: Call, client: Client) -> Endpoint:
        """Return the function of a call.

        Raises:
            CallError: There is none that the client may call, or it is of another kind. Whether an internal function
                exists does not show.
        """
        endpoint = self._surface.find(self.check_path(call.path), internal=client.is_admin)
        if endpoint is None:
            raise CallError(self._unknown(call.path, client))
        kind = endpoint.function.kind
        if call.kind is not None and call.kind != kind:
            raise CallError(
                f"Trying to execute {call.path} as {call.kind.capitalize()}, but it is defined as {kind.capitalize()}."
            )
        return endpoint

    def _unknown(self, path: str, client: Client) -> str:
        """Return the error for a name that no function has."""
        public = "" if client.is_admin else "public "
        refusal = self._surface.refusal(path) if client.is_admin else None
        return refusal or f"Could not find {public}function for '{path}'."

    def _arguments(self, endpoint: Endpoint, given: Any) -> dict[str, Any]:
        """Return the checked arguments of a call.

        Raises:
            CallError: They are not an object, or do not match the annotations.
        """
        try:
            decoded = endpoint.decode(_one_object(given))
            return endpoint.function.check_arguments((), decoded, json=True)
        except ValueFormatError as error:
            raise CallError(f"Invalid arguments for {endpoint.name}: {error}") from None
        except ArgumentValidationError as error:
            message = error.client_message or str(error).removeprefix(f"{endpoint.function.name}: ")
            shown = wire_message(message, self._surface.casing)
            raise CallError(f"ArgumentValidationError: {shown}") from None

    def _run(self, endpoint: Endpoint, arguments: dict[str, Any], caller: Caller) -> Any:
        function, runtime = endpoint.function, self._runtime
        if function.kind == "query":
            return runtime.query(function, arguments, caller)
        if function.kind == "mutation":
            return runtime.mutation(function, arguments, caller)
        return runtime.call(function, runtime.action_ctx(caller), arguments, caller)

    def encoded(self, endpoint: Endpoint, value: Any, form: Form) -> Any:
        """Return the result of a function as JSON.

        Raises:
            TypeError: Clients cannot receive it.
        """
        try:
            return endpoint.encode(value, form)
        except ValueFormatError as error:
            raise TypeError(f"{endpoint.function.name} returned a value that clients cannot receive: {error}") from None

    def _error(self, failure: Failure, form: Form) -> Error:
        message = failure.message.encode(errors="replace").decode()  # JSON has no half of a surrogate pair
        if failure.data is UNSET:
            return Error(message)
        try:
            return Error(message, self._surface.encoders[form].encode(failure.data))
        except (TypeError, ValueError, RecursionError):  # an application may raise any data
            return Error(message, None)


def _one_object(given: Any) -> dict[str, Any]:
    """Return the arguments of a call as an object.

    Raises:
        CallError: They are neither an object nor a list of one.
    """
    if isinstance(given, list):
        if len(given) != 1:
            raise CallError(
                "ArgumentValidationError: Expected to receive a single object as the function's argument. "
                f"Instead received {len(given)} arguments"
            )
        given = given[0]
    if not isinstance(given, dict):
        raise CallError("ArgumentValidationError: Expected to receive an object as the function's argument")
    return given
