"""The simulated authority's list of names."""

from simulator.lists import KNOWN, NAMES, invented_names


def test_the_list_is_long_the_same_each_time_and_names_nobody_twice() -> None:
    names = invented_names()
    assert len(names) == len(set(names)) == NAMES
    assert names == invented_names()
    assert names[0] == KNOWN
