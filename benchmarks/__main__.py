"""All benchmarks: `make bench`."""

from benchmarks import reads, views
from benchmarks.harness import print_table


def main() -> None:
    """Print a table for each."""
    print_table("Reads", reads.measure())
    print_table("Requests in process", views.measure())


if __name__ == "__main__":
    main()
