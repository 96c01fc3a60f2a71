"""URL builders of Werkzeug's rules that are compiled once for equal rules.

Werkzeug compiles two functions for each URL rule that it adds, for `url_for`. That is half of the time in which a test
makes its app, and most apps have the same rules as an earlier one.
"""

from typing import Any

from werkzeug.routing import Rule

#: By the parts of the rule, and whether the function appends unknown values. It reads converters from its rule.
_builders: dict[tuple[Any, ...], Any] = {}
_compile: Any = Rule._compile_builder


def compile_once() -> None:
    """Let this process compile the URL builders of equal rules once."""
    Rule._compile_builder = _compile_or_copy  # type: ignore[method-assign, assignment]


def _compile_or_copy(rule: Rule, append_unknown: bool = True) -> Any:
    if rule.defaults:  # whose values become parts of the function
        return _compile(rule, append_unknown)
    key = (rule.rule, *rule._trace, append_unknown)
    if key not in _builders:
        _builders[key] = _compile(rule, append_unknown)
    return _builders[key]
