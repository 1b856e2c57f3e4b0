"""Filters only grow, in the order in which they came."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.catalogue.products.meters import merged
from farthing.catalogue.products.schemas import MeterFilter

words = st.text(alphabet="abc", min_size=1, max_size=2)
filters = st.lists(st.builds(MeterFilter, key=words, values=st.lists(words, min_size=1, max_size=4)), max_size=4)


@settings(max_examples=150)
@given(first=filters, second=filters)
def test_what_was_there_stays_in_front_and_adding_twice_changes_nothing(
    first: list[MeterFilter], second: list[MeterFilter]
) -> None:
    before = merged([], first)
    after = merged(before, second)
    for old, new in zip(before, after, strict=False):
        assert old["key"] == new["key"]
        assert new["values"][: len(old["values"])] == old["values"]
    assert {kept["key"] for kept in after} == {kept.key for kept in [*first, *second]}
    for kept in after:
        given_values = {
            value for filter_ in [*first, *second] if filter_.key == kept["key"] for value in filter_.values
        }
        assert len(kept["values"]) == len(set(kept["values"]))
        assert set(kept["values"]) == given_values
    assert merged(after, second) == after
