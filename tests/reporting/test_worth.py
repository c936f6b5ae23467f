"""A comparison claims no more than its seeds bear out."""

from hypothesis import given
from hypothesis import strategies as st

from elektron.reporting.resolution import SEEDS_TO_CLAIM
from elektron.reporting.worth import Spread, finding

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(VALUES, VALUES)
def test_a_claim_needs_seeds_that_do_not_overlap(
    pretrained: list[float], scratch: list[float]
) -> None:
    said = finding(Spread(pretrained), Spread(scratch), write=str, write_difference=str)
    enough = min(len(pretrained), len(scratch)) >= SEEDS_TO_CLAIM
    assert ("ahead" in said) == (enough and min(pretrained) > max(scratch))
    assert ("behind" in said) == (enough and max(pretrained) < min(scratch))
    assert ("Not resolved" in said) == ("ahead" not in said and "behind" not in said)
