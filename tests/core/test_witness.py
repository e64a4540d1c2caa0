"""What is written by several clients tells afterwards what went wrong."""

from __future__ import annotations

from exlab_store.clients.witness import Hold, is_whole, overlap, sealed


def test_a_hold_that_began_before_another_had_ended_is_found() -> None:
    first, second = Hold(1, 5, "a"), Hold(4, 8, "b")
    assert overlap([second, Hold(9, 10, "a"), first]) == (first, second)


def test_holds_one_after_the_other_do_not_overlap() -> None:
    assert overlap([Hold(5, 8, "b"), Hold(1, 5, "a")]) is None


def test_a_sealed_document_is_whole_and_half_of_it_is_not() -> None:
    data = sealed("a", 1, 1000)
    assert is_whole(data)
    assert not is_whole(data[: len(data) // 2])


def test_a_mixture_of_two_sealed_documents_is_not_whole() -> None:
    one, other = sealed("a", 0, 1000), sealed("b", 0, 1000)
    assert not is_whole(one[:500] + other[500:])
