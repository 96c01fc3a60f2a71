"""Adding numbers up in one process."""

import threading
from collections import Counter

from flask_convex_http.metrics.definitions import LAG_SECONDS, REJECTED, REQUEST_SECONDS
from flask_convex_http.metrics.totals import Samples, Total, Totals


def test_values_fall_into_buckets_up_to_their_bounds() -> None:
    """A value that equals a bound is in its bucket, and one above all bounds in the last."""
    totals = Totals()
    totals.observe(LAG_SECONDS, (), [0.01, 0.0100001, 3600.0, 5000.0])
    [total] = totals.of(LAG_SECONDS).values()
    assert total.buckets == [1, 1, *[0] * 8, 1, 1]
    assert total.sum == 0.01 + 0.0100001 + 3600.0 + 5000.0


def test_values_with_other_labels_stay_apart() -> None:
    """Values add up by metric and labels."""
    totals = Totals()
    for labels, number in ((("a", "too-old"), 1), (("a", "too-old"), 2), (("b", "too-old"), 4)):
        totals.count(REJECTED, labels, number)
    assert totals.of(REJECTED) == {("a", "too-old"): Total(3), ("b", "too-old"): Total(4)}
    assert totals.of(REQUEST_SECONDS) == {}


def test_no_number_is_lost_between_threads() -> None:
    """Numbers that threads note while others are taken are all taken once."""
    samples = Samples(lambda: None)

    def note() -> None:
        for number in range(3000):
            samples.note(("GET", number % 3), 1.0)

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    found: Counter[tuple[str, ...]] = Counter()
    is_over = False
    while not is_over:
        is_over = not any(thread.is_alive() for thread in threads)
        for labels, values in samples.take():
            found[labels] += len(values)
    assert found == {("GET", str(number)): 4000 for number in range(3)}


def test_new_labels_are_announced_once() -> None:
    """The function for new labels is called at their first number only, and again after `clear`."""
    calls: list[int] = []
    samples = Samples(lambda: calls.append(1))
    for _ in range(2):
        samples.note(("a",), 1.0)
        samples.note(("a",), 1.0)
        samples.note(("b",), 1.0)
        list(samples.take())
    assert len(calls) == 2
    samples.clear()
    samples.note(("a",), 1.0)
    assert len(calls) == 3
