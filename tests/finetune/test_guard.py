"""Does the page answer its own visitors alone, take no file, and ask a model what it was fine-tuned for?"""

import json
import socket
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from transformers import AutoConfig, AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from finetune.ask.playground.models import load_models
from finetune.ask.playground.page import fill, page, show
from finetune.ask.playground.views import VIEWS
from finetune.ask.predict import main as predict
from finetune.questions import QUESTIONS
from tokenizer.load import load_tokenizer


@pytest.fixture(scope="module")
def made(small_model, tmp_path_factory):
    """`made(class, settings)`: the folder of a small model."""

    def make(auto_class, **settings):
        folder = tmp_path_factory.mktemp("model")
        config = AutoConfig.from_pretrained(small_model)
        config.update(settings)
        auto_class.from_config(config).save_pretrained(folder)
        load_tokenizer(small_model).save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture(scope="module")
def address(small_model):
    blocks = page(load_models([str(small_model)]))
    yield urlsplit(show(blocks, 0, False, wait=False)).netloc
    blocks.close()


def status(address, method="GET", path="/config", body=None, **headers):
    connection = HTTPConnection(address, timeout=20)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, headers)
    return connection.getresponse().status


def test_only_the_page_itself_is_answered(address):
    port = address.split(":")[1]
    assert status(address) == 200
    assert status(address, Origin=f"http://{address}") == 200
    assert status(address, Host=f"localhost:{port}", Origin=f"http://localhost:{port}") == 200
    for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "a@127.0.0.1", "[", ""):
        assert status(address, Host=host) == 403, host
    for origin in (
        "http://evil.example",
        "null",
        f"http://localhost:{port}",
        "http://127.0.0.1:1",
        f"https://{address}",
    ):
        assert status(address, "POST", "/gradio_api/queue/join", "{}", Origin=origin) == 403, origin


def test_opened_to_others_it_answers_to_this_machines_names_and_addresses(small_model, capsys):
    blocks = page(load_models([str(small_model)]))
    open_to_all = urlsplit(show(blocks, 0, False, wait=False, host="0.0.0.0")).netloc
    port, machine = open_to_all.split(":")[1], socket.gethostname()
    try:
        said = capsys.readouterr().out
        assert f"The playground is at http://{machine}:{port} " in said
        assert "there is no password" in said
        assert "ssh" not in said
        for host in (f"127.0.0.1:{port}", f"192.168.7.9:{port}", f"{machine}:{port}"):
            assert status(f"127.0.0.1:{port}", Host=host, Origin=f"http://{host}") == 200, host
        for host in (f"evil.example:{port}", f"127.0.0.1.evil.example:{port}"):
            assert status(f"127.0.0.1:{port}", Host=host) == 403, host
        origin = "http://evil.example"
        assert status(f"127.0.0.1:{port}", "POST", "/gradio_api/queue/join", "{}", Origin=origin) == 403
    finally:
        blocks.close()


def test_a_public_link_is_answered_too_and_nothing_else(small_model, capsys, monkeypatch):
    """The tunnel itself is Gradio's, on other machines: here it is only named."""
    monkeypatch.setattr("gradio.networking.setup_tunnel", lambda *_, **__: "https://abc.gradio.live")
    blocks = page(load_models([str(small_model)]))
    local = urlsplit(show(blocks, 0, False, wait=False, share=True)).netloc
    try:
        assert "who has this link may ask them too, for a week: https://abc.gradio.live" in capsys.readouterr().out
        assert status(local, Host="abc.gradio.live", Origin="https://abc.gradio.live") == 200
        assert status(local, Host="abc.gradio.live", Origin="http://abc.gradio.live") == 403
        assert status(local, Host="abd.gradio.live") == 403
        assert status(local, Host="192.168.7.9") == 403
    finally:
        blocks.close()


def test_without_a_public_link_one_line_says_what_else_to_do(small_model, monkeypatch):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("gradio.networking.setup_tunnel", fail)
    with pytest.raises(ValueError, match=r"no public link was given: .* ssh -L, or say --host 0\.0\.0\.0"):
        show(page(load_models([str(small_model)])), 0, False, wait=False, share=True)


def test_it_says_how_to_come_from_another_computer(small_model, capsys):
    blocks = page(load_models([str(small_model)]))
    port = urlsplit(show(blocks, 0, False, wait=False)).port
    first, second = capsys.readouterr().out.splitlines()[-2:]
    blocks.close()
    assert first == f"The playground is at http://127.0.0.1:{port}/  (Ctrl-C ends it)"
    assert f"ssh -L {port}:127.0.0.1:{port} " in second
    assert second.endswith(f"and open http://127.0.0.1:{port} there")


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/upload", "/gradio_api/upload?upload_id=1"])
def test_no_file_is_taken(address, path):
    form = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\ntext\r\n--b--\r\n'
    for origin in ({}, {"Origin": f"http://{address}"}):
        assert status(address, "POST", path, form, Content_Type="multipart/form-data; boundary=b", **origin) == 403


def test_a_second_text_is_for_models_of_pairs(made, tmp_path, launch_program):
    """The folder says it; where it does not, nobody knows, and nothing is filled in."""
    folders = [
        made(AutoModelForSequenceClassification, **said)
        for said in ({"text_columns": ["sentence"]}, {"text_columns": ["premise", "hypothesis"]}, {})
    ]
    single, pairs, unknown = load_models(folders)
    assert [guest.reads_pairs for guest in (single, pairs, unknown)] == [False, True, None]
    second = QUESTIONS["classification"].page_boxes[1]
    assert fill(second, [single]) == {"value": "", "visible": False}
    assert fill(second, [pairs]) == {"value": second.value, "visible": True}
    assert fill(second, [unknown]) == {"value": "", "visible": True}
    assert single.task.question.read_boxes(single.task, ("a", "b")) == {"text": "a"}
    assert unknown.task.question.read_boxes(unknown.task, ("a", "b")) == {"text": "a", "text_pair": "b"}
    with pytest.raises(ValueError, match="'text_pair' is empty"):
        list(VIEWS["classification"].ask(pairs, "the cat", ""))
    (tmp_path / "in.jsonl").write_text('{"text": "the cat", "text_pair": "a dog"}\n')
    ended = launch_program(predict, tmp_path, folders[0], "in.jsonl", "--out", "one.jsonl")
    assert ended.status == 0, ended.said
    (tmp_path / "alone.txt").write_text("the cat\n")
    launch_program(predict, tmp_path, folders[0], "alone.txt", "--out", "two.jsonl")
    assert (tmp_path / "one.jsonl").read_text() == (tmp_path / "two.jsonl").read_text()
    ended = launch_program(predict, tmp_path, folders[1], "in.jsonl", "--columns", "text=text")
    assert ended.status == 2
    assert "was fine-tuned for pairs: say --columns text=COLUMN text_pair=COLUMN" in ended.said.splitlines()[-1]


@pytest.mark.parametrize("threshold", [1e9, -1e9])
def test_no_answer_is_said_where_predict_gives_none(made, tmp_path, launch_program, threshold):
    folder = made(AutoModelForQuestionAnswering, null_threshold=threshold)
    asked = {"question": "where is the cat ?", "context": "the cat is in rome ."}
    (tmp_path / "in.jsonl").write_text(json.dumps(asked) + "\n")
    ended = launch_program(predict, tmp_path, folder, "in.jsonl", "--out", "out.jsonl")
    assert ended.status == 0, ended.said
    said = json.loads((tmp_path / "out.jsonl").read_text())["prediction"]
    (shown,) = VIEWS["span"].ask(*load_models([folder]), *asked.values())
    assert ("No answer." in shown) == (said == "") == (threshold < 0)
    assert ("<mark>" in shown) == (said != "")
