"""The output and the uploads of `elektron push`, tested against a local HTTP server."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import yaml
from huggingface_hub import close_session

from elektron.cli import main
from elektron.errors import ElektronError
from elektron.io.checksums import write_checksums
from elektron.push import LOCAL_PATH, PushConfig, push
from elektron.reporting.model_card import write_card
from tests.reporting import tuned

NAME = "me/reviews"


class Hub:
    """Answers requests like the Hugging Face Hub does for small files."""

    def __init__(self) -> None:
        self.private: bool | None = None
        """Of the repository; None while there is none."""
        self.status = 200
        """Of the answer to the request for a repository."""
        self.invalid = ""
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        if path == "/api/repos/create":
            if self.status != 200:
                return self.status, {"error": "You don't have the rights"}
            if self.private is None:
                self.private = json.loads(body)["visibility"] == "private"
                return 200, {"url": f"{huggingface_hub.constants.ENDPOINT}/{NAME}"}
            return 409, {"url": f"{huggingface_hub.constants.ENDPOINT}/{NAME}"}
        if path == "/api/validate-yaml":
            errors = [{"message": self.invalid}] if self.invalid else []
            return 400 if errors else 200, {"errors": errors, "warnings": []}
        if path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            return 200, {"files": files}
        if path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{huggingface_hub.constants.ENDPOINT}/{NAME}/commit/{'0' * 40}"
            return 200, {"commitUrl": url, "commitOid": "0" * 40}
        if path == f"/api/models/{NAME}" and self.private is not None:
            return 200, {"id": NAME, "private": self.private}
        return 404, {"error": "Repository not found"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            found.tokens.add(self.headers.get("Authorization"))
            status, content = found.answer(self.path.partition("?")[0], self.rfile.read(length))
            written = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    close_session()
    yield found
    server.shutdown()
    server.server_close()
    close_session()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a fine-tuned model, which also has files that must not be uploaded."""
    folder = tuned.write(tmp_path / "model", tuned.classification())
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text('{"a": "/home/is a token"}')
    (folder / "elektron.py").write_text("# code")
    for name in ("optimizer.safetensors", "notes.txt", "train.tsv", "my.py", "plot.png"):
        (folder / name).write_text("not of the model")
    write_checksums(folder)
    write_card(folder)
    return folder


UPLOADED = {
    *("README.md", "checksums.json", "config.json", "elektron.py", "metrics.json"),
    *("model.safetensors", "task.json", "tokenizer.json"),
}


def test_push_uploads_nothing_by_default(hub: Hub, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in model.iterdir()}
    found = push(PushConfig(str(model), NAME))
    assert found["url"] is None and found["private"] and set(found["files"]) == UPLOADED
    assert not hub.tokens  # no request was sent
    assert {path: path.read_bytes() for path in model.iterdir()} == before
    printed = capsys.readouterr().out
    for words in ("private", "optimizer.safetensors", "predictions.jsonl", "pipeline_tag", "licen"):
        assert words in printed, words
    assert "\n  # reviews\n\n  Text classification" in printed


def test_upload_contains_only_model_files_and_card(hub: Hub, model: Path) -> None:
    found = push(PushConfig(str(model), NAME, upload=True, license="apache-2.0"))
    assert found["url"] == f"{huggingface_hub.constants.ENDPOINT}/{NAME}/commit/{'0' * 40}"
    assert hub.private is True and hub.tokens >= {"Bearer hf_secret"}
    assert set(hub.files) == UPLOADED
    assert hub.files["model.safetensors"] == b"weights"
    _, front, text = hub.files["README.md"].decode().split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["license"] == "apache-2.0" and metadata["model-index"][0]["name"] == "reviews"
    assert f"model='{NAME}'" in text and "model='model'" not in text
    assert {name: len(content) for name, content in hub.files.items()} == found["files"]


def test_unchanged_card_is_regenerated_in_moved_folder(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = model.rename(model.with_name("moved"))
    monkeypatch.chdir(moved)
    push(PushConfig(".", NAME, upload=True))
    text = hub.files["README.md"].decode()
    assert f"model='{NAME}'" in text and "\n# reviews\n" in text


def test_card_metadata_that_is_not_yaml_raises(hub: Hub, model: Path) -> None:
    (model / "README.md").write_text("---\ntitle: Sentiment: a model\n---\nText.\n")
    with pytest.raises(ElektronError, match=r"README.md: the metadata .* is not valid YAML"):
        push(PushConfig(str(model), NAME))


def test_edited_card_is_kept(hub: Hub, model: Path) -> None:
    card = model / "README.md"
    card.write_text(card.read_text() + "\nAsk us.\n")
    push(PushConfig(str(model), NAME, upload=True, private=False))
    assert hub.private is False and hub.files["README.md"].decode() == card.read_text()


@pytest.mark.parametrize("private", [True, False])
def test_existing_repository_of_other_visibility_raises(private: bool, hub: Hub, model: Path) -> None:
    hub.private = not private
    with pytest.raises(ElektronError, match=f"{NAME} exists and is"):
        push(PushConfig(str(model), NAME, upload=True, private=private))
    assert not hub.files


@pytest.mark.parametrize(("status", "words"), [(401, "hf auth login"), (403, "may not write"), (500, "500")])
def test_hub_error_is_reported_in_one_line(
    status: int, words: str, hub: Hub, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.status = status
    assert main(["push", str(model), NAME, "--upload"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0] and "hf_secret" not in lines[0]


def test_metadata_rejected_by_hub_raises(hub: Hub, model: Path) -> None:
    hub.invalid = '"license" must be one of those'
    with pytest.raises(ElektronError, match="must be one of those"):
        push(PushConfig(str(model), NAME, upload=True, license="none-such"))
    assert not hub.files


def test_missing_network_or_token_raises(
    hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ElektronError, match="cannot be reached"):
        push(PushConfig(str(model), NAME, upload=True))
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ElektronError, match="hf auth login"):
        push(PushConfig(str(model), NAME, upload=True))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("reviews", "write OWNER/NAME"),
        *(
            (name, "not a valid name on the hub (Repo id must")
            for name in ("me/a/b", "me/--", "me/a b", "../x", "me/é")
        ),
    ],
)
def test_invalid_repository_name_raises(name: str, complaint: str, model: Path) -> None:
    with pytest.raises(ElektronError, match=re.escape(f"{name}: {complaint}")):
        push(PushConfig(str(model), name))


@pytest.mark.parametrize("file", ["task.json", "config.json", "README.md", "metrics.json"])
def test_local_path_in_uploaded_file_raises(file: str, model: Path) -> None:
    path = model / file
    if file == "README.md":
        path.write_text(path.read_text() + "\nFrom /home/somebody/reviews.tsv.\n")
    else:
        content = json.loads(path.read_text()) | {"note": "/mnt/data/reviews.tsv"}
        path.write_text(json.dumps(content))
    with pytest.raises(ElektronError, match=f"{file} contains a local path"):
        push(PushConfig(str(model), NAME))


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        ("/home/me/a", True),
        ('"/tmp/a"', True),
        ("~/data", True),
        ("~me/data", True),
        ("in C:\\Users\\me", True),
        ("C:\\\\Users", True),
        ("\\\\\\\\server\\\\share", True),
        ("file:///etc/x", True),
        ("https://a.org/home/x", False),
        ("/person/artist", False),
        ("and/or", False),
        ("a ~ b / c", False),
        ("model/data/x", False),
        ("1:30", False),
        ("$\\alpha$", False),
    ],
)
def test_local_path_pattern(text: str, is_path: bool) -> None:
    assert bool(LOCAL_PATH.search(text)) is is_path


def test_missing_or_damaged_model_raises(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ElektronError, match="has no model"):
        push(PushConfig(str(tmp_path / "empty"), NAME))
    (model / "model.safetensors").write_bytes(b"weight5")
    with pytest.raises(ElektronError, match=r"model\.safetensors is damaged"):
        push(PushConfig(str(model), NAME))


def test_model_without_card_raises(model: Path) -> None:
    for name in ("README.md", "metrics.json"):
        (model / name).unlink()
    with pytest.raises(ElektronError, match="no model card"):
        push(PushConfig(str(model), NAME))
