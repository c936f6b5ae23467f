"""`OnnxModel`: a network exported to ONNX, called in the same way as the PyTorch network it was exported from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers.loss.loss_utils import ForQuestionAnsweringLoss, ForSequenceClassificationLoss

from elektron.errors import ElektronError, requires_extra
from elektron.hub import load_configuration, on_one_line
from elektron.io.files import check_readable

FILE, QUANTIZED_FILE = "onnx/model.onnx", "onnx/model_quantized.onnx"
"""Paths where transformers.js looks for fp32 and int8 weights; optimum and text-embeddings-inference use the first."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""The inputs that a network may have; the first is required."""


def exported_file(model: str) -> Path | None:
    """The ONNX file of a folder that has no PyTorch weights; None for other folders and for hub names."""
    folder = Path(model)
    if any(folder.glob("model*.safetensors*")):
        return None
    return next((folder / name for name in (FILE, QUANTIZED_FILE) if (folder / name).is_file()), None)


class OnnxModel(nn.Module):
    """A network that runs in onnxruntime on the CPU, with as many threads as torch has.

    Args:
        path: the ONNX file, in `onnx/` of the exported folder.
        outputs: names of the outputs that are needed, such as `logits`.

    Raises:
        ElektronError: onnxruntime is not installed, or the file is damaged or has other inputs or outputs.
    """

    def __init__(self, path: Path, outputs: Sequence[str]) -> None:
        super().__init__()
        with requires_extra("onnx", str(path)):
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as state
        config = load_configuration(str(path.parents[1]))
        self.path, self.config, self.outputs = path, config, tuple(outputs)
        # The exceptions of onnxruntime have no common base class.
        self.errors: tuple[type[Exception], ...] = (
            *(state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf),
            *(state.NoModel, state.NoSuchFile, state.NotImplemented, state.RuntimeException),
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # fatal only: its exceptions contain all other messages
        check_readable(path)
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except self.errors as error:
            raise ElektronError(f"{path} is damaged ({on_one_line(error)}): export the model again") from error
        self.inputs = [each.name for each in self.session.get_inputs()]
        shapes = {each.name: each.shape for each in self.session.get_outputs()}
        if not {INPUTS[0]} <= set(self.inputs) <= set(INPUTS) or not shapes.keys() >= set(outputs):
            raise ElektronError(
                f"{path} has the inputs {', '.join(self.inputs)} and outputs {', '.join(shapes)}; expected are "
                f"{', '.join(INPUTS)} and {', '.join(outputs)}: it belongs to another task, or is not an encoder"
            )
        width = shapes.get("logits", [config.num_labels])[-1]
        if isinstance(width, int) and width != config.num_labels:
            raise ElektronError(f"{path} outputs {width} logits, but its config.json has {config.num_labels} labels")

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **labels: Tensor,
    ) -> SimpleNamespace:
        """The outputs by name, and the `loss` if there are labels.

        Args:
            input_ids: `(batch, length)`; `(batch, choices, length)` for multiple choice.
            attention_mask: as `input_ids`, 1 for real tokens (default: all are).
            token_type_ids: as `input_ids` (default: 0).
            labels: `labels`, or `start_positions` and `end_positions`, as the PyTorch network takes them.

        Raises:
            ElektronError: the file cannot be run on these inputs.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        given = dict(zip(INPUTS, (input_ids, attention_mask, token_type_ids), strict=True))
        feed = {name: given[name].cpu().numpy() for name in self.inputs}
        try:
            arrays = self.session.run(self.outputs, feed)
        except self.errors as error:
            raise ElektronError(
                f"{self.path} cannot be run on {' × '.join(map(str, input_ids.shape))} tokens ({on_one_line(error)})"
            ) from error
        found: dict[str, Any] = dict(zip(self.outputs, map(torch.from_numpy, arrays), strict=True))
        return SimpleNamespace(loss=self._loss(found, labels) if labels else None, **found)

    def _loss(self, outputs: dict[str, Tensor], labels: dict[str, Tensor]) -> Any:
        """The loss of transformers' class for the task."""
        labels = {name: tensor.cpu() for name, tensor in labels.items()}
        if "start_positions" in labels:
            return ForQuestionAnsweringLoss(**outputs, **labels)
        logits, target = outputs["logits"], labels["labels"]
        if (self.config.architectures or [""])[0].endswith("ForSequenceClassification"):
            return ForSequenceClassificationLoss(target, logits, self.config)
        return F.cross_entropy(logits.flatten(0, -2), target.flatten())
