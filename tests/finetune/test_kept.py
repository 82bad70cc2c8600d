"""Does all that was pretrained stay?  What starts random, and what is kept bit for bit, beside plain transformers."""

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from finetune.model import open_model
from finetune.tasks.task import find_task
from tests.finetune.test_families import FAMILIES, USUAL
from tokenizer.load import load_tokenizer

ENCODERS = {family: sizes for family, sizes in FAMILIES.items() if family in MODEL_FOR_MASKED_LM_MAPPING_NAMES} | {
    "funnel": {"block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64},
    "convbert": USUAL,
}
TASKS = ("glue/rte", "glue/stsb", "conll2003", "squad/v1.1", "swag")


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request, small_model, tmp_path_factory):
    """(the family's config, `saved(model)`: its folder)."""
    tokenizer = load_tokenizer(small_model)
    config = AutoConfig.for_model(
        request.param, **ENCODERS[request.param], vocab_size=len(tokenizer), max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip

    def saved(model):
        folder = tmp_path_factory.mktemp(request.param)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return config, saved


@pytest.fixture(scope="module")
def masked(encoder):
    config, saved = encoder
    torch.manual_seed(0)
    return saved(AutoModelForMaskedLM.from_config(config))


def opened(folder, name):
    task = find_task(name)
    return open_model(folder, task.question, task, load_tokenizer(folder), {}, fresh=False)


def plain(folder, name):
    """The model as transformers opens it, and what it starts at random."""
    task = find_task(name)
    labels = {"num_labels": len(task.labels) or 1} if task.question.name not in ("span", "choice") else {}
    model, info = task.question.auto_class.from_pretrained(
        folder, output_loading_info=True, ignore_mismatched_sizes=True, **labels
    )
    return model, {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}


def kept(model, other, but):
    """Whether all weights but some are the other's, bit for bit."""
    theirs = other.state_dict()
    return all(name in but or torch.equal(weight, theirs[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("name", TASKS)
def test_from_a_masked_language_model_only_what_it_lacks_is_random(masked, name):
    model, random = opened(masked, name)
    other, missing = plain(masked, name)
    assert set(random) == missing
    assert kept(model, other, missing)


def test_a_classifier_goes_on_with_its_labels_and_loses_only_its_outputs_for_others(masked, encoder):
    model, _ = opened(masked, "glue/rte")
    folder = encoder[1](model)
    same, random = opened(folder, "glue/rte")
    assert random == []
    assert kept(same, model, ())
    other, random = opened(folder, "glue/mnli")  # three labels
    theirs, misshapen = plain(folder, "glue/mnli")
    assert set(random) == misshapen
    assert kept(other, theirs, misshapen)
    alike, of_two = opened(folder, "glue/sst2")  # two labels, as before, that mean something else
    assert of_two == random
    assert kept(alike, model, of_two)
    assert not kept(alike, model, [name for name in of_two if not name.endswith("weight")])


@pytest.mark.parametrize(
    ("auto_class", "labels", "name"),
    [
        (AutoModelForTokenClassification, 2, "glue/rte"),
        (AutoModelForTokenClassification, 1, "glue/stsb"),
        (AutoModelForTokenClassification, 1, "swag"),
        (AutoModelForMultipleChoice, 1, "glue/stsb"),
        (AutoModelForSequenceClassification, 9, "conll2003"),
        (AutoModelForSequenceClassification, 1, "swag"),
        (AutoModelForSequenceClassification, 3, "squad/v1.1"),
        (AutoModelForQuestionAnswering, 2, "glue/rte"),
    ],
)
def test_a_head_of_another_kind_is_never_taken_for_the_tasks(small_model, tmp_path, auto_class, labels, name):
    """All but one of these have weights of the very name and shape that the task's head has."""
    config = AutoConfig.from_pretrained(small_model)
    config.num_labels = labels
    tokenizer = load_tokenizer(small_model)
    before = auto_class.from_config(config)
    before.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, random = opened(str(tmp_path), name)
    head = {weight for weight in model.state_dict() if weight.startswith(("classifier.", "qa_outputs."))}
    assert set(random) - {"bert.pooler.dense.bias", "bert.pooler.dense.weight"} == head
    theirs = before.state_dict()
    for weight in head & set(theirs):
        assert not weight.endswith("weight") or not torch.equal(model.state_dict()[weight], theirs[weight])
