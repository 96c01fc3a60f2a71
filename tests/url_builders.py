"""URL builders of Werkzeug's rules that are compiled at their first use.

Werkzeug compiles two functions for each URL rule as it is added, for `url_for`. That is half of the time in which a
test makes its app, and hardly any test builds a URL.
"""

from typing import Any

from werkzeug.routing import Rule


def compile_late() -> None:
    """Let this process compile the URL builders of a rule when it builds a URL."""
    compile_now: Any = Rule._compile_builder

    def compile_late(rule: Rule, append_unknown: bool = True) -> Any:
        made: list[Any] = []

        def build(bound: Rule, *values: Any, **more: Any) -> Any:
            if not made:
                made.append(compile_now(rule, append_unknown))
            return made[0](bound, *values, **more)

        return build

    Rule._compile_builder = compile_late  # type: ignore[assignment]
