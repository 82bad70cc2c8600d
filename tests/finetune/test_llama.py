"""Do decoders of Llama's kind, whose tokenizer begins every text and pads none, learn each task and open again?"""

import json
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file
from tokenizers.processors import Sequence, TemplateProcessing
from transformers import (
    AutoModelForQuestionAnswering,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from finetune.ask.predict import main as predict
from finetune.decoder import add_padding_token
from finetune.model import open_model
from finetune.questions import QUESTIONS
from finetune.tasks.task import find_task
from tests.finetune.conftest import EVERY_WORD
from tokenizer.learn import BytePairs
from tokenizer.load import load_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
KINDS = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 2}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"num_key_value_heads": 2}),
    "gpt_neox": (GPTNeoXForCausalLM, GPTNeoXConfig, {}),
}
TASKS = {"glue/rte": "glue-rte", "squad/v1.1": "squad-v1.1", "conll2003": "conll2003"}


def beginning(end=False):
    """A tokenizer that puts <s> before each text and, if `end` says so, its end-of-text token after it."""
    tokenizer = BytePairs(name="byte-bpe", vocab_size=500).learn(iter([[EVERY_WORD] * 2]), Counter(EVERY_WORD), 64)
    tokenizer.pad_token = None
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    after, known = (f" {tokenizer.eos_token}" if end else ""), ("<s>", tokenizer.eos_token)
    frame = TemplateProcessing(
        single=f"<s> $A{after}", pair=f"<s> $A{after} <s> $B{after}",
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in known],
    )  # fmt: skip
    before = tokenizer.backend_tokenizer.post_processor
    tokenizer.backend_tokenizer.post_processor = Sequence([before, frame]) if before else frame
    return tokenizer


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """`decoder(kind)`: the folder of a small language model of that kind."""

    def made(kind):
        model_class, config_class, more = KINDS[kind]
        folder, tokenizer = tmp_path_factory.mktemp(kind), beginning()
        torch.manual_seed(0)
        ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        config = config_class(**SIZES, **more, **ends, vocab_size=len(tokenizer), max_position_embeddings=64)
        model_class(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_it_learns_each_task_and_answers_from_its_folder_as_in_the_run(
    tmp_path, launch, launch_program, write_finetune_recipe, labelled, decoder, kind
):
    model = str(decoder(kind))
    write_finetune_recipe(tmp_path, model=model, task=list(TASKS), predict_test=True, plan={"num_train_epochs": 1})
    ended = launch(tmp_path, "recipe.yaml")
    assert ended.status == 0, ended.said
    inputs = {
        "glue/rte": labelled / "RTE/test.tsv",
        "squad/v1.1": tmp_path / "asked.jsonl",
        "conll2003": tmp_path / "words.jsonl",
    }
    (paragraph, *_) = json.loads((labelled / "dev-v1.1.json").read_text())["data"][0]["paragraphs"]
    question = {"question": paragraph["qas"][0]["question"], "context": paragraph["context"]}
    inputs["squad/v1.1"].write_text(json.dumps(question) + "\n")
    inputs["conll2003"].write_text(json.dumps({"words": ["anna", "ran", "near", "paris"]}) + "\n")
    for task, folder in TASKS.items():
        job = tmp_path / f"runs/small/{folder}/seed-0"
        ended = launch_program(predict, tmp_path, str(job / "model"), str(inputs[task]), "--out", "answers.jsonl")
        assert ended.status == 0, ended.said
        answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
        assert answers
        if task == "glue/rte":
            kept = [json.loads(line) for line in (job / "glue-rte-test.jsonl").read_text().splitlines()]
            assert [line["prediction"] for line in answers] == [line["prediction"] for line in kept]
        if task == "squad/v1.1":
            said = json.loads((job / "predictions.json").read_text())
            assert answers[0]["prediction"] == said[paragraph["qas"][0]["id"]]


def test_a_language_models_weights_are_the_question_models_and_open_in_transformers(tmp_path, decoder):
    """Llama's class for questions calls the encoder `transformer`, all others call it `model`."""
    folder, task = decoder("llama"), find_task("squad/v1.1")
    held = load_file(folder / "model.safetensors")
    tokenizer = add_padding_token(load_tokenizer(folder))
    model, random = open_model(str(folder), QUESTIONS["span"], task, tokenizer, {}, fresh=False)
    assert random == ["qa_outputs.bias", "qa_outputs.weight"]
    for name, weight in model.transformer.state_dict().items():
        assert torch.equal(weight, held[f"model.{name}"]), name
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, info = AutoModelForQuestionAnswering.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in again.state_dict().items())
    rte = find_task("glue/rte")
    classifier, random = open_model(str(tmp_path), QUESTIONS["classification"], rte, tokenizer, {}, fresh=False)
    assert random == ["score.weight"]
    assert torch.equal(classifier.model.layers[0].mlp.up_proj.weight, held["model.layers.0.mlp.up_proj.weight"])


@pytest.mark.parametrize("end", [False, True])
def test_a_label_is_read_at_the_last_token_of_the_text(decoder, end):
    """What pads is not what ends a text, else the end would be read as padding."""
    tokenizer = add_padding_token(beginning(end))
    assert tokenizer.pad_token == ("<s>" if end else tokenizer.eos_token)
    assert tokenizer("the cat")["input_ids"][-1] != tokenizer.pad_token_id


def test_a_tokenizer_without_any_special_token_is_told_what_it_lacks():
    tokenizer = beginning()
    tokenizer.bos_token = tokenizer.eos_token = tokenizer.unk_token = None
    with pytest.raises(ValueError, match="has no padding token, and no other special token"):
        add_padding_token(tokenizer)


def test_choices_need_an_encoder(decoder):
    folder = decoder("llama")
    tokenizer = add_padding_token(load_tokenizer(folder))
    with pytest.raises(ValueError, match="no MultipleChoice class for a llama model; take an encoder"):
        open_model(str(folder), QUESTIONS["choice"], find_task("swag"), tokenizer, {}, fresh=False)
