"""The finished run of the pre-training tests."""

from tests.pretraining.conftest import finished as run  # noqa: F401
