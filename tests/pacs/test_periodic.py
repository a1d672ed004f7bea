"""Items that fail: each waits for its own next attempt, and holds up no other."""

import pytest

from clock import Clock
from pneumoscope.pacs.periodic import Postponed, pause_after

EVERY = 30.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def later(clock):
    return Postponed(EVERY, clock)


class Attempts:
    """Keeps what is tried, which takes some seconds; some items fail."""

    def __init__(self, clock, failing=(), seconds=0.5):
        self.clock, self.failing, self.seconds, self.tried = clock, set(failing), seconds, []

    def __call__(self, item):
        self.clock.now += self.seconds
        self.tried.append((item, self.clock.now))
        if item in self.failing:
            raise OSError(f"{item} fails")
        return True

    @property
    def items(self):
        return [item for item, _ in self.tried]


def steps(later, attempt, items_at, hours):
    """Steps as `Periodic` has them, with their growing pauses; gives how many failed."""
    clock, failures, failed = attempt.clock, 0, 0
    while clock.now < 3600 * hours:
        try:
            later.try_each(items_at(clock.now), attempt)
        except OSError:
            failures, failed = failures + 1, failed + 1
        else:
            failures = 0
        clock.now += pause_after(failures, EVERY)
    return failed


def test_one_that_always_fails_holds_up_none_of_the_others(clock, later):
    attempt = Attempts(clock, {"forbidden"})
    arrivals = {f"image {number}": 700.0 * number for number in range(12)}
    done = set()

    def items(now):
        done.update(set(attempt.items) - {"forbidden"})
        return ["forbidden", *(name for name, time in arrivals.items() if time <= now and name not in done)]

    failed = steps(later, attempt, items, 2.4)
    waited = {name: time - arrivals[name] for name, time in attempt.tried if name != "forbidden"}
    assert set(waited) == set(arrivals)
    assert max(waited.values()) < 3 * EVERY
    assert 10 < attempt.items.count("forbidden") < 40, "tried again, after pauses of five minutes in the end"
    assert failed, "where it is alone, it is reported"


def test_those_that_never_failed_come_first_then_those_that_wait_longest(clock, later):
    attempt = Attempts(clock, "ab")
    with pytest.raises(OSError, match="a fails"):
        later.try_each("ab", attempt)
    clock.now += 1000
    attempt.failing = set()
    later.try_each("bacd", attempt)
    assert attempt.items == ["a", "b", "c", "d", "a", "b"]


def test_failures_that_take_long_end_a_step_and_the_next_begins_with_the_others(clock, later):
    attempt = Attempts(clock, "abcde", seconds=25.0)
    with pytest.raises(OSError, match="a fails"):
        later.try_each("abcdef", attempt)
    assert attempt.items == ["a", "b", "c"]
    later.try_each("abcdef", attempt)
    assert attempt.items == ["a", "b", "c", "d", "e", "f"]


def test_any_number_of_failures_that_take_no_time_leaves_others_their_turn(clock, later):
    attempt = Attempts(clock, map(str, range(300)), seconds=0.01)
    later.try_each([*map(str, range(300)), "good"], attempt)
    assert attempt.items[-1] == "good"


def test_what_does_not_fail_and_is_not_done_hides_no_failure(clock, later):
    def attempt(item):
        if item == "a":
            raise OSError("a fails")
        return False

    with pytest.raises(OSError, match="a fails"):
        later.try_each("ab", attempt)


def test_a_step_that_is_over_tries_nothing_more(clock, later):
    attempt = Attempts(clock)
    later.try_each("abc", attempt, lambda: len(attempt.tried) == 2)
    assert attempt.items == ["a", "b"]
