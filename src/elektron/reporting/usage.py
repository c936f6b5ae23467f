"""Code to copy from a report: how a pre-trained or fine-tuned model is used."""

from __future__ import annotations

import shlex

from elektron.reporting import page
from elektron.reporting.page import Block, note, text
from elektron.reporting.pretraining_run import PretrainingRun
from elektron.reporting.task_result import TaskResult

WITHOUT_GENERATOR = "mlm"
ELEKTRON_IMPORT = "import elektron.models  # registers the family with transformers' Auto classes\n"
WITHOUT_DETECTOR = ("mlm", "replace_mlm")
TOKEN_CLASSIFIER = ("AutoModelForTokenClassification", ".softmax(-1)[..., 1]")
DETECTORS = {
    "elektron": ("AutoModelForPreTraining", ".sigmoid()"),
    "electra": ("AutoModelForPreTraining", ".sigmoid()"),
}
"""By family: the class of the discriminator, and what makes a probability of its logits."""
GENERATES = ("translation", "summarization", "generation")
TARGET_TOKENIZER = "target_tokenizer"
"""Where a model that generates text keeps the tokenizer of its output."""
ANSWERS_REMARK = (
    "This takes the best start and the best end of a passage that fits in one window; “elektron "
    "predict” reads long passages in windows and knows questions without an answer."
)
QUESTION_ANSWERING = """from transformers import AutoModelForQuestionAnswering, AutoTokenizer

folder = {folder}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
batch = tokenizer("A question?", "A passage with the answer.", return_tensors="pt")
output = model(**batch)
start, end = int(output.start_logits.argmax()), int(output.end_logits.argmax())
print(tokenizer.decode(batch["input_ids"][0, start : end + 1]))"""
MULTIPLE_CHOICE = """from transformers import AutoModelForMultipleChoice, AutoTokenizer

folder = {folder}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForMultipleChoice.from_pretrained(folder).eval()
choices = ["one choice", "another"]
batch = tokenizer(["A text."] * len(choices), choices, padding=True, return_tensors="pt")
logits = model(**{{name: tensor[None] for name, tensor in batch.items()}}).logits
print(choices[int(logits.argmax())])"""
GENERATION = """from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder = {folder}
reader = AutoTokenizer.from_pretrained(folder)
writer = AutoTokenizer.from_pretrained(folder, subfolder="{subfolder}")
model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
batch = reader("A text of your own.", return_tensors="pt", return_token_type_ids=False)
print(writer.decode(model.generate(**batch)[0], skip_special_tokens=True))"""
EMBEDDING = """from sentence_transformers import SentenceTransformer

model = SentenceTransformer({folder}{options})
vectors = model.encode(["A text of your own.", "Another."])
print(model.similarity(vectors, vectors))"""
PIPELINE = """from transformers import pipeline

model = pipeline("{pipeline}", model={folder}{options})
print(model({input}))"""


def pretraining_usage(run: PretrainingRun, several: bool) -> list[Block]:
    """Code that uses a pre-trained pair; `several`: whether the page is on other runs too."""
    folder = shlex.quote(str(run.folder))
    networks = [shlex.quote(str(run.folder / name)) for name in ("discriminator", "generator")]
    pair = networks[:1] if run.config.get("objective") == WITHOUT_GENERATOR else networks
    whose = f"; here that of {run.name}" if several else ""
    detector = detector_code(run)
    return [
        text(f"The discriminator is the network to keep{whose}. Paths are as they were when this page was written."),
        page.Heading("Hidden states, to build on"),
        page.Code(encoder_code(str(run.config.get("family")), str(run.folder / "discriminator"))),
        *([page.Heading("The probability that each token was replaced"), page.Code(detector)] if detector else []),
        page.Heading("Continue training"),
        page.Code(
            "# on other text, with the same tokenizer\n"
            f"elektron prepare TEXT --tokenizer {networks[0]} --out BLOCKS\n"
            f"elektron pretrain --data BLOCKS --init-from {','.join(pair)} --out OTHER\n"
            "# both runs in one report\n"
            f"elektron report {folder} OTHER"
        ),
    ]


def encoder_code(family: str, folder: str) -> str:
    """Code for the hidden states of a text."""
    return (
        f"{ELEKTRON_IMPORT if family == 'elektron' else ''}"
        "from transformers import AutoModel, AutoTokenizer\n\n"
        f"folder = {folder!r}\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "model = AutoModel.from_pretrained(folder).eval()\n"
        'batch = tokenizer(["A text of your own."], return_tensors="pt")\n'
        "hidden_states = model(**batch).last_hidden_state  # (batch, length, hidden)"
    )


def detector_code(run: PretrainingRun) -> str:
    """Code for the probability that each token was replaced; empty where that was not learned."""
    if run.config.get("objective") in WITHOUT_DETECTOR:
        return ""
    family = str(run.config.get("family"))
    model_class, probability = DETECTORS.get(family, TOKEN_CLASSIFIER)
    return (
        f"from transformers import {model_class}\n\n"
        f"discriminator = {model_class}.from_pretrained(folder).eval()\n"
        f"replaced = discriminator(**batch).logits{probability}  # (batch, length)"
    )


def task_usage(result: TaskResult) -> list[Block]:
    """Code that uses a fine-tuned model; none for a result without a model."""
    if not result.network:
        return []
    blocks: list[Block] = [
        text("Paths are as they were when this page was written."),
        page.Code(shell_usage(str(result.home))),
        page.Heading("In Python"),
        page.Code(python_usage(result, str(result.home))),
    ]
    if result.task == "question-answering":
        blocks.append(note(ANSWERS_REMARK))
    return blocks


def shell_usage(folder: str) -> str:
    """Use with `elektron`."""
    return f"elektron predict {shlex.quote(folder)} --input FILE --output predictions.jsonl"


def python_usage(result: TaskResult, folder: str) -> str:
    """Use with transformers alone, and the family's own classes where it has some."""
    templates = {
        "question-answering": QUESTION_ANSWERING,
        "multiple-choice": MULTIPLE_CHOICE,
        "embedding": EMBEDDING,
    } | dict.fromkeys(GENERATES, GENERATION)
    pipeline, options = "text-classification", ""
    if result.task == "token-classification":
        pipeline, options = result.task, ', aggregation_strategy="simple"'
    elif result.task == "regression":
        options = ', function_to_apply="none"'
    elif result.task == "embedding":
        options = ", trust_remote_code=True" if result.family == "elektron" else ""
    elif result.learned.get("several"):
        options = ", top_k=None"
    pairs = '{"text": "A text of your own.", "text_pair": "Another."}'
    code = templates.get(result.task, PIPELINE).format(
        folder=repr(folder),
        subfolder=TARGET_TOKENIZER,
        pipeline=pipeline,
        options=options,
        input=pairs if result.learned.get("pairs") else '"A text of your own."',
    )
    return (ELEKTRON_IMPORT if result.family == "elektron" else "") + code
