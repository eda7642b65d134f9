"""A server in trouble is asked again after longer and longer pauses, for ever, and gets one job on trial."""

from __future__ import annotations

import itertools

import pytest
from defectforge.runner.servers.work.breaker import LONGEST, LONGEST_FOR_PEOPLE, MOST_HICCUPS, Breaker


@pytest.mark.parametrize(("for_people", "longest"), [(False, LONGEST), (True, LONGEST_FOR_PEOPLE)])
def test_pauses_double_up_to_a_limit_and_never_end(for_people: bool, longest: float) -> None:
    breaker = Breaker(chance=lambda: 1.0)
    pauses = [breaker.pause(for_people) for _ in range(1000)]
    assert all(after == min(2 * before, longest) for before, after in itertools.pairwise(pauses))
    assert pauses[0] < longest == pauses[-1]


def test_a_rack_does_not_come_back_in_one_beat() -> None:
    pauses = [Breaker(chance=lambda chance=number / 10: chance).pause(False) for number in range(10)]
    assert len(set(pauses)) == 10


def test_one_job_shows_whether_it_works() -> None:
    breaker = Breaker(chance=lambda: 1.0)
    first = breaker.pause(False)
    breaker.pause(False)
    breaker.half_open()
    assert breaker.on_trial
    breaker.worked()
    assert not breaker.on_trial
    assert breaker.pause(False) == first


def test_hiccups_in_a_row_are_trouble_and_a_job_between_them_forgives() -> None:
    breaker = Breaker()
    assert [breaker.hiccup() for _ in range(MOST_HICCUPS)] == [False] * (MOST_HICCUPS - 1) + [True]
    breaker.worked()
    assert not breaker.hiccup()
