"""Is every row seen once a pass, in an order of its own, among rows of its length, and laid out as it was?"""

import numpy as np
import pytest
import torch

from finetune.batches import LabelledEpoch, make_evaluation_batches, pad_examples
from finetune.questions import QUESTIONS

NUM_ROWS, BATCH = 1003, 16
LENGTHS = np.random.default_rng(0).geometric(0.03, NUM_ROWS) + 3
COLUMNS = {
    "input_ids": [np.full(length, row + 1) for row, length in enumerate(LENGTHS)],
    "label": np.arange(NUM_ROWS),
}


def epoch(number=0, seed=0, columns=COLUMNS):
    return LabelledEpoch(columns, QUESTIONS["classification"], 0, BATCH, seed, number)


def padding(order):
    """The share of padding in the batches of an order."""
    batches = [LENGTHS[order[start : start + BATCH]] for start in range(0, len(order), BATCH)]
    return 1 - LENGTHS.sum() / sum(len(lengths) * lengths.max() for lengths in batches)


class Tokens:
    pad_token_id = 0


def test_every_row_is_seen_once_a_pass():
    for number in (0, 1):
        assert sorted(epoch(number).order) == list(range(NUM_ROWS))


def test_the_order_is_a_function_of_seed_and_pass():
    assert (epoch(3, seed=1).order == epoch(3, seed=1).order).all()
    orders = [epoch(number, seed).order for number, seed in ((0, 0), (1, 0), (0, 1))]
    companies = [{frozenset(order[start : start + BATCH]) for start in range(0, 992, BATCH)} for order in orders]
    for one, other in ((0, 1), (0, 2)):
        assert (orders[one] != orders[other]).mean() > 0.9
        assert len(companies[one] & companies[other]) < 5  # which rows meet changes too


def test_like_lengths_stand_together_and_no_length_comes_first():
    by_chance = padding(np.random.default_rng(0).permutation(NUM_ROWS))
    assert by_chance > 0.5
    assert padding(epoch().order) < 0.15
    longest = np.array([LENGTHS[epoch(number).order[: 62 * BATCH]].reshape(62, BATCH).max(1) for number in range(20)])
    assert longest[:, :31].mean() == pytest.approx(longest[:, 31:].mean(), rel=0.15)


@pytest.mark.parametrize("num_rows", [1, 15, 16, 17])
def test_a_small_data_set_is_a_pass_too(num_rows):
    few = {name: column[:num_rows] for name, column in COLUMNS.items()}
    assert sorted(epoch(columns=few).order) == list(range(num_rows))


def test_a_batch_holds_its_rows_with_their_labels():
    index = np.array([5, 900, 17])
    batch = epoch().batch(index)
    assert batch.x["input_ids"].shape == (3, -(-LENGTHS[index].max() // 8) * 8)
    for ids, mask, row in zip(batch.x["input_ids"], batch.x["attention_mask"], index, strict=True):
        assert mask.sum() == LENGTHS[row]
        assert (ids == torch.where(mask == 1, row + 1, 0)).all()
    assert batch.y["label"].tolist() == index.tolist()
    assert batch.counts == {"loss": 3}
    assert batch.num_units == LENGTHS[index].sum()


def test_segments_are_padded_with_0_and_ids_with_the_padding_token():
    columns = {
        "input_ids": [np.array([4, 5, 6]), np.array([7])],
        "token_type_ids": [np.array([0, 1, 1]), np.array([1])],
    }
    x = pad_examples(columns, np.array([0, 1]), pad=9, longest=3)
    assert x["input_ids"].tolist() == [[4, 5, 6], [7, 9, 9]]
    assert x["token_type_ids"].tolist() == [[0, 1, 1], [1, 0, 0]]
    assert x["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_evaluation_takes_every_row_once_and_knows_which():
    """The longest come first, so that memory is short at once or never."""
    batches, rows = make_evaluation_batches(COLUMNS, Tokens(), BATCH)
    assert sorted(rows) == list(range(NUM_ROWS))
    assert [int(ids[0]) - 1 for batch in batches for ids in batch.x["input_ids"]] == rows.tolist()
    widths = [batch.x["input_ids"].shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)
    assert not any(batch.y or batch.counts for batch in batches)


def test_widths_are_few_and_little_is_rounded_up():
    """A kernel is compiled for each width; the longest example has its positions, and no more."""
    columns = {"input_ids": [np.ones(length, np.int64) for length in range(1, 300)]}
    widths = [pad_examples(columns, np.array([row]), 0, longest=299)["input_ids"].shape[1] for row in range(299)]
    assert len(set(widths)) <= 50
    assert max(widths) == 299
    assert all(length <= width <= 9 / 8 * length for length, width in zip(range(1, 300), widths, strict=True))
