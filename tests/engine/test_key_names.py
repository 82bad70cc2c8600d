"""Is an old or foreign key answered with the right one, and does the advice work?"""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.run.folders import RUN, check_folder, mark
from engine.run.key_names import ALIASES
from engine.run.options import values_of
from engine.run.recipe import load, read, resolved

RECIPES = Path(__file__).parents[2] / "recipes"
BERT, GPT, GLUE, TOKENIZER, WORDS, GLOVE = (
    RECIPES / f"{name}.yaml"
    for name in (
        "pretrain/bert-mini", "pretrain/gpt2-mini", "finetune/glue", "tokenizer/demo",
        "pretrain/skip-gram", "pretrain/glove",
    )
)  # fmt: skip
CLASSES = {
    "pretrain": ("pretrain.recipe", "PretrainRecipe"),
    "finetune": ("finetune.recipe", "FinetuneRecipe"),
    "tokenizer": ("tokenizer.recipe", "TokenizerRecipe"),
}
FORMER = """
name: old
corpus: {sources: [{kind: wikipedia, path: wikipedia}]}
tokenizer: runs/bert-wordpiece/tokenizer
model: {model_type: bert, num_hidden_layers: 4, hidden_size: 256, num_attention_heads: 4, intermediate_size: 1024}
objective: {name: bert, mask_rate: 0.3, whole_words: true, short_seq_rate: 0.2}
length: 128
last_phase: {share: 0.1, length: 512, device_batch: 16}
optimizer: {lr: 2e-4}
schedule: {warmup_rate: 0.01, decay: linear, floor: 0.1}
plan:
  {steps: 10, global_batch: 32, device_batch: 8, log_every: 1, evaluate_every: 2, save_every: 3, keep: 4, workers: 5,
   compile: true, checkpoint_activations: true}
evaluation_examples: 6
trackers: [wandb]
state: step-7
"""


def class_of(path: Path) -> Any:
    module, name = CLASSES[path.parent.name]
    return getattr(importlib.import_module(module), name)


def refused(action) -> str:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        action()
    said = str(raised.value)
    assert "\n" not in said
    return said


def value_of(recipe: Any, key: str) -> Any:
    for name in key.split("."):
        recipe = recipe[name] if isinstance(recipe, dict) else getattr(recipe, name)
    return recipe


@pytest.mark.parametrize(
    ("path", "option", "value", "key"),
    [
        (BERT, "--learning_rate", 0.5, "optimizer.learning_rate"),
        (BERT, "--lr", 0.5, "optimizer.learning_rate"),
        (BERT, "--optimizer.lr", 0.5, "optimizer.learning_rate"),
        (BERT, "--per_device_train_batch_size", 2, "plan.per_device_train_batch_size"),
        (BERT, "--plan.device-batch", 2, "plan.per_device_train_batch_size"),
        (BERT, "--batch_size", 2, "plan.per_device_train_batch_size"),
        (BERT, "--max_iters", 7, "plan.max_steps"),
        (BERT, "--num_train_epochs", 7, "plan.max_steps"),
        (BERT, "--length", 64, "objective.max_seq_length"),
        (BERT, "--block_size", 64, "objective.max_seq_length"),
        (BERT, "--last_phase.length", 64, "last_phase.max_seq_length"),
        (BERT, "--mlm_probability", 0.4, "objective.mlm_probability"),
        (BERT, "--output_dir", "elsewhere", "name"),
        (BERT, "--resume-from-checkpoint", "step-5", "resume_from_checkpoint"),
        (BERT, "--n_layer", 3, "model.num_hidden_layers"),
        (GPT, "--max_length", 64, "objective.block_size"),
        (GPT, "--block_size", 64, "objective.block_size"),
        (GLUE, "--lr", 0.5, "optimizer.learning_rate"),
        (GLUE, "--max_length", 64, "max_seq_length"),
        (GLUE, "--num_train_epochs", 7.0, "plan.num_train_epochs"),
        (GLUE, "--max_steps", 7.0, "plan.num_train_epochs"),
        (GLUE, "--model_name_or_path", "runs/a/model", "model"),
        (TOKENIZER, "--vocab_size", 900, "vocabulary.vocab_size"),
        (TOKENIZER, "--max_length", 64, "model_max_length"),
        # Slips of the pen, of ours and of theirs
        (BERT, "--leraning_rate", 0.5, "optimizer.learning_rate"),
        (BERT, "--plan.max_step", 7, "plan.max_steps"),
        (BERT, "--per_device_batch_size", 2, "plan.per_device_train_batch_size"),
        (GLUE, "--num_train_epoch", 7.0, "plan.num_train_epochs"),
    ],
)
def test_an_option_of_others_names_ours_which_works(path, option, value, key):
    if option.removeprefix("--").replace("-", "_") == key:  # nothing is wrong with it
        assert value_of(read(class_of(path), [str(path), option, str(value)]), key) == value
        return
    said = refused(lambda: read(class_of(path), [str(path), option, str(value)]))
    assert said.startswith(f"unknown option {option}: ")
    assert said.endswith(f"for all options say {path} --help")
    (advised,) = re.findall(r"(?:say|you meant) (--[\w.]+)", said)
    assert advised == f"--{key}"
    assert value_of(read(class_of(path), [str(path), advised, str(value)]), key) == value


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("--bf16", "say mixed_precision: bf16 (--mixed_precision bf16)"),
        ("--fp16", "fp16 is not supported"),
        ("--do_train", "the program always trains: leave it out"),
        ("--no_cuda", "the launch config says where it runs"),
    ],
)
def test_what_no_key_is_for_is_answered_with_what_is(option, advice, tmp_path):
    assert advice in refused(lambda: read(class_of(BERT), [str(BERT), option, "True"]))
    path = tmp_path / "recipe.yaml"
    path.write_text(BERT.read_text() + f"{option.removeprefix('--')}: true\n")
    assert advice in refused(lambda: load(class_of(BERT), path))


def test_a_recipe_of_before_is_mended_by_what_is_said_of_it(tmp_path):
    path, values, answers = tmp_path / "recipe.yaml", yaml.safe_load(FORMER), 0
    while True:
        path.write_text(yaml.safe_dump(values))
        try:
            recipe = load(class_of(BERT), path)
            break
        except ValueError as error:
            said, answers = str(error), answers + 1
        found = re.fullmatch(
            rf"{path}:\d+: unknown key '([\w.]+)'; say '(\w+)'(?: in the section (\w+))? instead", said
        )
        assert found, said
        *sections, old = found[1].split(".")
        section = values[sections[0]] if sections else values
        (values[found[3]] if found[3] else section)[found[2]] = section.pop(old)
    assert answers == 23
    assert recipe.phases[1].size == 512
    assert recipe.objective.max_seq_length == 128
    assert recipe.resume_from_checkpoint == "step-7"
    assert resolved(recipe)["plan"] | {"minutes": 0.0} == {
        "global_batch_size": 32, "per_device_train_batch_size": 8, "max_steps": 10, "minutes": 0.0, "clock": "wall",
        "flops": 0.0, "logging_steps": 1, "eval_steps": 2, "save_steps": 3, "save_total_limit": 4, "max_grad_norm": 1.0,
        "skip_spikes": False, "dataloader_num_workers": 5, "torch_compile": True, "gradient_checkpointing": True,
        "timeout": 120,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("learning_rate: 1", "unknown key 'learning_rate'; say 'learning_rate' in the section optimizer instead"),
        ("optimizer.learning_rate: 1", "say 'learning_rate' in the section optimizer instead"),
        ("lerning_rate: 1", "did you mean 'learning_rate' in the section optimizer?"),
        ("sed: 1", "did you mean 'seed'?"),
        ("lr: 1\nhub:\n  ? [a]\n  : 1", "say 'learning_rate' in the section optimizer instead"),
        ("qqq: 1", r"unknown key 'qqq' \(keys: name, model, "),
    ],
)
def test_a_key_in_the_wrong_section_or_with_a_slip_is_sent_to_its_place(tmp_path, line, expected):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{line}\n{BERT.read_text()}")
    assert re.match(f"{path}:1: .*{expected}", refused(lambda: load(class_of(BERT), path)))


def test_a_grid_over_an_old_key_is_answered_too():
    from finetune.jobs import list_jobs

    recipe = read(class_of(GLUE), [str(GLUE)])
    object.__setattr__(recipe, "grid", {"optimizer.lr": [1e-4]})
    assert "grid: unknown key 'optimizer.lr'; say 'learning_rate' instead" in refused(lambda: list_jobs(recipe))


def test_no_alias_leads_nowhere():
    known = {
        key for path in (BERT, GPT, GLUE, TOKENIZER, WORDS, GLOVE) for key, _ in values_of(load(class_of(path), path))
    }
    known.add("batch_tokens")  # of finetune.predict
    assert {key for keys in ALIASES.values() for key in keys} <= known


def test_a_run_of_before_is_refused_with_a_clear_word(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    mark(folder, RUN, "0123")
    (folder / "metrics.jsonl").touch()
    (folder / "recipe.yaml").write_text(f"# commit 0123\n{FORMER}")
    with pytest.raises(FileExistsError) as raised:
        check_folder(folder, load(class_of(BERT), BERT))
    said = str(raised.value)
    assert "a run of an earlier version, whose recipes had other keys (objective.mask_rate: say " in said
    assert "choose another --name, or pass --overwrite True" in said
