"""How a fine-tuned model is put to work, as code to copy."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from elektron.reporting.results import Result

# Where a model that writes keeps the tokenizer of its output.
TARGET_TOKENIZER = "target_tokenizer"
GENERATES = ("translation", "summarization", "generation")


@dataclass(frozen=True)
class Usage:
    """Code to copy."""

    python: str
    """With transformers alone, and the family's own classes where it has some."""
    shell: str
    """With `elektron`."""
    remark: str
    """What the code leaves out; may be empty."""


def usage(result: Result, folder: str) -> Usage | None:
    """How to load the model, as lying in `folder`; None for a result without a model."""
    if not result.network:
        return None
    known = "import elektron.models  # makes the family known to transformers' Auto classes\n"
    code, remark = _code(result, repr(folder))
    return Usage(
        python=(known if result.family == "elektron" else "") + code,
        shell=f"elektron predict {shlex.quote(folder)} --input FILE --output predictions.jsonl",
        remark=remark,
    )


def _code(result: Result, folder: str) -> tuple[str, str]:
    """Python and what it leaves out."""
    pairs = bool(result.learned.get("pairs"))
    if result.task == "token-classification":
        return _pipeline("token-classification", folder, ', aggregation_strategy="simple"'), ""
    if result.task == "regression":
        return _pipeline("text-classification", folder, ', function_to_apply="none"', pairs), ""
    if result.task == "question-answering":
        return _answers(folder), (
            "This takes the best start and the best end of a passage that fits in one window; "
            "“elektron predict” reads long passages in windows and knows questions without an answer."
        )
    if result.task == "multiple-choice":
        return _choices(folder), ""
    if result.task in GENERATES:
        return _writing(folder), ""
    several = ", top_k=None" if result.learned.get("several") else ""
    return _pipeline("text-classification", folder, several, pairs), ""


def _pipeline(name: str, folder: str, settings: str = "", pairs: bool = False) -> str:
    text = (
        '{"text": "A text of your own.", "text_pair": "Another."}'
        if pairs
        else '"A text of your own."'
    )
    return f"""from transformers import pipeline

model = pipeline("{name}", model={folder}{settings})
print(model({text}))"""


def _answers(folder: str) -> str:
    return f"""from transformers import AutoModelForQuestionAnswering, AutoTokenizer

folder = {folder}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
batch = tokenizer("A question?", "A passage with the answer.", return_tensors="pt")
output = model(**batch)
start, end = int(output.start_logits.argmax()), int(output.end_logits.argmax())
print(tokenizer.decode(batch["input_ids"][0, start : end + 1]))"""


def _choices(folder: str) -> str:
    return f"""from transformers import AutoModelForMultipleChoice, AutoTokenizer

folder = {folder}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForMultipleChoice.from_pretrained(folder).eval()
choices = ["one choice", "another"]
batch = tokenizer(["A text."] * len(choices), choices, padding=True, return_tensors="pt")
logits = model(**{{name: tensor[None] for name, tensor in batch.items()}}).logits
print(choices[int(logits.argmax())])"""


def _writing(folder: str) -> str:
    return f"""from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder = {folder}
reader = AutoTokenizer.from_pretrained(folder)
writer = AutoTokenizer.from_pretrained(folder, subfolder="{TARGET_TOKENIZER}")
model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
batch = reader("A text of your own.", return_tensors="pt", return_token_type_ids=False)
print(writer.decode(model.generate(**batch)[0], skip_special_tokens=True))"""
