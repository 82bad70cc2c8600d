"""Is the same tokenizer learnt after a kill at any moment?"""

from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.kills import left_in, survive
from tokenizer.train import main


@pytest.mark.slow
@pytest.mark.parametrize(
    "vocabulary", [{"name": "wordpiece", "vocab_size": 500}, {"name": "byte-bpe", "vocab_size": 500}]
)
def test_killed_at_any_moment_the_same_tokenizer_is_learnt(tmp_path, launch_program, corpus, vocabulary):
    def new(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        recipe = {"name": "small", "sources": [{"kind": "text", "path": str(corpus)}], "vocabulary": vocabulary}
        (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "held_out": 0.1}))
        return folder

    survive(partial(launch_program, main), new, 6, lambda folder: left_in(folder / "runs", ("tokenizer/*",)))
