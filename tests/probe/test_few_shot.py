"""Is each option scored as a careful person would, are examples fair, and do prompts hold what they should?"""

import json
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

import networks  # noqa: F401, so that the Auto classes know the LSTM
from engine.run.architecture import count_seen
from probe.few_shot.__main__ import main
from probe.few_shot.answers import cut_answer, write_answers
from probe.few_shot.evaluation import FreeAnswers, Way, few_shot, spread
from probe.few_shot.page import curve, notes_of
from probe.few_shot.prompts import draw_prompts, encode_options
from probe.few_shot.scoring import score_questions, shares_prefixes
from probe.few_shot.task import open_task, read_items
from probe.language_models import open_language_model
from tokenizer.learn import BytePairs
from tokenizer.load import load_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128}
KINDS = {
    "gpt2": {"initializer_range": 0.5},
    "llama": {"intermediate_size": 64, "num_key_value_heads": 1, "initializer_range": 0.5},
    "lstm": {"embedding_size": 32, "initializer_range": 2.0},
}
LOCAL = {  # models of which some layers see a part of the text: 24 tokens
    "mistral": {"intermediate_size": 64, "num_key_value_heads": 1, "sliding_window": 24, "initializer_range": 0.5},
    "gemma2": {"intermediate_size": 64, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 24,
               "initializer_range": 0.5},
    "gpt_neo": {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": 24,
                "initializer_range": 0.5},
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(corpus):
    texts = [path.read_text(encoding="utf-8") for path in sorted(corpus.iterdir())]
    return BytePairs(name="byte-bpe", vocab_size=400).learn(iter([texts]), Counter(), 32)


def save(opener, folder, tokenizer, kind, **sizes):
    torch.manual_seed(0)
    ends = {} if tokenizer.eos_token_id is None else {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    config = AutoConfig.for_model(kind, **{**SIZES, **sizes, **ends}, vocab_size=len(tokenizer))
    opener.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def models(tokenizer, tmp_path_factory):
    made = {
        kind: save(AutoModelForCausalLM, tmp_path_factory.mktemp(kind), tokenizer, kind, **sizes)
        for kind, sizes in KINDS.items()
    }
    return {kind: open_language_model(folder) for kind, folder in made.items()}


@pytest.fixture(scope="module")
def masked(tokenizer_folder, tmp_path_factory):
    sizes = {"intermediate_size": 64, "initializer_range": 0.5}
    tokenizer = load_tokenizer(tokenizer_folder)
    return open_language_model(save(AutoModelForMaskedLM, tmp_path_factory.mktemp("bert"), tokenizer, "bert", **sizes))


def rows(size, begin=0):
    words = ("kala", "mo", "sifu", "tadi", "belo", "nuro", "pike")
    return [
        {"q": f"{words[n % 7]} {words[n // 7 % 7]} {n}", "a": words[n % 7], "b": words[(n + 3) % 7], "right": n % 2}
        for n in range(begin, begin + size)
    ]


@pytest.fixture
def write_task(tmp_path):
    def write(train=8, scored=12, **more):
        for name, found in (("train", rows(train, 100)), ("eval", rows(scored))):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
        task = {
            "name": "own", "eval": {"kind": "jsonl", "path": str(tmp_path / "eval.jsonl")},
            "train": {"kind": "jsonl", "path": str(tmp_path / "train.jsonl")},
            "prompt": "Q: {{ q }}\nA:", "options": "[a, b]", "answer": "right", **more,
        }  # fmt: skip
        path = tmp_path / "own.yaml"
        path.write_text(json.dumps({name: value for name, value in task.items() if value is not None}))
        return str(path)

    return write


def alone(model, window):
    """-log p of what is judged, as transformers tells it."""
    with torch.no_grad():
        logits = model.model(torch.tensor([window.ids[:-1]])).logits[0]
    answers = torch.tensor(window.ids[window.first :])
    return logits[window.first - 1 :].log_softmax(-1).gather(1, answers[:, None]).sum().item()


# What is read and judged


def test_a_blank_at_the_end_of_a_context_belongs_to_the_option(models):
    model = models["gpt2"]
    tight = encode_options(model, "Kala:", [" mo", " tadi"], None, "")
    assert encode_options(model, "Kala: ", ["mo", "tadi"], None, "") == tight
    judged = [model.tokenizer.decode(window.ids[window.first :]) for window in tight.windows]
    assert judged == [" mo", " tadi"]
    assert not tight.merged


def test_a_token_across_the_join_is_judged_in_all_options(models):
    model = models["gpt2"]
    whole = next(
        word
        for word in model.tokenizer.get_vocab()
        if word.isalpha() and len(word) > 3 and len(model.encode(word)) == 1
    )
    begins, ends = whole[:-1], whole[-1]
    question = encode_options(model, begins, [ends, "!"], True, "")
    assert question.merged
    texts = [model.tokenizer.decode(window.ids[window.first :]) for window in question.windows]
    assert texts[0].endswith(ends)
    assert texts[1].endswith("!")
    assert question.windows[0].first == question.windows[1].first
    assert model.tokenizer.decode(question.windows[0].ids[1:]) == whole


def test_an_option_that_adds_no_token_is_refused(models):
    with pytest.raises(ValueError, match=r"^eval:3: option 1 is '', which adds no token to the prompt$"):
        encode_options(models["gpt2"], "Kala", [" mo", ""], None, "eval:3")


def test_the_first_token_is_there_once(models):
    model = models["gpt2"]
    (start,) = model.start
    asked = {None: 0, True: 1, False: 0}
    for bos, times in asked.items():
        (window,) = encode_options(model, "Kala", [" mo"], bos, "").windows
        assert window.ids.count(start) == times
        marked = model.tokenizer.decode([start]) + "Kala"
        assert encode_options(model, marked, [" mo"], bos, "").windows[0].ids.count(start) == 1
    (window,) = encode_options(model, "", ["Kala mo"], None, "").windows  # else its first token could not be judged
    assert (window.ids[0], window.first) == (start, 1)


def test_what_is_too_long_is_cut_on_the_left_and_told(models):
    question = encode_options(models["gpt2"], "Kala mo" * 100, [" tadi"], None, "")
    (window,) = question.windows
    assert question.truncated
    assert len(window.ids) == 129
    assert models["gpt2"].tokenizer.decode(window.ids[window.first :]) == " tadi"
    with pytest.raises(ValueError, match=r"option 0 has \d+ tokens, and .* reads 128: leave the row out"):
        encode_options(models["gpt2"], "Kala", [" Kala mo" * 100], None, "")


# log p


def check_against_alone(model):
    """The scores of ten questions whose prompts begin alike are those of each option alone."""
    shots = "Q: kala mo tadi\nA: sifu\n\n" * 2
    questions = [
        encode_options(
            model, f"{shots}Q: {row['q']}\nA:", [" " + row["a"], f" {row['b']} mo", f" {row['b']}"], None, ""
        )
        for row in rows(9)
    ] + [encode_options(model, shots + "Q:", [" kala kala"], None, "")]
    found = score_questions(model, [question.windows for question in questions])
    for question, scores in zip(questions, found, strict=True):
        assert [score.log_p for score in scores] == pytest.approx(
            [alone(model, one) for one in question.windows], abs=1e-3
        )
        assert [score.tokens for score in scores] == [len(one.ids) - one.first for one in question.windows]


@pytest.mark.parametrize("kind", KINDS)
def test_options_that_share_a_prefix_are_scored_as_each_alone(kind, models):
    assert shares_prefixes(models[kind]) == (kind != "lstm")
    check_against_alone(models[kind])


@pytest.mark.parametrize("kind", LOCAL)
def test_so_they_are_where_layers_see_a_part_of_the_text(kind, tokenizer, tmp_path):
    """Prompts of some 40 tokens: side by side, the second option would be too far from its question."""
    model = open_language_model(save(AutoModelForCausalLM, tmp_path, tokenizer, kind, **LOCAL[kind]))
    assert count_seen(model.model) == 24
    check_against_alone(model)


def test_a_model_that_sees_what_it_should_guess_is_refused(tokenizer, tmp_path):
    sizes = {"intermediate_size": 64, "initializer_range": 0.5}
    folder = save(AutoModelForCausalLM, tmp_path / "seeing", tokenizer, "roberta", **sizes)
    with pytest.raises(ValueError, match="RobertaForCausalLM, but its guesses change with the tokens that follow"):
        open_language_model(folder)
    open_language_model(save(AutoModelForCausalLM, tmp_path / "not", tokenizer, "roberta", is_decoder=True, **sizes))


def test_a_masked_model_hides_each_token_of_the_option_alone(masked):
    question = encode_options(masked, "Kala mo", [" tadi sifu.", " belo."], None, "")
    (scores,) = score_questions(masked, [question.windows])
    words = masked.vocabulary
    for window, score in zip(question.windows, scores, strict=True):
        total = 0.0
        for place in range(window.first, len(window.ids)):
            ids = torch.tensor([[words.cls, *window.ids, words.sep]])
            ids[0, place + 1] = words.mask
            with torch.no_grad():
                logits = masked.model(ids).logits[0, place + 1]
            total += logits.log_softmax(-1)[window.ids[place]].item()
        assert score.log_p == pytest.approx(total, abs=1e-3)
    assert masked.tokenizer.decode(question.windows[0].ids[question.windows[0].first :]) == "tadi sifu."


# Rows and examples


def test_examples_come_from_train_and_only_where_they_are_asked_for(write_task):
    task = open_task(write_task())
    items, pool = read_items(task, with_examples=True)
    assert (len(items), len(pool)) == (12, 8)
    assert all("train.jsonl" in item.where for item in pool)
    assert read_items(task, with_examples=False) == (items, [])
    some, _ = read_items(task, with_examples=False, max_rows=5)
    assert len(some) == 5
    assert [item for item in items if item in some] == some


def test_held_out_rows_are_examples_and_are_not_scored(write_task, tmp_path):
    write_task()
    path = tmp_path / "own.yaml"
    task = {**json.loads(path.read_text()), "hold_out": 5}
    task.pop("train")
    path.write_text(json.dumps(task))
    items, pool = read_items(open_task(str(path)), with_examples=True)
    assert (len(items), len(pool)) == (7, 5)
    assert not {item.where for item in items} & {item.where for item in pool}
    assert len(read_items(open_task(str(path)), with_examples=False)[0]) == 12
    task.pop("hold_out")
    path.write_text(json.dumps(task))
    with pytest.raises(ValueError, match="own has no rows for examples: say `train` in the task, or `hold_out`"):
        read_items(open_task(str(path)), with_examples=True)


def test_a_row_to_score_is_no_example(write_task, tmp_path):
    path = write_task()
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write(json.dumps(rows(1)[0]) + "\n")
    items, pool = read_items(open_task(path), with_examples=True)
    assert len(pool) == 8
    assert items[0].prompt not in {item.prompt for item in pool}


def test_a_seed_draws_examples_and_their_order(write_task):
    task = open_task(write_task())
    items, pool = read_items(task, with_examples=True)

    def drawn(shots, seed, fresh=False):
        found = draw_prompts(task, items, pool, shots, seed, fresh, None).examples
        return [[example.where for example in row] for row in found]

    assert drawn(4, 0) == drawn(4, 0) != drawn(4, 1)
    assert drawn(4, 0)[0][:2] == drawn(2, 0)[0]  # fewer are the first of more
    assert len({tuple(row) for row in drawn(4, 0)}) == 1
    assert len({tuple(row) for row in drawn(4, 0, fresh=True)}) > 6
    with pytest.raises(ValueError, match=r"--shots 9: own has 8 rows that examples are drawn from"):
        drawn(9, 0)


def test_a_prompt_is_what_its_task_says_and_wrong_answers_are_wrong(write_task):
    task = open_task(write_task(description="Answer."))
    items, pool = read_items(task, with_examples=True)
    prompts = draw_prompts(task, items, pool, 2, 0, False, None)
    one, two = prompts.examples[0]
    expected = f"Answer.\n\n{one.prompt} {one.answer}\n\n{two.prompt} {two.answer}\n\n{items[0].prompt}"
    assert prompts.context(0, items[0].prompt) == expected
    assert items[0].blank == "Q: \nA:"
    for wrong, right in zip(prompts.with_wrong_answers(pool, 0).examples[0], (one, two), strict=True):
        assert wrong.prompt == right.prompt
        assert wrong.answer in right.options
        assert wrong.answer != right.answer


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"prompt": "{{ q"}, r"own.yaml:1: the recipe: prompt is '{{ q', which is not Jinja"),
        ({"prompt": "{{ question }}"}, r"eval.jsonl:1: prompt: 'question' is undefined; the row has the fields q, a"),
        ({"answer": "'kalo'"}, r"eval.jsonl:1: answer is 'kalo'; it is the number of an option from 0 to 1, its"),
        ({"answer": "'C'"}, r"answer is 'C'; .* from 0 to 1, its letter from A on, or its text$"),
        ({"answer": "''"}, r"answer is ''; .* a row without its answer cannot be scored: leave it out of the file"),
        ({"answer": "none"}, r"answer is None; .* a row without its answer cannot be scored"),
        ({"answer": "'ABCDE'.index('')"}, r"answer: an empty text is looked for in 'ABCDE'"),
        ({"answer": "'B' | int"}, r"eval.jsonl:1: answer: 'B' is no number"),
        ({"answer": "'0.5' | int"}, r"answer: '0.5' is no whole number"),
        ({"answer": "none | int"}, r"answer: None is no number"),
        ({"answer": "right ~ ''"}, r"answer is '0'; .* or its text; `\| int` makes it a number"),
        ({"options": "[a, a]", "answer": "a"}, r"several options have this text, so give the number"),
        ({"options": "[a]"}, r"it must be a list of two texts or more"),
        ({"options": "[a, ' ']"}, r"option 1 is ' '; it must be a text, and not empty$"),
        ({"options": "[a, other]"}, r"eval.jsonl:1: options: 'other' is undefined; the row has the fields"),
        ({"options": "[a, none] | map('string') | list"}, r"options: None is neither a text nor a number"),
        ({"options": None, "answer": "[a, ''] "}, r"answer is \['kala', ''\]; a free answer is a text, or a list"),
        ({"options": None, "answer": "[a] | string"}, r"answer: \['kala'\] is neither a text nor a number"),
        ({"options": "[right, 3]"}, r"option 0 is 0; .* not empty; of numbers  \| map\('string'\) \| list  makes"),
        ({"options": "a"}, r"options is 'kala'; it must be a list of two texts or more, none empty$"),
        ({"prompt": "Q: {q} {other}"}, r"eval.jsonl:1: prompt has \{q\}, which stands as it is; write \{\{ q \}\} for"),
        ({"options": None, "answer": "right"}, r"answer is 0; a free answer is a text, as `\| string` makes one"),
        ({"options": None, "answer": "a", "stop": "["}, r"stop is '\[', which is no regular expression"),
        ({"options": None, "answer": "q"  , "stop": " "}, r"'kala kala 0', which holds what ends an answer, stop: ' '"),
        ({"scored": 0}, r"eval.jsonl: the file is empty"),
        ({"options": "''.__class__"}, r"eval.jsonl:1: options: "),
        ({"hold_out": 3}, r"examples come from train, so hold_out does nothing: leave it out"),
        ({"options": None, "headline": "acc_norm"}, r"headline: acc_norm compares options, and the task has none"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_task_is_told(write_task, change, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_items(open_task(write_task(**change)), with_examples=False)


@pytest.mark.parametrize(
    "change",
    [
        {"options": None, "answer": "('9007199254740993' | int) | string"}, {"answer": "'1.0' | int"},
        {"answer": "'ab'[right]"}, {"answer": "'AB'.index('AB'[right])"}, {"options": None, "answer": "[a, b]"},
        {"answer": "((right + 1) | string | int) - 1"},
        {"answer": "[a, b][right]"}, {"options": "[1, 2] | map('string') | list"}, {"prompt": "{{ q }} {x}"},
        {"options": None, "answer": "right | string"},
    ],
)  # fmt: skip
def test_what_a_message_advises_is_read(write_task, change):
    items, _ = read_items(open_task(write_task(**change)), with_examples=False)
    assert len(items) == 12


def test_rows_of_parquet_have_all_their_columns(write_task, tmp_path):
    task = json.loads(Path(write_task()).read_text())
    table = pyarrow.Table.from_pylist([{**row, "self": 1} for row in rows(12)])
    pyarrow.parquet.write_table(table, tmp_path / "eval.parquet")
    (tmp_path / "own.yaml").write_text(
        json.dumps(task | {"eval": {"kind": "parquet", "path": str(tmp_path / "eval.parquet")}})
    )
    items, _ = read_items(open_task(str(tmp_path / "own.yaml")), with_examples=False)
    expected, _ = read_items(open_task(write_task()), with_examples=False)
    assert [replace(item, where="") for item in items] == [replace(item, where="") for item in expected]


def test_rows_of_a_zip_and_labels_of_a_file_are_read(write_task, tmp_path):
    path = write_task()
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        for name in ("b", "a"):
            content = "".join(json.dumps({**row, "of": name}) + "\r\n" for row in rows(2))
            archive.writestr(f"{name}.jsonl", f"\ufeff{content}\n")
    (tmp_path / "labels.lst").write_text("1\n0\n1\n1\n")
    task = json.loads((tmp_path / "own.yaml").read_text())
    task |= {"eval": {"kind": "jsonl", "path": str(tmp_path / "rows.zip")}, "labels": str(tmp_path / "labels.lst"),
             "answer": "label | int", "group": "of"}  # fmt: skip
    (tmp_path / "own.yaml").write_text(json.dumps(task))
    items, _ = read_items(open_task(path), with_examples=False)
    assert [(item.group, item.right) for item in items] == [("a", 1), ("a", 0), ("b", 1), ("b", 1)]
    (tmp_path / "labels.lst").write_text("1\n0\n1\n")
    with pytest.raises(ValueError, match=r"labels.lst has 3 lines, and .*rows.zip another number of rows"):
        read_items(open_task(path), with_examples=False)


def test_draws_that_are_all_alike_have_a_curve():
    """The mean of five times 0.49 is less than 0.49 where it is computed, and no bar of errors may be below 0."""
    scores = {shots: {"acc": spread([value] * 5)} for shots, value in (("0", 0.49), ("1", 0.11))}
    assert "<svg" in curve({"headline": "acc", "scores": scores, "baselines": {}})


def test_what_is_left_out_is_counted_and_labels_are_lines(write_task, tmp_path, models):
    path = write_task()
    task = json.loads(Path(path).read_text())
    rows_of_eval = (tmp_path / "eval.jsonl").read_text().splitlines()
    (tmp_path / "eval.jsonl").write_text("\n".join(["{broken", *rows_of_eval]) + "\n")
    task["eval"]["on_error"] = "skip"
    (tmp_path / "own.yaml").write_text(json.dumps(task))
    found = few_shot(models["gpt2"], open_task(path), Way(shots=(0,)))
    assert (found["rows"], found["left_out"]) == (12, {"rows not JSON": 1})
    assert "left out: 1 rows not JSON" in notes_of(found)
    task["eval"].pop("on_error")
    (tmp_path / "eval.jsonl").write_text("\n".join(rows_of_eval[:2]) + "\n")
    (tmp_path / "labels.lst").write_text("is not\nis\n\n")
    task |= {"labels": str(tmp_path / "labels.lst"), "options": "['is', 'is not']", "answer": "label"}
    (tmp_path / "own.yaml").write_text(json.dumps(task))
    items, _ = read_items(open_task(path), with_examples=False)
    assert [item.answer for item in items] == ["is not", "is"]


def test_a_prompt_that_needs_the_rows_content_has_no_control_without_it(write_task, models):
    task = open_task(write_task(prompt="{{ q.split(' ')[1] }} mo"))
    found = few_shot(models["gpt2"], task, Way(shots=(0,)))
    assert "content_free" not in found["scores"]["0"]
    assert any(note.startswith("0 examples: in 12 rows the prompt cannot be made without") for note in notes_of(found))


def test_examples_that_all_have_the_same_answer_have_no_wrong_one(write_task, models):
    task = open_task(write_task(options=None, answer="'kala'"))
    found = few_shot(models["gpt2"], task, Way(shots=(2,), seeds=1))
    assert list(found["scores"]["2"]) == ["acc"]


def test_any_of_several_free_answers_is_right(write_task, models):
    task = open_task(write_task(options=None, answer="[a, b ~ ' ']"))
    items, pool = read_items(task, with_examples=True)
    asked = FreeAnswers(models["gpt2"], task, Way(), items[:3], pool)
    first, second, third = rows(3)
    assert asked.right([first["a"], second["b"], third["q"]]) == [True, True, False]
    assert pool[0].answer == rows(1, 100)[0]["a"]  # an example has the first


def test_a_masked_model_is_asked_without_bos(write_task, masked):
    with pytest.raises(
        ValueError, match=r"--bos is for prompts of causal models, and .* is a masked one: leave it out"
    ):
        few_shot(masked, open_task(write_task()), Way(shots=(0,), bos=True))


# Answers and results


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_what_transformers_writes(models, beams):
    model = models["gpt2"]
    contexts = ["Kala mo:", "Q: kala mo tadi kala\nA:", "Kala " * 200]
    written, cut = write_answers(model, contexts, 3, "\n", beams, None)
    assert cut == 1
    for context, text in zip(contexts[:2], written, strict=False):
        ids = torch.tensor([model.encode(context)])
        newlines = [n for n in range(len(model.tokenizer)) if "\n" in model.tokenizer.decode([n]).strip(" ")]
        made = model.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, do_sample=False, num_beams=beams,
            eos_token_id=[model.tokenizer.eos_token_id, *newlines], pad_token_id=0,
            **({"length_penalty": 0.6} if beams > 1 else {}),
        )  # fmt: skip
        assert text == model.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).split("\n")[0].strip()


@pytest.mark.parametrize(
    ("text", "stop", "answer"),
    [(" 143\n\nQ: What", "\n", "143"), (" 21.", "\n", "21."), (" don't. And", r"[^\w'-]", "don't"), ("\nQ", "\n", "")],
)
def test_an_answer_ends_where_the_task_says(text, stop, answer):
    assert cut_answer(text, stop) == answer


def test_results_stand_beside_what_is_cheaper(models, write_task):
    task = open_task(write_task(group="a"))
    found = few_shot(models["gpt2"], task, Way(shots=(0, 2), seeds=3, untrained=True))
    assert found["baselines"].keys() == {"chance", "majority", "shortest", "longest", "untrained"}
    assert found["baselines"]["chance"] == found["baselines"]["majority"] == 0.5
    assert found["scores"]["0"].keys() == {"acc", "acc_per_token", "acc_norm", "acc_unconditional", "content_free"}
    assert found["scores"]["2"].keys() - found["scores"]["0"].keys() == {"wrong_answers"}
    assert [len(found["scores"][shots]["acc"]["seeds"]) for shots in ("0", "2")] == [1, 3]
    groups = found["groups"].values()
    assert sum(group["rows"] for group in groups) == 12
    assert sum(group["accuracy"] * group["rows"] for group in groups) / 12 == pytest.approx(
        found["scores"]["0"]["acc"]["mean"], abs=1e-3
    )
    assert found == few_shot(models["gpt2"], task, Way(shots=(0, 2), seeds=3, untrained=True))


def test_an_order_of_options_that_says_nothing_has_no_majority(models, write_task):
    found = few_shot(models["gpt2"], open_task(write_task(answer="0")), Way(shots=(0,)))
    assert "majority" not in found["baselines"]


def test_a_draw_between_options_is_no_right_answer(models, write_task, tmp_path):
    """As in BLiMP: sentences alone, as long as each other in half of the rows, the right one always the first."""
    rows = [{"good": "Kala mo", "bad": "Kala du"}, {"good": "Kala mo tadi", "bad": "Kala du"}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in 2 * rows))
    path = write_task(
        eval={"kind": "jsonl", "path": str(tmp_path / "pairs.jsonl")}, prompt="", delimiter="",
        options="[good, bad]", answer="0", unconditional="", headline="acc",
    )  # fmt: skip
    found = few_shot(models["gpt2"], open_task(path), Way(shots=(0,)))
    assert (found["baselines"]["shortest"], found["baselines"]["longest"]) == (0.25, 0.75)
    assert found["scores"]["0"].keys() == {"acc", "acc_per_token", "acc_norm"}


def test_the_program_writes_a_table_a_file_and_a_page(models, masked, write_task, tmp_path, launch_program):
    argv = (models["gpt2"].name, masked.name, "--task", write_task(), "--shots", "0", "2", "--seeds", "2")
    ended = launch_program(main, tmp_path, *argv, "--output", "out")
    assert ended.status == 0, ended.said
    for word in ("without content", "wrong answers", "chance 50.0%", "headline"):
        assert word in ended.said
    results = json.loads((tmp_path / "out/few-shot.json").read_text())
    assert [found["model"] for found in results] == [models["gpt2"].name, masked.name]
    page = (tmp_path / "out/few-shot.html").read_text()
    assert page.count("<svg") == 2
    assert "Q: kala kala 0" in page
    free = write_task(options=None, answer="a")
    ended = launch_program(main, tmp_path, models["lstm"].name, "--task", free, "--shots", "1", "--format", "json")
    assert ended.status == 0, ended.said
    (found,) = json.loads(ended.said[ended.said.index("[") :])
    assert found["scores"]["1"].keys() == {"acc", "wrong_answers"}


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ((), "name a model, or several"),
        (("MODEL",), "--task names a task, or several, such as --task arc_easy piqa"),
        (("MODEL", "--task", "arc"), "no task 'arc'; give a recipe (.yaml), or one of arc_easy, blimp, csqa, lambada"),
        (("MODEL", "--task", "OWN", "--shots", "1", "1"), "--shots are numbers of examples from 0 up, each once"),
        (("MODEL", "runs/nowhere", "--task", "OWN", "--shots", "0"), "error: no model runs/nowhere: "),
        (("MODEL", "--task", "OWN", "--shots", "0", "--output", "own.yaml"), "File exists: 'own.yaml'"),
        (("MODEL", "--task", "OWN", "--shots", "60"), "--shots 60: own has 8 rows that examples are drawn from"),
        (("MASKED", "--task", "FREE", "--shots", "0"), "is a masked language model, and own wants answers that are"),
    ],
)
def test_a_mistake_is_told(models, masked, write_task, tmp_path, launch_program, argv, complaint):
    named = {"MODEL": models["gpt2"].name, "MASKED": masked.name}
    named |= {"OWN": write_task()} if "OWN" in argv else {"FREE": write_task(options=None, answer="a")}
    ended = launch_program(main, tmp_path, *(named.get(word, word) for word in argv))
    assert ended.status == 2, ended.said
    assert complaint in ended.said
    assert "Traceback" not in ended.said
