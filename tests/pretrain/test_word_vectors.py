"""Is a step of skip-gram, CBOW and GloVe what a loop over pairs makes of it, and are vectors the same each time?"""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit

from corpus.text.chapters import Chapter
from corpus.text.medium import Text
from corpus.text.vocabulary import Vocabulary
from engine.train.optimizer import Optimizer, build_optimizers
from networks.word_vectors import PART, WordVectors, dot_rows
from pretrain.examples import ChapterExamples
from pretrain.objective import Objective
from pretrain.objectives.glove import Glove
from pretrain.objectives.skip_gram import GROUP, SkipGram, keep_probability
from pretrain.run import main
from pretrain.terms import MOMENTS, correlation, moments
from pretrain.word_vectors import find_rows
from tokenizer.learn import WholeWords

SIZE, FEATURES, KEY = 60, 8, 5


@pytest.fixture
def text() -> Text:
    ordinary = np.arange(3, 40)
    return Text(Vocabulary(40, {"pad": 0, "eos": 2}, ordinary, np.zeros(40, bool), np.ones(40, bool)))


@pytest.fixture
def chapter(text) -> Chapter:
    return text.fake(6, SIZE)


def examples_of(objective: Objective, chapter: Chapter, text: Text) -> ChapterExamples:
    return ChapterExamples(chapter, objective, text, SIZE, KEY)


def random_model(objective: Objective, text: Text) -> WordVectors:
    torch.manual_seed(1)
    model = objective.build({"hidden_size": FEATURES}, text)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.train()


def pairs_and_noise(objective: SkipGram, batch) -> tuple[list, list]:
    """What a batch asks, read off its tables: (words of the input, word asked), and (these, noise, weight)."""
    x, pairs, noise = {name: values.numpy() for name, values in batch.x.items()}, [], []
    shown, asked = x["shown_rows"][x["shown"]], x["asked_rows"][x["asked"]]

    def inputs(group: int, row: int) -> list[int]:
        if not objective.cbow:
            return [shown[group, row]]
        return [word for word, share in zip(shown[group], x["share"][group, row], strict=True) if share]

    for place in batch.y["positions"].tolist():
        group, row, column = np.unravel_index(place, (len(asked), GROUP, asked.shape[1]))
        pairs.append((inputs(group, row), asked[group, column]))
    drawn = asked[:, -objective.shared_negatives :]
    for group, row, number in np.argwhere(x["weight"] > 0):
        noise.append((inputs(group, row), drawn[group, number], x["weight"][group, row, number]))
    return pairs, noise


@pytest.mark.parametrize("cbow", [False, True])
def test_the_gradient_is_that_of_a_loop_over_pairs(text, chapter, cbow):
    objective = SkipGram(name="skip_gram", sample=0.05, cbow=cbow, shared_negatives=6)
    batch = examples_of(objective, chapter, text).batch(np.arange(3))
    model = random_model(objective, text)
    loss = objective.loss(model, batch)["context"]
    loss.backward()
    words, contexts = (table.weight.detach().double().numpy() for table in (model.words, model.contexts))
    gradients = np.zeros_like(words), np.zeros_like(contexts)
    total = 0.0
    pairs, noise = pairs_and_noise(objective, batch)
    for inputs, asked, label, weight in [*((*pair, 1, 1.0) for pair in pairs), *((i, n, 0, w) for i, n, w in noise)]:
        mean = words[inputs].mean(0)
        right = expit((1 if label else -1) * mean @ contexts[asked])
        total -= weight * np.log(right)
        error = weight * (expit(mean @ contexts[asked]) - label)
        gradients[1][asked] += error * mean
        for word in inputs:
            gradients[0][word] += error * contexts[asked] / len(inputs)
    assert loss.item() == pytest.approx(total, rel=1e-5)
    for table, expected in zip((model.words, model.contexts), gradients, strict=True):
        assert np.allclose(table.weight.grad.to_dense().numpy(), expected, atol=1e-4)


def test_each_pair_is_told_from_so_many_others_but_never_from_its_own_word(text, chapter):
    objective = SkipGram(name="skip_gram", sample=0.0, negative=4)
    batch = examples_of(objective, chapter, text).batch(np.arange(4))
    weights, positions = batch.x["weight"], batch.y["positions"]
    ids = batch.x["asked_rows"][batch.x["asked"]]
    pairs = torch.zeros(len(ids), GROUP, ids.shape[1]).flatten().index_fill(0, positions, 1.0).view(len(ids), GROUP, -1)
    asked, noise = ids.split([ids.shape[1] - objective.shared_negatives, objective.shared_negatives], 1)
    pairs = pairs[:, :, : asked.shape[1]]
    same = (asked[:, :, None] == noise[:, None, :]).float()
    expected = (pairs.sum(2, keepdim=True) - pairs @ same) * 4 / objective.shared_negatives
    assert torch.allclose(weights, expected)
    assert (pairs @ same).sum() > 0


def test_windows_are_drawn_and_stay_within_a_document(text, chapter):
    objective = SkipGram(name="skip_gram", sample=0.0, window=3)
    examples = examples_of(objective, chapter, text)
    pairs, _ = pairs_and_noise(objective, examples.batch(np.arange(len(examples.order))))
    block = examples.units.take(np.arange(len(examples.order))).block
    near, sizes = set(), []
    for ids, document in zip(block.ids, block.document, strict=True):
        words = [(word, number) for word, number in zip(ids, document, strict=True) if word >= 3 and number >= 0]
        for place, (word, number) in enumerate(words):
            some = words[max(0, place - 3) : place] + words[place + 1 : place + 4]
            near |= {(word, other) for other, its in some if its == number}
            sizes.append(len(some))
    assert {(inputs[0], asked) for inputs, asked in pairs} <= near
    assert 0.5 < len(pairs) / sum(sizes) < 0.8  # on average two thirds of the widest windows: (1 + 2 + 3) / 3 / 3


def test_words_are_kept_as_the_authors_code_keeps_them():
    counts, sample = np.array([0, 1, 90, 909]), 1e-2
    frequency = counts / 1000
    expected = [min(1.0, (np.sqrt(f / sample) + 1) * sample / f) if f else 0.0 for f in frequency]
    assert keep_probability(counts, sample) == pytest.approx(expected)
    assert keep_probability(counts, 0.0).tolist() == [0, 1, 1, 1]


def test_a_glove_step_is_that_of_a_loop_over_the_table(text, chapter):
    objective = Glove(name="glove", window=4, x_max=20.0)
    examples = examples_of(objective, chapter, text)
    batch = examples.batch(np.arange(len(examples.order)))
    model = random_model(objective, text)
    tables = [table.weight.detach().double().numpy().copy() for table in
              (model.words, model.contexts, model.word_biases, model.context_biases)]  # fmt: skip
    gradients, total = [np.zeros_like(table) for table in tables], 0.0
    table, (words, contexts, biases, others) = examples.units.table, tables
    for low, high, count in zip(table.low, table.high, table.count, strict=True):
        for one, other in {(low, high), (high, low)}:
            met = float(count) * (2 if low == high else 1)
            error = words[one] @ contexts[other] + biases[one, 0] + others[other, 0]
            error -= np.log(met * 1e6 / chapter.store.num_tokens)
            weight = min(1.0, (met / 20.0) ** 0.75)
            total += weight * error**2
            gradients[0][one] += 2 * weight * error * contexts[other]
            gradients[1][other] += 2 * weight * error * words[one]
            gradients[2][one] += 2 * weight * error
            gradients[3][other] += 2 * weight * error
    loss = objective.loss(model, batch)["log_count"]
    assert loss.item() == pytest.approx(total, rel=1e-4)
    loss.backward()
    optimizer = build_optimizers(model, Optimizer("adagrad", 0.05))[0]
    optimizer.step()
    for found, before, gradient in zip(
        (model.words, model.contexts, model.word_biases, model.context_biases), tables, gradients, strict=True
    ):
        used = np.abs(gradient) > 1e-3  # the first step of AdaGrad is the rate times the sign
        expected = np.where(used, before - 0.05 * np.sign(gradient), before)
        assert np.allclose(found.weight.detach().numpy()[used], expected[used], atol=1e-4)


@pytest.fixture
def recipe(write_recipe, corpus, tmp_path) -> Path:
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    words = WholeWords(name="words", min_frequency=1).learn(iter([texts]), Counter(), 512)
    words.save_pretrained(tmp_path / "words")
    return write_recipe(
        tmp_path, tokenizer=str(tmp_path / "words"), objective={"name": "skip_gram", "sample": 0.01},
        optimizer={"name": "powered_sgd", "learning_rate": 0.05}, plan={"max_steps": 12, "save_steps": 5},
    )  # fmt: skip


def take_objective(recipe: Path, name: str) -> None:
    content = recipe.read_text().replace("name: skip_gram", f"name: {name}")
    if name == "glove":
        content = content.replace("  sample: 0.01\n", "").replace("name: powered_sgd", "name: adagrad")
    lines = content.splitlines()
    start = lines.index("model:")
    end = next(number for number in range(start + 1, len(lines)) if not lines[number].startswith(" "))
    recipe.write_text("\n".join([*lines[:start], "model: {hidden_size: 16}", *lines[end:]]) + "\n")


@pytest.mark.parametrize("pairs", [0, 7, PART, 2 * PART + 3])
def test_products_of_rows_and_their_gradients_are_those_of_whole_tensors(pairs):
    torch.manual_seed(0)
    tables = [torch.randn(size, FEATURES, dtype=torch.float64, requires_grad=True) for size in (30, 40)]
    rows, wanted = [torch.randint(len(table), (pairs,)) for table in tables], torch.randn(pairs, dtype=torch.float64)
    found, expected = dot_rows(*tables, *rows), (tables[0][rows[0]] * tables[1][rows[1]]).sum(1)
    assert torch.allclose(found, expected)
    gradients = [torch.autograd.grad((scores * wanted).sum(), tables) for scores in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other)


def test_held_out_counts_are_judged_by_weighted_correlation_whatever_the_batches(text):
    objective = Glove(name="glove", block_size=16, x_max=3)
    model = random_model(objective, text).eval()
    examples = ChapterExamples(text.fake(6, 400), objective, text, 16, KEY)
    parts = [examples.batch(np.arange(half, len(examples.units), 2)) for half in range(2)]
    (term,) = objective.terms
    sums, counts = Counter(), Counter()
    for batch in parts:
        sums.update({name: value.item() for name, value in objective.loss(model, batch).items()})
        counts.update(batch.counts)
    found = term.metrics(sums, counts)["log_count_correlation"]
    vectors = [
        table.weight.detach().numpy()
        for table in (model.words, model.contexts, model.word_biases, model.context_biases)
    ]
    guesses, answers, weights = [], [], []
    for batch in parts:
        rows = batch.x["rows"].numpy()
        for word, context in zip(rows[batch.x["words"]], rows[batch.x["contexts"]], strict=True):
            guesses.append(vectors[0][word] @ vectors[1][context] + vectors[2][word, 0] + vectors[3][context, 0])
        answers += batch.y["log_counts"].tolist()
        weights += batch.y["weights"].tolist()
    covariance = np.cov(guesses, answers, aweights=weights)
    assert found == pytest.approx(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]), abs=1e-5)
    assert term.baseline(parts) == {"log_count_correlation": 0.0}


def test_guesses_that_are_all_alike_correlate_with_nothing():
    answers, alike = torch.tensor([1.0, 2.0, 4.0]), torch.ones(3)
    for guess, expected in ((alike, 0.0), (3 * answers - 1, 1.0), (-answers, -1.0)):
        sums = {name: value.item() for name, value in moments("it", guess, answers, alike).items()}
        assert correlation(*(sums[f"it_{name}"] for name in MOMENTS)) == pytest.approx(expected, abs=1e-5)


def test_rows_are_found_as_by_sorting_all_ids():
    ids = [np.random.default_rng(0).integers(50, size=shape) for shape in ((4, 9), (30,), (0,))]
    rows, places = find_rows(*ids, size=60)
    assert np.array_equal(rows, np.unique(np.concatenate([each.ravel() for each in ids])))
    for each, place in zip(ids, places, strict=True):
        assert np.array_equal(rows[place], each)


@pytest.mark.parametrize("name", ["skip_gram", "glove"])
def test_vectors_are_the_same_on_any_number_of_workers_and_after_a_resume(name, recipe, launch_program):
    take_objective(recipe, name)
    folder = recipe.parent
    alone = launch_program(main, folder, "recipe.yaml", "--name", "alone")
    assert alone.status == 0, alone.said
    workers = launch_program(main, folder, "recipe.yaml", "--name", "workers", "--plan.dataloader_num_workers", "2")
    assert workers.status == 0, workers.said
    stopped = []

    def stop(pid: int) -> None:
        if not stopped and list((folder / "runs/resumed/state").glob("step-5/manifest.json")):
            stopped.append(pid)
            os.kill(pid, signal.SIGKILL)

    launch_program(main, folder, "recipe.yaml", "--name", "resumed", watch=stop)
    assert stopped
    resumed = launch_program(main, folder, "recipe.yaml", "--name", "resumed")
    assert resumed.status == 0, resumed.said
    first = (folder / "runs/alone/model/model.safetensors").read_bytes()
    for other in ("workers", "resumed"):
        assert (folder / "runs" / other / "model/model.safetensors").read_bytes() == first
    assert (folder / "runs/alone/model/vectors.txt").read_bytes() == (
        folder / "runs/resumed/model/vectors.txt"
    ).read_bytes()
    lines = [json.loads(line) for line in (folder / "runs/alone/metrics.jsonl").read_text().splitlines()]
    evaluated = [line for line in lines if any(key.startswith("eval_") for key in line)]
    assert evaluated[-1].keys() >= ({"eval_context_loss", "baseline_context_loss"} if name == "skip_gram" else
                                    {"eval_log_count_correlation", "baseline_log_count_correlation"})  # fmt: skip


@pytest.mark.parametrize("name", ["skip_gram", "glove"])
def test_two_processes_that_send_each_other_rows_equal_one(name, recipe, launch_program, launch_together):
    take_objective(recipe, name)
    folder = recipe.parent
    alone = launch_program(main, folder, "recipe.yaml", "--name", "alone")
    assert alone.status == 0, alone.said
    ranks = launch_together(main, folder, "recipe.yaml", "--name", "together")
    assert [rank.status for rank in ranks] == [0, 0], "\n".join(rank.said for rank in ranks)
    assert "2 process(es)" in ranks[0].said
    one, two = (
        WordVectors.from_pretrained(folder / "runs" / name / "model").vectors() for name in ("alone", "together")
    )
    assert torch.allclose(one, two, atol=1e-4)
    assert not torch.allclose(one, torch.zeros_like(one), atol=0.1)  # it was trained


@pytest.mark.parametrize(("name", "advice"), [("skip_gram", ("--objective.sample", "0")), ("glove", ())])
def test_text_of_which_nothing_is_asked_is_refused_and_the_advice_helps(name, advice, recipe, launch_program):
    take_objective(recipe, name)
    folder = recipe.parent
    (folder / "small.txt").write_text("The cat sat on the mat. A dog ran after the cat of the king.\n" * 10)
    (folder / "strange.txt").write_text("zzz yyy xxx www vvv uuu ttt sss\n" * 10)

    def train(corpus, *options):
        text = ("--corpus.sources.0.kind", "text", "--corpus.sources.0.path", corpus, "--corpus.held_out", "0.2")
        return launch_program(main, folder, "recipe.yaml", "--name", corpus, *text, *options)

    words = WholeWords(name="words", min_frequency=1)
    words.learn(iter([[(folder / "small.txt").read_text()]]), Counter(), 512).save_pretrained(folder / "words")
    for corpus, options in (("strange.txt", ()), ("small.txt", ("--objective.sample", "1e-9"))):
        if name == "skip_gram" or corpus == "strange.txt":
            ended = train(corpus, *options)
            assert ended.status == 2, ended.said
            assert "the held-out examples ask nothing, so nothing could be judged; raise corpus.held_out" in ended.said
    ended = train("small.txt", *advice)
    assert ended.status == 0, ended.said


def test_a_batch_without_a_word_asks_nothing(text, chapter):
    objective = SkipGram(name="skip_gram", block_size=16, sample=1e-30)
    batch = examples_of(objective, chapter, text).batch(np.arange(2))
    assert batch.counts == {"context": 0}
    assert objective.loss(random_model(objective, text), batch)["context"].item() == 0.0


def test_a_tokenizer_that_ends_no_document_is_refused_with_what_to_do(recipe, tokenizer_folder, launch_program):
    take_objective(recipe, "skip_gram")
    ended = launch_program(main, recipe.parent, "recipe.yaml", "--tokenizer", str(tokenizer_folder))
    assert ended.status == 2
    assert "cloze tokenizer recipes/tokenizer/words.yaml" in ended.said


def test_a_word_that_no_file_of_vectors_could_hold_is_refused_before_training(recipe, launch_program):
    take_objective(recipe, "skip_gram")
    path = recipe.parent / "words/tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["new york"] = len(vocabulary)
    path.write_text(json.dumps(content), encoding="utf-8")
    ended = launch_program(main, recipe.parent, "recipe.yaml")
    assert ended.status == 2
    assert "the tokenizer: the word 'new york' holds a blank" in ended.said
    assert "join the words of a phrase by _" in ended.said
    assert "step 1" not in ended.said
