"""The command in its own process: messages, predictions under load, and a shutdown that loses no request."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from elektron.cli import main
from elektron.serve.serve import listen
from elektron.terminal import output_enabled
from tests.serve.conftest import served

pytestmark = pytest.mark.extras


@contextlib.contextmanager
def serving(model, *options):
    """Run a server in its own process; yields the process, its address and its first lines of output."""
    command = [sys.executable, "-m", "elektron", "serve", model, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(4)]
        found = re.search(r"http://[^/]*", lines[1])
        assert found, process.stderr.read()
        try:
            yield process, found.group(), "".join(lines)
        finally:
            process.terminate()


def test_accepted_requests_are_completed_after_sigterm(models):
    import httpx

    rows = [{"text": "the cat sees the river . " * 8}] * 1000
    options = ("--max-queue", "10000")
    with serving(models.path("classification"), *options) as (process, address, printed):
        assert "classification" in printed
        assert str(models.folder) not in printed
        assert "No authentication" in printed
        answers = []

        def ask():
            answers.append(httpx.post(f"{address}/predict", json={"rows": rows}, timeout=60))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        accepted = 0
        while accepted < 8000:
            text = httpx.get(f"{address}/metrics").text
            counts = re.findall(r"^elektron_(?:rows_total|queue_rows) (\d+)", text, re.MULTILINE)
            accepted = sum(map(int, counts))
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert process.wait(30) == 128 + signal.SIGTERM
        assert process.stderr.read() == "elektron: ended by SIGTERM\n"
    assert [answer.status_code for answer in answers] == [200] * 8
    assert all(len(answer.json()["predictions"]) == 1000 for answer in answers)
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


def test_malformed_http_is_rejected_and_server_still_predicts(models, caplog):
    import httpx

    with served(models, timeout=0.5) as address:
        port = int(address.rpartition(":")[2])

        def send(content):
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(content)
                return connection.recv(1 << 16)

        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for content in (
            b"\0\r\n\r\n",
            b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            head + b"Content-Length: -1\r\n\r\n{}",
            head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            head + b"Content-Length: 2\r\nTransfer-Encoding: what\r\n\r\n{}",
            head + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n",
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ):
            assert re.match(rb"HTTP/1.1 4\d\d", send(content)), content[:100]
        # A request whose body never arrives times out; one whose client disconnects is dropped.
        assert send(head + b"Content-Length: 99\r\n\r\n{").startswith(b"HTTP/1.1 503")
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(head + b"Content-Length: 99\r\n\r\n{")
        answer = httpx.post(f"{address}/predict", json={"rows": [{"text": "the cat ."}]})
        assert answer.status_code == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_port_in_use_is_rejected(models, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert main(["serve", models.path("classification"), "--port", port]) == 2
    assert f"--port {port}: cannot listen on this address" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["192.0.2.1", "127.0.0..1"])
def test_unavailable_host_is_rejected(models, capsys, host):
    assert main(["serve", models.path("classification"), "--host", host]) == 2
    assert f"--host {host} --port 8000: cannot listen on this address" in capsys.readouterr().err


def test_missing_package_error_names_the_extra(models, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", models.path("classification")]) == 2
    assert "pip install 'elektron[serve]'" in capsys.readouterr().err


def test_non_loopback_host_logs_warning_and_allows_all_hosts(models, capsys, monkeypatch):
    import uvicorn

    asked = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: asked.append(self.config.app))
    for host, warned, hosts in (
        ("0.0.0.0", True, None),
        ("127.0.0.1", False, ["127.0.0.1", "localhost"]),
        ("localhost", False, ["127.0.0.1", "localhost"]),
    ):
        with output_enabled():
            main(["serve", models.path("classification"), "--host", host, "--port", "0"])
        assert ("not a loopback address" in capsys.readouterr().err) == warned
        assert asked.pop().hosts == hosts


def test_accepted_connections_have_tcp_nodelay():
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()[:2]):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
