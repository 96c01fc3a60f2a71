"""All benchmarks: `make bench`."""

from benchmarks import (
    dispatch,
    function_api,
    history,
    http_writes,
    idempotent,
    idempotent_http,
    jobs,
    json_web_tokens,
    live,
    observed_http,
    postgres,
    reads,
    views,
    webhooks,
    writes,
)
from benchmarks.harness import print_table


def main() -> None:
    """Print the tables of all benchmarks."""
    print_table("Reads", reads.measure())
    print_table("Requests in process", views.measure())
    print_table("JWTs", json_web_tokens.measure())
    print_table("Calls over the function API, against Flask views", function_api.measure())
    print_table("Dispatch by type", dispatch.measure())
    print_table("Idempotent requests, against those without a key", idempotent.measure())
    writes.print_lines()
    http_writes.print_lines()
    history.print_lines()
    jobs.print_lines()
    webhooks.print_lines()
    idempotent_http.print_lines()
    observed_http.print_lines()
    postgres.print_lines()
    live.print_lines()


if __name__ == "__main__":
    main()
