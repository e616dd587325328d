"""Reading ahead: the same items, errors where they belong, nothing left behind."""

from __future__ import annotations

import contextvars
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uva_edge.runtimes.ahead import read_ahead


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "uva-edge-ahead"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not readers()


def wait_for(done: Callable[[], bool]) -> None:
    for _ in range(1000):
        if done():
            return
        time.sleep(0.005)
    raise AssertionError("it did not happen in five seconds")


class Numbers:
    """Counts up to `last`, and then raises, or ends; it knows what was drawn and in which thread it was closed."""

    def __init__(self, last: int, error: BaseException | None = None) -> None:
        self.last, self.error = last, error
        self.drawn = 0
        self.closed_in: str | None = None

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.last):
                self.drawn += 1
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed_in = threading.current_thread().name


@settings(max_examples=50, deadline=None)
@given(count=st.integers(0, 20), most=st.integers(0, 5), taken=st.integers(0, 25), fails=st.booleans())
def test_the_same_items_then_the_same_end(count: int, most: int, taken: int, fails: bool) -> None:
    numbers = Numbers(count, ValueError("broken") if fails else None)
    found, raised = [], ""
    with read_ahead(iter(numbers), most) as items:
        try:
            for _ in range(taken):
                found.append(next(items))
        except StopIteration:
            raised = "end"
        except ValueError as error:
            raised = str(error)
    assert found == list(range(min(count, taken)))
    assert raised == ("" if taken <= count else "broken" if fails else "end")
    assert numbers.drawn <= min(count, taken + most)


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_is_made_than_there_is_room_for(most: int) -> None:
    numbers = Numbers(100)
    with read_ahead(iter(numbers), most) as items:
        for taken in range(5):
            wait_for(lambda taken=taken: numbers.drawn == taken + most)  # type: ignore[misc]
            time.sleep(0.01)
            assert numbers.drawn == taken + most
            assert next(items) == taken
    assert numbers.closed_in == "uva-edge-ahead", "closed where it ran"


def test_without_room_there_is_no_thread() -> None:
    numbers = Numbers(3)
    with read_ahead(iter(numbers), 0) as items:
        assert not readers()
        assert (next(items), numbers.drawn) == (0, 1)
    assert numbers.closed_in == threading.current_thread().name


def test_an_error_has_its_own_traceback() -> None:
    error = KeyError("frame 2")
    with pytest.raises(KeyError) as caught, read_ahead(iter(Numbers(2, error)), 4) as items:
        list(items)
    assert caught.value is error
    names = [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)]
    assert "__iter__" in names, "where it was raised"
    assert names[0] == "test_an_error_has_its_own_traceback", "and where it was met"


def test_what_fails_outside_stops_the_reading() -> None:
    numbers = Numbers(100)

    def fail() -> None:
        with read_ahead(iter(numbers), 2) as items:
            next(items)
            raise RuntimeError("engine")

    with pytest.raises(RuntimeError, match="engine"):
        fail()
    assert numbers.closed_in == "uva-edge-ahead"
    assert numbers.drawn <= 3


def test_after_an_error_there_is_nothing_more() -> None:
    with read_ahead(iter(Numbers(1, ValueError("broken"))), 2) as items:
        assert next(items) == 0
        with pytest.raises(ValueError, match="broken"):
            next(items)
        assert list(items) == []


def test_an_item_that_is_being_made_is_waited_for() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        yield 0
        begun.set()
        assert may_end.wait(10)
        ended.set()
        yield 1

    threading.Thread(target=lambda: begun.wait(10) and may_end.set()).start()
    with read_ahead(slow(), 2) as items:
        next(items)
        assert begun.wait(10)
    assert ended.is_set()


def test_the_iterator_finds_the_context_of_its_caller() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("the caller's")
    with read_ahead(iter(variable.get() for _ in range(1)), 1) as items:
        assert next(items) == "the caller's"
