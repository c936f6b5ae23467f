"""Reuse the encoders of the fine-tuning tests."""

from tests.finetuning.conftest import encoders, families  # noqa: F401
