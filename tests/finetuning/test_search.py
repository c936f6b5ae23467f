import pytest

from elektron.errors import ElektronError
from elektron.finetuning.search import combinations


def test_all_combinations_with_the_types_of_the_settings():
    found = combinations(["learning_rate=1e-4,3e-4", "epochs=3", "decoding.beams=1,4"])
    assert len(found) == 4
    assert found[0] == {"learning_rate": 1e-4, "epochs": 3.0, "decoding.beams": 1}
    assert found[-1] == {"learning_rate": 3e-4, "epochs": 3.0, "decoding.beams": 4}


def test_nothing_to_search_is_one_run_as_configured():
    assert combinations([]) == [{}]


@pytest.mark.parametrize("item", ["train=a,b", "text=a,b", "seeds=1,2", "out=a"])
def test_the_data_and_the_search_itself_are_not_searched(item):
    with pytest.raises(ElektronError, match="cannot be varied"):
        combinations([item])
