"""What does a model say to this text?  A page to play with one model or several.

    cloze playground MODEL... [--port 7860] [--browser True] [--pictures FOLDER] [--host 0.0.0.0] [--share True]

MODEL is a run's folder (its model/ is taken), a folder that transformers opens, or a Hub id, perhaps with a revision
(user/name@step-10000): pretrained (fill the gap, does B follow A, continue a text) or fine-tuned (classify, score, find
the answer, mark entities, choose). There is a tab for each thing that one of them can do, one to compare two that can
do the same, and one to look inside. The page is served to this machine alone, unless --host or --share says otherwise,
and asks no other machine for anything.
"""

import importlib.util
import os
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from engine.run.options import read_options
from engine.run.runtime import program


@dataclass(frozen=True)
class Options:
    """Open a page to play with models.

    Example: cloze playground runs/try/bert runs/try/pair/docs-pair/seed-0
    """

    # runs, fine-tuning jobs, models' folders or Hub ids (user/name or user/name@revision)
    models: Annotated[tuple[str, ...], Positional, arg(metavar="MODEL...", help_behavior_hint="(one or several)")]
    port: int = 0  # 0: the first free one from 7860
    browser: bool = False  # open the page in this machine's browser
    host: str = "127.0.0.1"  # where to serve it: 0.0.0.0 for everybody who reaches this machine; there is no password
    pictures: str = ""  # a folder of them, for models of pictures to look for near ones; default: what each trained on
    share: bool = False  # also a public link, by Gradio's servers, for a week: everybody who has it may ask


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m finetune.playground")
    if not options.models:
        raise ValueError("no model is named: say one or more, such as runs/demo/pretrain")
    if importlib.util.find_spec("gradio") is None:
        raise ValueError('gradio is not installed: say  pip install "cloze[pages]"  or install requirements.txt')
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    from finetune.ask.playground.gallery import open_folder
    from finetune.ask.playground.models import load_models
    from finetune.ask.playground.page import page, show

    pictures = open_folder(options.pictures) if options.pictures else None
    blocks = page(load_models(options.models, pictures))
    show(blocks, options.port, options.browser, host=options.host, share=options.share)


if __name__ == "__main__":
    main()
