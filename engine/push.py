"""Put a finished run's model on the Hub.

    cloze push RUN user/name [--revision BRANCH] [--private True]

RUN is a run's folder, runs/NAME or a job of a fine-tuning: what is pushed is its model/, and whatever an earlier push
of the run left behind. The token is the Hub client's: HF_TOKEN, or `hf auth login`.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from huggingface_hub import HfApi
from tyro.conf import Positional, arg

from engine.publish.hub import check_repo, claim, in_words, patiently, push, refuse_not_finite
from engine.run.options import read_options
from engine.run.runtime import program
from engine.run.states import states


@dataclass(frozen=True)
class Options:
    """Put the model of a finished run on the Hub, with its card. Log in before, by `hf auth login` or HF_TOKEN.

    Example: cloze push runs/try/bert you/bert-try
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]  # the folder of a run, or of a fine-tuning job
    repo: Annotated[str, Positional, arg(metavar="USER/NAME")]  # the repository, which is made if it is not there
    revision: str = "main"  # the branch to push to, which is made if it is not there
    private: bool = False  # make the repository a private one, if it is made


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m engine.push")
    model, api = options.run / "model", HfApi()
    if not (model / "config.json").is_file():
        raise ValueError(f"{options.run} has no finished model: looked for {model / 'config.json'}")
    check_repo(options.repo)
    left = states(options.run / "hub")
    for folder in (*left, model):
        refuse_not_finite(folder)
    claim(api, options.repo, options.private)
    for folder, tag in [*((path, path.name) for path in left), (model, "")]:
        try:
            commit = patiently(partial(push, api, options.repo, folder, tag, options.revision), print)
        except Exception as error:
            raise ValueError(f"{folder} could not be pushed to {options.repo}: {in_words(error)}") from None
        print(f"{folder} is {api.endpoint}/{options.repo} at {commit}{' and ' + tag if tag else ''}")


if __name__ == "__main__":
    main()
