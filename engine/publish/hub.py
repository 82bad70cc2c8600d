"""Where do others find the model?  In a repository on the Hub: a commit and a tag for each saved step.

Pushing runs beside training: what is to be pushed lies in a folder of its own under `runs/NAME/hub/` until the Hub
has it, so a push that fails is tried again, then reported, and nothing is lost.
"""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from accelerate import Accelerator
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RevisionNotFoundError
from huggingface_hub.utils import disable_progress_bars, validate_repo_id  # type: ignore[attr-defined]

from engine.publish.redact import redacted
from engine.run.disk import read_json, whole_file
from engine.run.finite import not_finite_in, strict_json
from engine.run.recipe import check_one_line, operational
from engine.run.states import states

T = TypeVar("T")

LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,8})?|code|multilingual")  # what the Hub takes
WAITS = (1.0, 5.0, 25.0)  # seconds before a push is tried again


@dataclass(frozen=True)
class Hub:
    """The recipe's `hub:` section: where the model is published, if anywhere. The token is the Hub client's: HF_TOKEN,
    or `hf auth login`."""

    repo: str = operational("")  # user/name; empty: nothing is pushed
    private: bool = operational(False)  # make the repository a private one, if it is made
    every: Literal["save", "end"] = operational("end")  # push each saved step, or the finished model alone
    license: str = operational("")  # of the model, for its card: SPDX, such as apache-2.0, or words; empty: not stated
    language: tuple[str, ...] = operational(())  # that the model knows, for its card: ISO 639 codes, such as en de

    def __post_init__(self) -> None:
        if self.repo:
            check_repo(self.repo)
        check_one_line("license", self.license)
        if wrong := [code for code in self.language if not LANGUAGE.fullmatch(code)]:
            raise ValueError(
                f"language has {wrong[0]!r}; it is a list of ISO 639 codes in small letters, such as [en, de]"
            )


NOWHERE = Hub()


def check_repo(repo: str) -> None:
    """Refuse what is no user/name. Errors: ValueError."""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ValueError(f"repo is {repo!r}: {error}") from None
    if "/" not in repo:
        raise ValueError(f"repo is {repo!r}; it names a user or organisation and a model, such as user/bert-mini")


class Publisher:
    """Pushes folders to one repository, one after the other, in the background. Only the main process does anything."""

    def __init__(self, hub: Hub, folder: Path, accelerator: Accelerator, note: Callable[[str], None]):
        """Make the repository and make sure that it may be written to, before anything is trained.

        Errors: ValueError if there is no token, if it may not write, or if the Hub cannot be reached.
        """
        self.hub, self._note = hub, note
        self._home = folder / "hub"
        self._pushed = folder / "hub.json"
        self._main = bool(hub.repo) and accelerator.is_main_process
        self._pushes: dict[str, Future[None]] = {}
        self._writing = threading.Lock()
        if self._main:
            self._api = HfApi()
            claim(self._api, hub.repo, hub.private)
            self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub")
            for waiting in states(self._home):
                self._queue(waiting)  # an earlier launch could not push them

    def wants(self, step: int) -> Path | None:
        """The folder into which a saved step's model is exported to be pushed; None if it is not to be."""
        return self._home / f"step-{step}" if self.hub.repo and self.hub.every == "save" else None

    def publish(self, folder: Path, loss: float | None = None) -> None:
        """Push the model in `folder`, named step-N, and then delete the folder. `loss` decides which step is `best`."""
        if not self._main:
            return
        if loss is not None:
            self._record("losses", folder.name, loss)
        self._queue(folder)

    def finish(self, model: Path, step: int) -> None:
        """Push the finished model, and wait until everything is pushed or has been given up and reported."""
        if not self._main:
            return
        target = self._home / f"step-{step}"
        if not target.exists():
            shutil.copytree(model, target, copy_function=os.link)  # no room is needed
        self._queue(target)
        self._worker.shutdown(wait=True)
        left = [name for name, push in self._pushes.items() if push.exception()]
        if left:
            self._note(
                f"not on the Hub: {', '.join(left)}; nothing is lost: they lie in {self._home}, and the same command, "
                f"or cloze push {self._home.parent} {self.hub.repo}, pushes them"
            )
        else:
            shutil.rmtree(self._home, ignore_errors=True)
            self._note(f"pushed to {self._api.endpoint}/{self.hub.repo}")

    def _queue(self, folder: Path) -> None:
        if folder.name not in self._pushes:
            self._pushes[folder.name] = self._worker.submit(self._push, folder)

    def _push(self, folder: Path) -> None:
        try:
            refuse_not_finite(folder)
            commit = patiently(lambda: push(self._api, self.hub.repo, folder, folder.name), self._note)
        except Exception as error:
            self._note(f"{folder.name} could not be pushed to {self.hub.repo}: {in_words(error)}")
            raise
        self._record("commits", folder.name, commit)
        self._follow(folder.name, commit)
        shutil.rmtree(folder)

    def _follow(self, step: str, commit: str) -> None:
        """Let the tag `best` name the pushed step of the least loss."""
        known = self._known()
        losses = {name: loss for name, loss in known["losses"].items() if name in known["commits"]}
        if losses and min(losses, key=losses.__getitem__) == step:
            patiently(lambda: retag(self._api, self.hub.repo, "best", commit), self._note)

    def _known(self) -> dict[str, Any]:
        """Which commit holds which step, and the loss of each."""
        if not self._pushed.exists():
            return {"commits": {}, "losses": {}}
        return read_json(self._pushed, "commits", "losses", advice="delete it, and what is pushed from now on is known")

    def _record(self, kind: str, step: str, value: Any) -> None:
        with self._writing:
            known = self._known()
            known[kind][step] = value
            whole_file(self._pushed, strict_json({"repo": self.hub.repo, **known}, indent=1).encode())


def claim(api: HfApi, repo: str, private: bool) -> None:
    """Make the repository if there is none, and make sure that this token may write to it. Errors: ValueError."""
    if not (api.token or get_token()):
        raise ValueError(f"pushing to {repo} needs a token of the Hub: set HF_TOKEN, or say `hf auth login`")
    disable_progress_bars()  # they would run through the training's own
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        api.auth_check(repo, write=True)
    except Exception as error:
        raise ValueError(f"{repo} cannot be written to at {api.endpoint}: {in_words(error)}") from None


def refuse_not_finite(folder: Path) -> None:
    """Keep from others what is of no use to them. Errors: ValueError that names file and tensor."""
    if found := not_finite_in(folder):
        raise ValueError(f"{found}: such a model is not published")


def push(api: HfApi, repo: str, folder: Path, tag: str, revision: str = "main") -> str:
    """Make the repository's files those of `folder`, in one commit with a tag; return the commit, 40 hex."""
    if revision != "main":
        api.create_branch(repo, branch=revision, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo, folder_path=folder, commit_message=tag or "the model", revision=revision, delete_patterns="*"
    ).oid
    if tag:
        retag(api, repo, tag, commit)
    return commit


def retag(api: HfApi, repo: str, tag: str, commit: str) -> None:
    """Let `tag` name `commit`, whatever it named before."""
    try:
        api.delete_tag(repo, tag=tag)
    except (RevisionNotFoundError, HfHubHTTPError) as error:
        if not isinstance(error, RevisionNotFoundError) and error.response.status_code != 404:
            raise
    api.create_tag(repo, tag=tag, revision=commit)


def patiently(attempt: Callable[[], T], note: Callable[[str], None]) -> T:
    """Try again, after longer and longer waits, what may succeed later; what is refused is not tried again."""
    for wait in WAITS:
        try:
            return attempt()
        except Exception as error:
            if is_refusal(error):
                raise
            note(f"the Hub: {in_words(error)}; trying again in {wait:.0f} s")
            time.sleep(wait)
    return attempt()


def is_refusal(error: Exception) -> bool:
    """Whether the Hub understood and said no: 401, 403, 404 and the like; 408, 412 and 429 ask for patience."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return 400 <= status < 500 and status not in (408, 412, 429)


def in_words(error: Exception) -> str:
    """What happened, on one line. What a server that is in trouble (5xx) writes is left out, and tokens are hidden."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status in REFUSALS:
        return f"{REFUSALS[status]} ({status})"
    if status >= 500:
        return f"its server is in trouble ({status})"
    return redacted(" ".join(str(error).split())) or type(error).__name__


REFUSALS = {401: "the token is not valid", 403: "the token may not write there: it needs the write scope"}
