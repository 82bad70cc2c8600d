"""Does a token of the Hub never reach the screen, whoever says it?"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from engine.publish.hub import in_words
from engine.publish.redact import redacted
from engine.push import main as push

TOKEN = "hf_canaryBird"


@pytest.mark.parametrize(
    "said",
    [
        f"you sent {TOKEN}",
        "Authorization: Bearer abc.def",
        '{"authorization": "Bearer abc.def"}',
        "Authorization: Basic abc.def=",
        "https://user:abc.def@hub.example/x",
        "https://hub.example/x?token=abc.def&y=1",
        "hf_" + "abcdef" * 6,
    ],
)
def test_tokens_are_hidden(monkeypatch, said):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    shown = redacted(f"before {said} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert not any(secret in shown for secret in (TOKEN, "abc.def", "abcdefabc"))


def test_ordinary_words_stay():
    said = "the tokenizer in runs/hf_model is not a fast one; see https://hub.example/basic?x=1"
    assert redacted(said) == said


@pytest.mark.parametrize("status", [400, 418, 500, 503])
def test_a_server_that_echoes_what_it_was_sent(monkeypatch, tmp_path, launch_program, status):
    class Echo(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = f'{{"error": "you sent {self.headers.get("Authorization")}"}}'.encode()
            self.send_response(status)
            self.send_header("X-Error-Message", f"you sent {self.headers.get('Authorization')}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_HEAD = handle_any

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    (tmp_path / "run/model").mkdir(parents=True)
    (tmp_path / "run/model/config.json").write_text("{}")
    ended = launch_program(push, tmp_path, "run", "user/name")
    server.shutdown()
    assert ended.status == 2, ended.said
    assert TOKEN not in ended.said
    assert "user/name cannot be written to" in ended.said.splitlines()[-1]


def test_what_a_server_in_trouble_writes_is_left_out():
    error = OSError("<html>a page of the server's</html>")
    error.response = type("Response", (), {"status_code": 502})()
    assert in_words(error) == "its server is in trouble (502)"
