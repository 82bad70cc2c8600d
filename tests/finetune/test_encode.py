"""Are ids, labels and windows where the rows say, and are answers read back from them?"""

from itertools import pairwise

import numpy as np
import pytest
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from finetune.ask.predict_split import encode
from finetune.questions import QUESTIONS
from finetune.questions.encoding import NO_LABEL
from finetune.tasks.task import DataSource, find_task

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.?$"


@pytest.fixture(scope="module")
def bert():
    """A WordPiece tokenizer that knows letters only: a token a letter, lower case, accents stripped."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    ids = {token: id_ for id_, token in enumerate(vocabulary)}
    inner = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=1000))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


@pytest.fixture(scope="module")
def gpt():
    """A byte-level BPE tokenizer without merges, which like GPT-2's adds no special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({token: id_ for id_, token in enumerate(["<|endoftext|>", *alphabet])}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.ByteLevel(trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|endoftext|>", model_input_names=["input_ids", "attention_mask"]
    )


def text_of(tokenizer, ids):
    return tokenizer.decode(ids).replace(" ##", "").replace(" ", "")


class TestText:
    def test_a_pair_is_framed_and_its_longer_text_cut(self, bert):
        rows = Dataset.from_dict({"sentence1": ["abcdefgh"], "sentence2": ["xyz"], "label": [1]})
        encoded = encode(find_task("glue/rte"), rows, bert, max_length=10)
        assert text_of(bert, encoded.columns["input_ids"][0]) == "[CLS]abcd[SEP]xyz[SEP]"
        assert encoded.columns["token_type_ids"][0].tolist() == [0] * 6 + [1] * 4
        assert encoded.columns["label"].tolist() == [1]
        assert encoded.columns["input_ids"][0].dtype == np.int32

    def test_a_test_split_has_no_label(self, bert):
        rows = Dataset.from_dict({"sentence": ["ab"]})
        assert set(encode(find_task("glue/cola"), rows, bert, 16).columns) == {"input_ids", "token_type_ids"}

    def test_scores_stay_numbers(self, bert):
        rows = Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"], "label": [2.5]})
        encoded = encode(find_task("glue/stsb"), rows, bert, 16)
        assert encoded.columns["label"].tolist() == [2.5]
        assert encoded.decode([1.5]).answers.dtype == np.float64

    def test_more_rows_than_one_call_takes(self, bert):
        rows = Dataset.from_dict({"sentence": ["ab"] * 1000 + ["abc"], "label": [0] * 1001})
        columns = encode(find_task("glue/cola"), rows, bert, 16).columns
        assert [len(ids) for ids in columns["input_ids"]] == [4] * 1000 + [5]

    def test_no_room_is_an_error(self, bert):
        rows = Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"]})
        with pytest.raises(ValueError, match="max_seq_length 5 leaves 2 tokens for sentence1 and sentence2"):
            encode(find_task("glue/rte"), rows, bert, 5)


class TestWords:
    def rows(self):
        return Dataset.from_dict({"words": [["EU", "hat", "."], ["x"]], "label": [[3, 0, 0], [5]]})

    @pytest.mark.parametrize("name", ["bert", "gpt"])
    def test_a_tag_stands_at_the_first_token_of_its_word(self, name, request):
        tokenizer = request.getfixturevalue(name)
        columns = encode(find_task("conll2003"), self.rows(), tokenizer, 32).columns
        labels, ids = columns["labels"][0], columns["input_ids"][0]
        assert len(labels) == len(ids)
        assert labels[labels != NO_LABEL].tolist() == [3, 0, 0]
        firsts = [tokenizer.decode([id_]).strip() for id_ in ids[labels != NO_LABEL]]
        # A blank is a byte, so a token, of its own here: it does not begin the word that follows it.
        assert firsts == (["e", "h", "."] if name == "bert" else ["E", "h", "."])

    def test_a_word_without_a_token_is_lost_and_outside(self, bert):
        rows = Dataset.from_dict({"words": [["ab", "\xad", "cd", "ef"]], "label": [[1, 3, 5, 7]]})
        encoded = encode(find_task("conll2003"), rows, bert, max_length=6)  # [CLS] a b c d [SEP]
        assert encoded.num_lost == 2  # the soft hyphen, which the normalizer drops, and what is beyond the length
        assert encoded.columns["labels"][0].tolist() == [NO_LABEL, 1, NO_LABEL, 5, NO_LABEL, NO_LABEL]
        padded = np.array([9, 1, 9, 5, 9, 9, 9, 9])
        assert encoded.decode([np.eye(10)[padded]]).answers[0].tolist() == [1, 0, 5, 0]

    @pytest.mark.slow
    def test_real_tags_survive_the_way_there_and_back(self, data, bert):
        task = find_task("conll2003")
        rows = task.load(DataSource("folder", str(data / "conll2003")))["dev"].select(range(300))
        encoded = encode(task, rows, bert, 512)
        assert encoded.num_lost == 0
        tags = [np.eye(len(task.labels))[np.where(labels < 0, 0, labels)] for labels in encoded.columns["labels"]]
        assert [found.tolist() for found in encoded.decode(tags).answers] == rows["label"][:]


def span_rows(context, answer, question="who?"):
    answers = [{"text": [answer], "answer_start": [context.index(answer)]}]
    return Dataset.from_dict({"id": ["q"], "question": [question], "context": [context], "answers": answers})


def oracle(encoded):
    """Logits that are high at the answer."""
    columns = encoded.columns
    return [
        tuple(np.where(np.arange(len(ids) + 3) == place, 9.0, 0.0).astype(np.float32) for place in pair)
        for ids, *pair in zip(columns["input_ids"], columns["start"], columns["end"], strict=True)
    ]


class TestWindows:
    @pytest.mark.parametrize("name", ["bert", "gpt"])
    def test_an_answer_is_found_again_in_the_original_letters(self, name, request):
        rows = span_rows("Où est l'Élysée ? À  Paris, dit-on.", "À  Paris")
        encoded = encode(find_task("squad/v1.1"), rows, request.getfixturevalue(name), 64)
        assert len(encoded.columns["input_ids"]) == 1
        assert encoded.decode(oracle(encoded)).answers == {"q": "À  Paris"}

    def test_a_long_context_becomes_windows_that_overlap(self, bert):
        context = "".join(str(number % 10) for number in range(100))
        encoded = encode(find_task("squad/v1.1"), span_rows(context, "5678"), bert, 32)
        texts = [text_of(bert, ids)[len("[CLS]who?[SEP]") : -len("[SEP]")] for ids in encoded.columns["input_ids"]]
        assert len(texts) > 3
        assert all(text in context for text in texts)
        # 32 less 3 special tokens: 14 for a question, 15 left, and half of these are shared.
        assert all(left[-7:] == right[:7] for left, right in pairwise(texts))
        merged = texts[0] + "".join(text[7:] for text in texts[1:])
        assert merged == context

    def test_only_windows_with_the_whole_answer_are_trained_on(self, bert):
        context = "".join(str(number % 10) for number in range(90)) + "answer" + "0" * 50
        encoded = encode(find_task("squad/v1.1"), span_rows(context, "answer"), bert, 32)
        start, end = np.array(encoded.columns["start"]), np.array(encoded.columns["end"])
        held = start != NO_LABEL
        assert 0 < held.sum() < len(held)
        assert (held == (end != NO_LABEL)).all()
        taught = QUESTIONS["span"].trainable(encoded.columns)
        for ids, first, last in zip(*(taught[name] for name in ("input_ids", "start", "end")), strict=True):
            assert text_of(bert, ids[first : last + 1]) in ("answer", "##answer")
        assert len(taught["input_ids"]) == held.sum()
        assert encoded.decode(oracle(encoded)).answers == {"q": "answer"}

    def test_a_long_question_is_cut(self, bert):
        encoded = encode(find_task("squad/v1.1"), span_rows("the cat", "cat", question="why" * 100), bert, 32)
        assert text_of(bert, encoded.columns["input_ids"][0]) == "[CLS]" + ("why" * 5)[:14] + "[SEP]thecat[SEP]"

    def test_a_context_without_tokens_has_an_empty_answer(self, bert):
        rows = Dataset.from_dict({"id": ["q"], "question": ["who?"], "context": ["\xad"]})
        encoded = encode(find_task("squad/v1.1"), rows, bert, 32)
        assert encoded.decode([(np.zeros(9), np.zeros(9))]).answers == {"q": ""}

    def test_real_answers_are_found_again(self, data, bert):
        task = find_task("squad/v1.1")
        files = {"train": "train-v1.1.part.json", "dev": "dev-v1.1.part.json"}
        rows = task.load(DataSource("folder", str(data / "squad"), files=files))["dev"].select(range(200))
        # Of the answers that are short enough: here a letter is a token.
        short = [row for row, answers in enumerate(rows["answers"]) if len(answers["text"][0]) <= 24]
        rows = rows.select(short)
        encoded = encode(task, rows, bert, 384)
        assert len(encoded.columns["input_ids"]) > len(rows)
        found = encoded.decode(oracle(encoded)).answers
        assert found == {row["id"]: row["answers"]["text"][0] for row in rows}
