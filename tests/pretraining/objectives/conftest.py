import pytest

from elektron.models.families import FAMILIES


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return request.param
