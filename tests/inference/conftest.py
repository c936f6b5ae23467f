"""The encoders of the fine-tuning tests serve here too."""

from tests.finetuning.conftest import encoders, families  # noqa: F401
