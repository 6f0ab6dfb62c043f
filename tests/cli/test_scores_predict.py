import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from api.schemas import ERROR, PREDICTION, USER
from churn.cli.main import app
from churn.settings import get_settings
from churn.stack.processes import free_port


class Answers(BaseHTTPRequestHandler):
    keys: ClassVar[list[str | None]] = []  # what came as `Authorization`

    def do_POST(self) -> None:
        self.keys.append(self.headers["Authorization"])
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.path == "/predict" and asked == {"user_id": USER}
        body: dict[str, Any] = PREDICTION if known else ERROR
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("CHURN_API_URL", url)
        get_settings.cache_clear()
        yield url
        server.shutdown()
    get_settings.cache_clear()


@pytest.mark.usefixtures("api")
def test_answer_for_people_and_for_programs() -> None:
    text = CliRunner().invoke(app, ["predict", USER])
    assert text.exit_code == 0
    assert USER in text.stdout
    assert "within the following month" in text.stdout
    for name in PREDICTION["features_used"]:
        assert name in text.stdout
    answer = CliRunner().invoke(app, ["predict", USER, "--json"])
    assert json.loads(answer.stdout) == PREDICTION


@pytest.mark.usefixtures("api")
def test_the_key_of_the_settings_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    CliRunner().invoke(app, ["predict", USER])
    monkeypatch.setenv("CHURN_API_KEY", "of-the-platform-0123456789abcdef")
    get_settings.cache_clear()
    CliRunner().invoke(app, ["predict", USER])
    assert Answers.keys[-2:] == [None, "Bearer of-the-platform-0123456789abcdef"]


@pytest.mark.usefixtures("api")
def test_unknown_user() -> None:
    answer = CliRunner().invoke(app, ["predict", "0000-NOBODY"])
    assert answer.exit_code == 1
    assert ERROR["error"]["message"] in answer.stderr
    assert "404" in answer.stderr


def test_no_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_API_URL", f"http://127.0.0.1:{free_port()}")
    get_settings.cache_clear()
    answer = CliRunner().invoke(app, ["predict", USER])
    get_settings.cache_clear()
    assert answer.exit_code == 1
    assert "start it with `churn up`" in answer.stderr
