import pytest


@pytest.fixture(autouse=True)
def always_own_cache(own_cache):
    """Every test of a source decodes for itself."""
