"""Models of all tasks with random weights, and test clients and servers for them."""

import contextlib
import dataclasses
import json
import threading
import time

import pytest
import torch
from transformers import (
    ElectraConfig,
    ElectraForMultipleChoice,
    ElectraForQuestionAnswering,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    ElectraModel,
)

from elektron.corpus.tokenizer import load_tokenizer
from elektron.finetuning.config import FinetuneConfig
from elektron.finetuning.finetune import finetune
from elektron.serve.config import ServeConfig
from tests.conftest import SMALL_ELECTRA
from tests.finetuning.conftest import encoders, write_jsonl  # noqa: F401

CLASSES = {
    "classification": (ElectraForSequenceClassification, ["animal", "person", "plant"]),
    "regression": (ElectraForSequenceClassification, ["number"]),
    "token-classification": (ElectraForTokenClassification, ["O", "B-X", "I-X"]),
    "question-answering": (ElectraForQuestionAnswering, ["0", "1"]),
    "multiple-choice": (ElectraForMultipleChoice, ["0"]),
    "embedding": (ElectraModel, ["0"]),
}


@dataclasses.dataclass
class Models:
    """Creates one model per task on first use, and its serving configuration."""

    tokenizer_folder: object
    folder: object
    encoder: object

    def path(self, task):
        if task == "detection":
            return str(self.encoder.parent)
        out = self.folder / task
        if out.exists():
            return str(out)
        if task not in CLASSES:
            rows = [{"source": "the cat .", "target": "die Katze"}] * 8
            rows += [{"source": "the dog .", "target": "der Hund"}] * 8
            data = write_jsonl(self.folder / "pairs.jsonl", rows)
            finetune(
                FinetuneConfig(
                    task=task,
                    model=str(self.encoder),
                    train=[str(data)],
                    eval=[str(data)],
                    epochs=1,
                    decoder_layers=1,
                    max_target_length=8,
                    target_vocab_size=400,
                    out=out,
                )
            )
            return str(out)
        tokenizer = load_tokenizer(str(self.tokenizer_folder))
        torch.manual_seed(0)
        architecture, labels = CLASSES[task]
        architecture(
            ElectraConfig(
                vocab_size=len(tokenizer),
                id2label=dict(enumerate(labels)),
                label2id={label: number for number, label in enumerate(labels)},
                **SMALL_ELECTRA,
            )
        ).save_pretrained(out)
        tokenizer.save_pretrained(out)
        return str(out)

    def config(self, task="classification", **settings):
        needed = "embedding" if task == "embedding" else None
        return ServeConfig(model=self.path(task), task=needed, **settings)

    def client(self, task="classification", hosts=("127.0.0.1", "localhost"), **settings):
        from starlette.testclient import TestClient

        from elektron.serve.app import create_app
        from elektron.serve.serve import load_model

        config = self.config(task, **settings)
        app = create_app(load_model(config), config, hosts)
        return TestClient(app, "http://127.0.0.1:8000", raise_server_exceptions=False)


@pytest.fixture(scope="session")
def models(tokenizer_folder, tmp_path_factory, encoders):  # noqa: F811
    return Models(tokenizer_folder, tmp_path_factory.mktemp("models"), encoders["electra"])


@pytest.fixture(scope="module")
def client(models):
    """A test client of a classifier."""
    with models.client() as client:
        yield client


def post(client, rows):
    return client.post("/predict", json={"rows": rows})


def error_of(response):
    """The message of an error response, which must be its only field."""
    (message,) = json.loads(response.content).values()
    return message


@contextlib.contextmanager
def served(models, task="classification", **settings):
    """Serve a model in a thread and yield its address."""
    import uvicorn

    from elektron.serve.serve import listen

    with listen("127.0.0.1", 0) as listening:
        app = models.client(task, **settings).app
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
