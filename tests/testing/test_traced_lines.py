"""A system call that another thread interrupted is seen, where it ended."""

from __future__ import annotations

from traced_lines import whole_calls


def test_the_two_halves_of_a_call_that_another_thread_interrupted_are_one_call() -> None:
    log = ["7 fsync(5</a> <unfinished ...>", '8 write(1<pipe:[2]>, "x", 1) = 1', "7 <... fsync resumed>) = 0"]
    assert list(whole_calls(log)) == ['8 write(1<pipe:[2]>, "x", 1) = 1', "7 fsync(5</a>) = 0"]


def test_a_call_whose_beginning_was_not_traced_stays_as_it_is() -> None:
    assert list(whole_calls(["7 <... fsync resumed>) = 0"])) == ["7 <... fsync resumed>) = 0"]
