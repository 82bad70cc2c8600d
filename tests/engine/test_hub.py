"""Does what is trained reach the Hub, whole, once, with its tags, without holding up training, and is nothing lost?

The official client speaks to a server on loopback.
"""

import time
from pathlib import Path

import pytest
from accelerate import Accelerator
from huggingface_hub import HfApi, constants

from engine.publish import hub as engine_hub
from engine.publish.hub import Hub, Publisher, claim, push
from engine.push import main as push_program
from tests.hub_server import HubServer


@pytest.fixture
def hub(monkeypatch):
    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_alice")
        monkeypatch.setattr(engine_hub, "WAITS", (0.05, 0.05, 0.05))
        yield server


@pytest.fixture
def api(hub):
    return HfApi(hub.url, token="hf_alice")


def model(folder: Path, content: str = "weights", **more: str) -> Path:
    folder.mkdir(parents=True)
    files = {"config.json": "{}", "weights.bin": content, **more}
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def texts(hub, name, revision="main"):
    return {path: data.decode() for path, data in hub.files(name, revision).items()}


class Told(list):
    def __call__(self, text):
        self.append(text)


@pytest.fixture
def publisher(hub, tmp_path):
    """A publisher of the run in tmp_path/run, and what it says."""

    def make(every="save", repo="alice/mini"):
        notes = Told()
        return Publisher(Hub(repo, every=every), tmp_path / "run", Accelerator(cpu=True), notes), notes

    return make


class TestPermission:
    def test_a_repository_is_made_private_when_asked(self, hub, api):
        claim(api, "alice/secret", private=True)
        assert hub.repos["model", "alice/secret"].private
        claim(api, "alice/secret", private=True)  # it is there now

    @pytest.mark.parametrize(
        ("token", "repo", "complaint"),
        [
            ("hf_reader", "alice/mini", "it needs the write scope"),
            ("hf_bob", "alice/mini", "it needs the write scope"),
            ("hf_nobody", "alice/mini", "the token is not valid"),
        ],
    )
    def test_a_token_that_may_not_write_is_refused_before_anything_is_done(self, hub, api, token, repo, complaint):
        claim(api, "alice/mini", private=False)
        with pytest.raises(ValueError, match=complaint) as refused:
            claim(HfApi(hub.url, token=token), repo, private=False)
        assert token not in str(refused.value)

    def test_without_a_token(self, hub, monkeypatch, tmp_path):
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        with pytest.raises(ValueError, match="HF_TOKEN"):
            claim(HfApi(hub.url), "alice/mini", private=False)

    @pytest.mark.parametrize("repo", ["mini", "alice/mi ni", "a/b/c"])
    def test_a_name_that_is_none(self, repo):
        with pytest.raises(ValueError, match="repo is"):
            Hub(repo)


class TestPush:
    def test_the_repository_becomes_the_folder_in_one_commit(self, hub, api, tmp_path):
        claim(api, "alice/mini", private=False)
        push(api, "alice/mini", model(tmp_path / "a", "old", **{"merges.txt": "x"}), "step-1")
        before = len(hub.repos["model", "alice/mini"].commits)
        commit = push(api, "alice/mini", model(tmp_path / "b", "new"), "step-2")
        assert len(hub.repos["model", "alice/mini"].commits) == before + 1
        assert texts(hub, "alice/mini") == {"config.json": "{}", "weights.bin": "new"}
        assert texts(hub, "alice/mini", commit) == texts(hub, "alice/mini", "step-2")
        assert texts(hub, "alice/mini", "step-1")["merges.txt"] == "x"

    def test_a_step_that_is_pushed_again_keeps_its_name(self, hub, api, tmp_path):
        claim(api, "alice/mini", private=False)
        for content in ("first", "second"):
            push(api, "alice/mini", model(tmp_path / content, content), "step-1")
        assert texts(hub, "alice/mini", "step-1")["weights.bin"] == "second"

    def test_another_branch(self, hub, api, tmp_path):
        claim(api, "alice/mini", private=False)
        push(api, "alice/mini", model(tmp_path / "a"), "", revision="trial")
        assert texts(hub, "alice/mini") == {}
        assert texts(hub, "alice/mini", "trial")["weights.bin"] == "weights"


class TestBehindTraining:
    def test_each_saved_step_has_its_tag_and_the_best_one_has_two(self, hub, publisher, tmp_path):
        pushing, _ = publisher()
        for step, loss in ((10, 3.0), (20, 1.0), (30, 2.0)):
            pushing.publish(model(pushing.wants(step), f"of {step}"), loss)
        pushing.finish(model(tmp_path / "run/model", "of 40"), 40)
        tags = hub.repos["model", "alice/mini"].tags
        assert {tag: texts(hub, "alice/mini", tag)["weights.bin"] for tag in tags} == {
            "step-10": "of 10", "step-20": "of 20", "step-30": "of 30", "step-40": "of 40", "best": "of 20",
        }  # fmt: skip
        assert texts(hub, "alice/mini")["weights.bin"] == "of 40"
        assert not (tmp_path / "run/hub").exists()

    def test_nobody_waits_for_an_upload(self, hub, publisher, tmp_path):
        hub.slow_uploads = 1.0
        pushing, _ = publisher()
        folder = model(pushing.wants(1))
        began = time.perf_counter()
        pushing.publish(folder)
        assert time.perf_counter() - began < 0.5
        pushing.finish(model(tmp_path / "run/model"), 2)
        assert time.perf_counter() - began > 1.0
        assert texts(hub, "alice/mini", "step-1")

    def test_only_the_end_is_pushed_unless_asked_for(self, publisher):
        assert publisher(every="end")[0].wants(10) is None
        assert publisher(every="save")[0].wants(10) is not None

    @pytest.mark.parametrize(("fault", "times"), [("break_off_uploads", 1), ("refuse_commits", 2)])
    def test_a_fault_is_told_and_tried_again(self, hub, publisher, tmp_path, fault, times):
        pushing, notes = publisher()
        setattr(hub, fault, times)
        pushing.finish(model(tmp_path / "run/model"), 5)
        assert texts(hub, "alice/mini", "step-5")["weights.bin"] == "weights"
        assert notes[-1].startswith("pushed to")

    def test_what_could_not_be_pushed_is_kept_and_pushed_by_the_next_launch(self, hub, publisher, tmp_path):
        pushing, notes = publisher()
        hub.refuse_commits = 100
        pushing.publish(model(pushing.wants(7), "of 7"))
        pushing.finish(model(tmp_path / "run/model", "of 9"), 9)
        assert notes[-1].startswith("not on the Hub: step-7, step-9; nothing is lost")
        assert (tmp_path / "run/hub/step-7/weights.bin").read_text() == "of 7"
        hub.refuse_commits = 0
        again, notes = publisher()
        again.finish(tmp_path / "run/model", 9)
        assert texts(hub, "alice/mini", "step-7")["weights.bin"] == "of 7"
        assert texts(hub, "alice/mini")["weights.bin"] == "of 9"


class TestProgram:
    @pytest.fixture
    def launch(self, hub, launch_program, tmp_path):
        return lambda *argv: launch_program(push_program, tmp_path, *argv)

    def test_a_finished_run_and_what_it_left_behind(self, hub, launch, tmp_path):
        model(tmp_path / "run/model", "last")
        model(tmp_path / "run/hub/step-3", "third")
        ended = launch("run", "alice/mini", "--private", "True")
        assert ended.status == 0, ended.said
        assert "hf_alice" not in ended.said
        assert hub.repos["model", "alice/mini"].private
        assert texts(hub, "alice/mini", "step-3")["weights.bin"] == "third"
        assert texts(hub, "alice/mini")["weights.bin"] == "last"

    def test_a_run_without_a_model(self, launch, tmp_path):
        (tmp_path / "run").mkdir()
        ended = launch("run", "alice/mini")
        assert ended.status == 2
        assert "run has no finished model: looked for run/model/config.json" in ended.said
