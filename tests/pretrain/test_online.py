"""Does it show, while a network is pretrained, what its features are worth, and that they have collapsed?"""

import numpy as np
import pytest
import torch

from corpus.images.medium import Images
from corpus.images.pictures import PictureChapter
from corpus.medium import OpenCorpus
from engine.run.runtime import make_accelerator
from engine.train.plan import Plan
from networks.pictures import PretextModel, make_trunk
from pretrain.online_probe import OnlineProbe, in_words, is_due

SMALL = {"embedding_size": 16, "hidden_sizes": [16], "depths": [1], "layer_type": "basic"}


class Coloured:
    """Pictures 0 .. 119, under noise: every third one is reddish, greenish or bluish; only some have labels."""

    classes = ("red", "green", "blue")

    def __init__(self, labelled: int):
        self.labels = np.where(np.arange(120) % 120 < labelled, np.arange(120) % 3, -1)

    def __len__(self) -> int:
        return 120

    def load(self, index, least=0):
        found = []
        for number in index:
            pixels = np.random.default_rng(number).integers(0, 120, (16, 20, 3))
            pixels[:, :, number % 3] += 100
            found.append(pixels.astype(np.uint8))
        return found


class Part:
    def __init__(self, pictures: Coloured, members: np.ndarray):
        self.pictures, self.members = pictures, members

    def chapter(self, epoch, number, cursor):
        return PictureChapter(self.pictures, self.members)


def probe_of(labelled: int, model) -> OnlineProbe | None:
    pictures, order = Coloured(labelled), np.random.default_rng(0).permutation(120)
    corpus = OpenCorpus(Part(pictures, order[:80]), Part(pictures, order[80:]), "", [])
    return OnlineProbe.of(Images(), corpus, model, 16, seed=0)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PretextModel(*make_trunk(SMALL, 16)).eval()


def test_labelled_pictures_tell_what_features_are_worth(model):
    found = probe_of(120, model).measure(model, make_accelerator(0))
    assert found["eval_knn_accuracy"] > 0.8
    assert found["eval_linear_accuracy"] > 0.8
    assert found["baseline_knn_accuracy"] == found["baseline_linear_accuracy"] < 0.5
    assert 1 < found["eval_effective_rank"] <= 16
    assert 0.1 < found["eval_feature_spread"] < 1
    assert "knn_accuracy" in in_words(found)[0]
    assert "collapsed" not in in_words(found)[1]


def test_without_labels_rank_and_spread_are_told_alone(model):
    for labelled in (0, 30):
        assert set(probe_of(labelled, model).measure(model, make_accelerator(0))) == {
            "eval_effective_rank", "eval_feature_spread",
        }  # fmt: skip


def test_a_network_that_gives_all_pictures_the_same_features_is_said_to_have_collapsed(model):
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(0.5 if name.endswith("bias") else 0.0)
    found = probe_of(120, model).measure(model, make_accelerator(0))
    assert found["eval_effective_rank"] < 1.01
    assert found["eval_feature_spread"] < 1e-3
    assert "collapsed" in in_words(found)[-1]


def test_what_has_no_trunk_of_pictures_is_not_looked_at():
    assert probe_of(120, torch.nn.Linear(2, 2)) is None
    assert in_words({"eval_place_accuracy": 0.5}) == []


def test_features_are_looked_at_in_every_third_evaluation_and_in_the_last():
    batches = {"global_batch_size": 4, "per_device_train_batch_size": 4}
    by_steps = Plan(max_steps=50, eval_steps=10, **batches)
    assert [step for step in (10, 20, 30, 40, 50) if is_due(step, by_steps, 3)] == [30, 50]
    by_time = Plan(minutes=1, eval_steps=10, **batches)  # it ends after step 57
    assert [step for step in (10, 20, 30, 40, 50, 57) if is_due(step, by_time, 3)] == [30, 57]
    assert is_due(57, Plan(minutes=1, **batches), 3)  # which is the only evaluation
    assert not is_due(50, by_steps, 0)
