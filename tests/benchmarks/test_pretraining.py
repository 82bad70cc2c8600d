import pytest
import torch
from accelerate import Accelerator

from benchmarks import sample
from benchmarks.ours import assembled
from benchmarks.plain import architecture
from benchmarks.pretraining import main, original, plain_rows
from benchmarks.settings import TINY
from engine.train.plan import Plan

TINY_FORM = ("--tiny", "--turns", "2", "--steps", "2", "--megabytes", "0.2")


def check(result):
    for name in ("bert_mini", "gpt2_mini", "lstm_mini"):
        assert result[name].keys() >= {"ratio_default", "ratio_equal_precision", "loss_gap"}
        assert result[name]["ratio_default"] > 0
        assert abs(result[name]["loss_gap"]) < 0.01  # after four steps
    assert result["machine"]["commit"]
    assert result["text"] == "Wikipedia and books"


@pytest.mark.slow
def test_it_prints_its_ratios_for_both_models(last_line):
    check(last_line(main, *TINY_FORM, "--launches", "0"))


@pytest.mark.slow
def test_two_processes_are_launched_for_real(last_line):
    result = last_line(main, *TINY_FORM, "--launches", "1")
    check(result)
    assert result["two_processes"]["ratio"] > 0


@pytest.mark.parametrize("name", TINY)
def test_both_ways_are_asked_the_same(name, workplace, monkeypatch):
    """The library's own loss of the library's own model, on our masks, is our loss."""
    monkeypatch.chdir(workplace)
    setting = TINY[name]
    plan = Plan(max_steps=3, global_batch_size=setting.batch, per_device_train_batch_size=setting.batch)
    source = sample.raw_text(0.2, workplace / "text.jsonl")
    accelerator = Accelerator(cpu=True)
    with assembled(setting, source, workplace, plan, setting.batch, accelerator) as (recipe, text, ours):
        rows = plain_rows(ours.batches, text, 3, setting)
        assert len(rows) == 3 * setting.batch
        model = architecture(setting.model, text.vocabulary.size).eval()
        batch = ours.evaluation[0]
        sums = recipe.objective.loss(model, batch)
        (term,) = batch.counts
        labels = original(batch)
        if setting.family == "bert":
            asked = torch.zeros_like(labels, dtype=torch.bool)
            asked.view(-1)[batch.y["positions"]] = True
            labels = labels.masked_fill(~asked, -100)
            theirs = model(**batch.x, labels=labels).loss
        else:  # the library asks for a block's own tokens alone, ours for the one after it too
            logits = model(**batch.x).logits.flatten(0, 1)[batch.y["positions"]]
            theirs = torch.nn.functional.cross_entropy(logits, batch.y["tokens"])
        assert torch.isclose(sums[term] / batch.counts[term], theirs, rtol=1e-5)


def test_the_plain_way_sees_our_blocks_unmasked(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    setting = TINY["bert_mini"]
    plan = Plan(max_steps=2, global_batch_size=setting.batch, per_device_train_batch_size=setting.batch)
    source = sample.raw_text(0.2, workplace / "text.jsonl")
    with assembled(setting, source, workplace, plan, setting.batch, Accelerator(cpu=True)) as (_, text, ours):
        rows = torch.tensor(plain_rows(ours.batches, text, 2, setting)["input_ids"])
        vocabulary = text.vocabulary
    assert (rows[:, 0] == vocabulary.cls).all()
    assert (rows[:, -1] == vocabulary.sep).all()
    assert not (rows == vocabulary.mask).any()
