"""The API: predictions equal to `elektron predict`, limits, and a 4xx with a JSON message for every bad request."""

import base64
import hashlib
import itertools
import json
import re
import threading
import time

import pytest

from elektron.explain.config import ExplainConfig
from elektron.explain.explainer import Explainer
from elektron.finetuning.readers.records import Record
from elektron.finetuning.tasks.classification import Classification
from elektron.inference.config import DetectConfig, ExportConfig, PredictConfig
from elektron.inference.detect import load_detector
from elektron.inference.export import export
from elektron.inference.predict import predictions
from tests.serve.conftest import error_of, post

pytestmark = pytest.mark.extras

TEXTS = [{"text": text} for text in ("the cat sees the river .", "an apple", "my old friend <b>")]
ROWS = {
    "classification": TEXTS,
    "regression": TEXTS,
    "embedding": TEXTS,
    "token-classification": [{"tokens": "the cat ."}, {"tokens": ["my", "old", "friend"]}],
    "question-answering": [
        {"question": "who ?", "context": "the cat sees 😀 the dog ."},
        {"question": "what ?", "context": "some warm bread"},
    ],
    "multiple-choice": [
        {"text": "the cat", "choices": ["sees the dog", "an apple", "a long road"]},
        {"text": "her brother", "choices": ["likes", "bread"]},
    ],
    "translation": [{"source": "the cat ."}, {"source": "the dog ."}],
}


def predicted(config, rows):
    """The predictions of `elektron predict`, without the columns of the rows."""
    rows = predictions(PredictConfig(model=config.model, task=config.task, input=rows, allow_unknown=True))
    prefix = "predicted_"
    return [
        {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)} for row in rows
    ]


def detected(config, rows):
    """The predictions of `elektron detect`, without the columns of the rows."""
    detector = load_detector(DetectConfig(model=config.model))
    return detector.predict([Record(row, {}, "") for row in rows])


def close(found, expected):
    """Whether values are equal up to rounding, since the order of summation depends on the batch."""
    if isinstance(expected, float):
        return found == pytest.approx(expected, abs=2e-5)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[k], expected[k]) for k in found)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    return found == expected


@pytest.mark.parametrize("task", ROWS)
def test_predictions_equal_predict_command(models, task):
    expected = predicted(models.config(task), ROWS[task])
    with models.client(task) as client:
        answer = post(client, ROWS[task])
        fields = client.get("/model").json()["fields"]
    assert answer.status_code == 200, answer.text
    assert close(answer.json()["predictions"], expected)
    assert {field["name"] for field in fields if field["required"]} == ROWS[task][0].keys()


def test_pretraining_run_predictions_equal_detector(models):
    rows = [{"text": "the cat apple the river ."}, {"text": "an apple"}]
    expected = detected(models.config("detection"), rows)
    assert expected[0]["suspicious"][0]["suggestions"]
    with models.client("detection") as client:
        answer = post(client, rows)
        assert client.get("/model").json()["task"] == "detection"
    assert answer.json()["predictions"] == expected


@pytest.mark.parametrize("task", ["classification", "token-classification", "question-answering"])
def test_explanations_equal_explainer(models, task):
    config = models.config(task)
    expected = Explainer.of(ExplainConfig(model=config.model)).explain(Record(ROWS[task][0], {}, ""))
    with models.client(task) as client:
        answer = client.post("/explain", json={"rows": ROWS[task][:1]})
        assert client.post("/explain", json={"rows": ROWS[task][:1] * 11}).status_code == 422
        assert client.get("/model").json()["explains"]
        assert close(post(client, ROWS[task]).json()["predictions"], predicted(config, ROWS[task]))
    (found,) = answer.json()["explanations"]
    assert found["answers"]
    places, parts = found.pop("places"), found.pop("parts")
    assert [parts[part][begin:end] for part, begin, end in places] == found["words"]
    assert close(found, expected.as_json())


def test_exported_model_predicts_without_explanations(models, monkeypatch):
    pytest.importorskip("onnxruntime")
    folder = models.folder / "exported"
    export(ExportConfig(model=models.path("classification"), out=folder))
    expected = predicted(models.config(), TEXTS)
    monkeypatch.setattr(models, "path", lambda task: str(folder))
    with models.client() as client:
        assert close(post(client, TEXTS).json()["predictions"], expected)
        assert not client.get("/model").json()["explains"]


def test_explain_route_is_absent_for_unsupported_tasks(models):
    with models.client("multiple-choice") as client:
        assert not client.get("/model").json()["explains"]
        assert client.post("/explain", json={}).status_code == 404


def test_pair_is_required_in_all_rows_or_none(models):
    rows = [{"text": "the cat .", "pair": "the dog ."}, {"text": "an apple", "pair": "bread"}]
    with models.client() as client:
        assert close(post(client, rows).json()["predictions"], predicted(models.config(), rows))
        refused = post(client, [rows[0], {"text": "alone"}])
    assert refused.status_code == 422
    assert error_of(refused) == "rows[1]: pair: give it in all rows or in none"


def test_csv_predictions_equal_predict_command(models, client, tmp_path):
    content = '\ufeffid;sentence;label\n1;"the cat; ""sees"" .";x\n2;an apple\n3;;y\n'
    path = tmp_path / "in.csv"
    path.write_text(content)
    expected = predictions(PredictConfig(model=models.path("classification"), input=str(path), allow_unknown=True))
    answer = client.post("/predict/csv", content=content, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 200, answer.text
    assert close(answer.json()["rows"], expected)
    assert [row["id"] for row in answer.json()["rows"]] == ["1", "2", "3"]


def test_csv_text_column_can_be_selected(client):
    headers = {"Content-Type": "text/csv"}
    content = "a,b\nthe cat .,an apple\n"
    assert client.post("/predict/csv", content=content, headers=headers).status_code == 422
    answer = client.post("/predict/csv?text=b", content=content, headers=headers)
    assert answer.json()["rows"][0]["b"] == "an apple"
    wrong = client.post("/predict/csv?txt=b", content=content, headers=headers)
    assert (wrong.status_code, "?text=" in error_of(wrong)) == (422, True)


def test_concurrent_requests_get_their_own_predictions(models):
    texts = [f"{subject} {verb} ." for subject in ("the cat", "an apple") for verb in "abcdefgh"]
    rows = [{"text": text} for text in texts]
    expected = predicted(models.config(), rows)
    with models.client() as client:
        found = {}

        def ask(place):
            for number in range(place, len(rows), 8):
                found[number] = post(client, [rows[number]]).json()["predictions"][0]

        threads = [threading.Thread(target=ask, args=(place,)) for place in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert close([found[number] for number in range(len(rows))], expected)


def test_unknown_characters_are_reported_in_warnings(client):
    answer = post(client, [{"text": "the 電 cat"}]).json()
    assert "電" in answer["warnings"][0]
    assert post(client, [{"text": "the cat"}]).json()["warnings"] == []


def test_limits_of_rows_characters_and_bytes(models):
    from elektron.serve.guard import MAX_BODY

    with models.client(max_rows=2, max_characters=20) as client:
        assert post(client, TEXTS[1:]).status_code == 200
        assert error_of(post(client, TEXTS)).startswith("rows: List should have at most 2")
        long = post(client, [{"text": "a " * 11}])
        assert (long.status_code, "at most 20" in error_of(long)) == (422, True)
        csv = {"Content-Type": "text/csv"}
        too_many = client.post("/predict/csv", content="text\n" + "a\n" * 3, headers=csv)
        assert (too_many.status_code, "more than 2 rows" in error_of(too_many)) == (413, True)
        too_long = client.post("/predict/csv", content="text\n" + "a" * 21, headers=csv)
        assert (too_long.status_code, "line 2: 21 characters" in error_of(too_long)) == (422, True)

        def chunks():
            for _ in range(MAX_BODY // (1 << 16) + 1):
                yield b" " * (1 << 16)

        for body in (b" " * (MAX_BODY + 1), chunks()):
            large = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
            assert (large.status_code, "bytes" in error_of(large)) == (413, True)


def held(monkeypatch):
    """Block the model; returns the event that releases it and the event that is set once it is blocked."""
    go_on, waits = threading.Event(), threading.Event()
    forward = Classification.forward

    def waiting(*arguments):
        waits.set()
        go_on.wait(30)
        return forward(*arguments)

    monkeypatch.setattr(Classification, "forward", waiting)
    return go_on, waits


def test_full_queue_returns_429_and_queued_request_completes(models, monkeypatch):
    go_on, waits = held(monkeypatch)
    with models.client(max_queue=2) as client:
        found = []
        thread = threading.Thread(target=lambda: found.append(post(client, TEXTS[:2])))
        thread.start()
        assert waits.wait(30)
        refused = post(client, TEXTS[:1])
        assert "elektron_queue_rows 2\n" in client.get("/metrics").text
        go_on.set()
        thread.join()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "2 rows are waiting" in error_of(refused)
        assert found[0].status_code == 200
        assert "elektron_queue_rows 0\n" in client.get("/metrics").text


def test_timeout_returns_503(models, monkeypatch):
    go_on, _ = held(monkeypatch)
    with models.client(timeout=0.2) as client:
        late = post(client, TEXTS[:1])
        go_on.set()
        assert (late.status_code, "0.2 seconds" in error_of(late)) == (503, True)
        time.sleep(0.05)
        assert post(client, TEXTS[:1]).status_code == 200


def test_internal_error_returns_500_without_details_and_server_recovers(models, monkeypatch):
    with models.client() as client:
        with monkeypatch.context() as patch:
            patch.setattr(Classification, "forward", lambda *_: 1 / 0)
            failed = post(client, TEXTS)
        assert (failed.status_code, "division" in failed.text) == (500, False)
        assert client.get("/health").json() == {"status": "ok"}
        assert post(client, TEXTS).status_code == 200


JSON = "application/json"


def hostile():
    """Invalid requests as method, path, headers and content."""
    values = [
        *(None, True, 0, -1, 1.5, 10**30, [], {}, [[]], ["a"], [None], {"a": "b"}, "", " ", "\n\t"),
        *("\0", "a\0b", "\u3000", "x" * 20_001, "x" * 100_000),
    ]
    rows = [*({"text": value} for value in values), *values[:13], {}, {"Text": "a"}]
    rows += [{"text": "a", name: "b"} for name in ("label", "__class__", "../../etc/passwd", "<b>")]
    rows += [{"text": "a", "pair": value} for value in values if value is not None]
    for row in rows:
        yield "POST", "/predict", {"Content-Type": JSON}, json.dumps({"rows": [row]})
        yield "POST", "/predict", {"Content-Type": JSON}, json.dumps({"rows": [*TEXTS, row]})
    for body in [*values, {"rows": "a"}, {"rows": {}}, {"rows": [{"text": "a"}], "model": "b"}]:
        yield "POST", "/predict", {"Content-Type": JSON}, json.dumps(body)
    many = {"rows": [{"text": "a"}] * 1001}
    yield "POST", "/predict", {"Content-Type": JSON}, json.dumps(many)
    broken = [
        *("", " ", "{", "}", "[", "nul", "NaN", "Infinity", "{'rows': []}", '{"rows": [{]}', "\0"),
        *('{"rows": [{"text": "a"}]', '{"rows": [{"text": "a"}]} {}', '{"rows": [{"text": "\\ud800"}]}'),
        *('{"rows": [{"text": "\\x"}]}', '{"rows": [{"text": "a\nb"}]}', "<html></html>", "rows=1"),
        *("1e999", "-", "9" * 100_000, '{"rows": ' + "9" * 5000 + "}", "[" * 100_000, '{"a":' * 50_000),
        *(b"\xff\xfe", b'{"rows": [{"text": "\xff"}]}', b'{"rows": [{"text": "\xed\xa0\x80"}]}'),
        *(b"\x80" * 100, b"PK\x03\x04", b"%PDF-1.4", '{"rows": [{"text": "a"}]}'.encode("utf-16")),
    ]
    for body in broken:
        yield "POST", "/predict", {"Content-Type": JSON}, body
        yield "POST", "/predict", {"Content-Type": f"{JSON}; charset=latin-1"}, body
    good = json.dumps({"rows": TEXTS})
    kinds = ["", "text/plain", "text/html", "text/csv", "multipart/form-data", "application/xml"]
    kinds += ["application/x-www-form-urlencoded", "application/jsonp", "\\", "a" * 1000, "*/*"]
    for kind in kinds:
        yield "POST", "/predict", {"Content-Type": kind}, good
        if kind != "text/csv":
            yield "POST", "/predict/csv", {"Content-Type": kind}, "text\na\n"
    tables = [
        *("", "\n", " ", "text", "text\n", "a,b\n1,2\n", "text,text\na,b\n", "\0", "text\na\0b\n"),
        *(b"text\n\xff\n", b"\xff\xfet\x00e\x00", b"PK\x03\x04\x80", "text\n" + "a\n" * 1001),
        *("text\n" + "a" * 20_001, "<table></table>", "label\nx\n", "../../etc/passwd\n"),
    ]
    for body in tables:
        yield "POST", "/predict/csv", {"Content-Type": "text/csv"}, body
    queries = ["text=", "text=9", "text=../../etc/passwd", "txt=a", "delimiter=ab", "header=maybe"]
    queries += ["model=/etc", "encoding=rot13", "quoting=2", "text[]=a", "%00=a", "tokens=text"]
    for query in queries:
        yield "POST", f"/predict/csv?{query}", {"Content-Type": "text/csv"}, "text\na\n"
    paths = [
        *("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/page.html"),
        *("/static/app.py", "/model/../config.json", "/config.json", "/model.safetensors", "/docs"),
        *("/redoc", "/%00", "/predict%00", "/<script>alert(1)</script>", "/" + "a" * 5000, "/.git"),
        *("/predict/csv/x", "/task.json", "//etc/passwd", "/health/..;/", "/metrics/x", "/C:\\x"),
    ]
    for path in paths:
        yield "GET", path, {}, ""
        yield "POST", path, {"Content-Type": JSON}, good
    methods = ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "A" * 100]
    for method, path in itertools.product(methods, ["/predict", "/", "/model", "/health"]):
        yield method, path, {"Content-Type": JSON, "Origin": "http://evil.example"}, good
    hosts = ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "[::2]"]
    hosts += ["127.0.0.1@evil.example", "0.0.0.0", "127.0.0.1:80:80", " ", "localhost,evil", "%"]
    for host in hosts:
        yield "GET", "/model", {"Host": host}, ""
        yield "POST", "/predict", {"Host": host, "Content-Type": JSON}, good
    yield "POST", "/predict", {"Content-Type": JSON, "Content-Length": "99999999999"}, good


def test_hostile_requests_return_4xx_and_server_still_predicts(client, models):
    expected = post(client, TEXTS).json()
    requests = list(hostile())
    assert len(requests) >= 300
    for method, path, headers, content in requests:
        answer = client.request(method, path, headers=headers, content=content)
        described = f"{method} {path[:80]} {headers} {content[:80]!r}: {answer.text[:200]}"
        assert 400 <= answer.status_code < 500, described
        assert len(error_of(answer)) < 2000, described
        assert str(models.folder) not in answer.text
    assert post(client, TEXTS).json() == expected


def test_html_and_paths_are_predicted_as_plain_text(client):
    texts = ["<script>alert(1)</script>", "../../etc/passwd", "'; DROP TABLE x; --", "{{7*7}}"]
    answer = post(client, [{"text": text} for text in texts])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert len(answer.json()["predictions"]) == 4


def test_only_loopback_hosts_are_accepted_and_no_host_list_accepts_all(models, client):
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:8000"):
        assert client.get("/model", headers={"Host": host}).status_code == 200
    for host in ("name.example", "localhost.name.example:8000", "127.0.0.1.name.example", "192.0.2.1", ""):
        answer = client.get("/model", headers={"Host": host})
        assert answer.status_code == 421
        assert error_of(answer).startswith("this server only accepts the hosts 127.0.0.1 and localhost")
    with models.client(hosts=None) as open_to_all:
        assert open_to_all.get("/model", headers={"Host": "name.example"}).status_code == 200


def test_cors_headers_are_absent_and_security_headers_are_set(client):
    for path, method in (("/", "GET"), ("/predict", "POST"), ("/predict", "OPTIONS")):
        headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        answer = client.request(method, path, headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_local_paths_are_not_exposed(models, client):
    for path in ("/", "/model", "/openapi.json", "/metrics", "/health"):
        assert str(models.folder) not in client.get(path).text
    assert client.get("/model").json()["model"] == "classification"


def test_metrics_count_requests_by_status_and_rows(models):
    with models.client() as client:
        post(client, TEXTS)
        post(client, [])
        client.get("/secret/path")
        text = client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert values['elektron_requests_total{path="/predict",status="200"}'] == "1"
    assert values['elektron_requests_total{path="/predict",status="422"}'] == "1"
    assert values['elektron_requests_total{path="other",status="404"}'] == "1"
    assert float(values['elektron_request_seconds_total{path="/predict"}']) > 0
    assert (values["elektron_rows_total"], values["elektron_batches_total"]) == ("3", "1")
    assert "secret" not in text


def test_page_csp_allows_only_its_own_script_and_style(client):
    answer = client.get("/")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for tag in ("script", "style"):
        (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert not re.search(r"https?:|innerHTML|src=|@import|url\(|\son\w+=|eval\(", answer.text)


def test_openapi_lists_all_routes_and_row_fields(client):
    description = client.get("/openapi.json").json()
    assert description["paths"].keys() == {*("/predict", "/predict/csv", "/explain", "/model", "/health", "/metrics")}
    content = description["paths"]["/predict"]["post"]["requestBody"]["content"]
    row = content["application/json"]["schema"]["properties"]["rows"]["items"]
    assert row["required"] == ["text"]
    assert "$ref" not in json.dumps(content)
