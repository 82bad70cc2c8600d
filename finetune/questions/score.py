"""Which score does a text have, or a pair of texts?  Regression: STS-B, Devlin et al. 2019, section 4.1."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset, Value
from torch import Tensor, nn
from transformers import PreTrainedConfig

from engine.train.batch import Batch
from finetune.ask.playground.markup import table
from finetune.questions.encoding import Columns, Predictions, round_probability
from finetune.questions.label import TextQuestion, is_regression
from finetune.questions.own_answers import TEXTS, OwnAnswers
from finetune.table import sections as page
from finetune.tasks.fields import Fields, is_number, to_text
from finetune.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST = float(np.finfo(np.float32).max)  # that a network can hold


class OwnScores(OwnAnswers):
    """Numbers."""

    name = "regression"
    columns = TEXTS
    metric = "correlations"
    headline = "spearmanr"

    def read(self, value: Any, row: Fields) -> float:
        try:
            score = float(to_text(value))
        except ValueError:
            point = str(value).strip().replace(",", ".")
            hint = f"; a number has a decimal point: {point}" if is_number(point) else ""
            raise ValueError(f"the score {value!r} is no number{hint}") from None
        if not abs(score) <= LARGEST:
            raise ValueError(f"the score {value!r} is not finite")
        return score

    def feature(self, labels: Sequence[str]) -> Value:
        return Value("float32")


class Score(TextQuestion):
    """One number for a text or a pair; squared error."""

    name = "regression"
    problem_type = "regression"
    dtype = np.float64
    own = (OwnScores(),)
    page_title = "Score"

    def fits(self, config: PreTrainedConfig) -> bool:
        return super().fits(config) and is_regression(config)

    def decode(self, outputs: Sequence[Any]) -> Predictions:
        return Predictions(np.asarray(outputs, self.dtype))

    def target(self, columns: Columns, index: Sequence[int], width: int) -> dict[str, Tensor]:
        return {"label": torch.tensor([columns["label"][row] for row in index], dtype=torch.float32)}  # (B,)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        score = model(**batch.x).logits.float().squeeze(-1)  # (B,)
        return {"loss": nn.functional.mse_loss(score, batch.y["label"], reduction="sum")}

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """The score."""
        return model(**batch.x).logits.float().squeeze(-1).tolist()

    def guess(self, task: Task, train: Dataset, rows: Dataset) -> Any:
        """The mean, which has the least squared error (and no correlation with anything)."""
        return np.full(len(rows), np.mean(train["label"][:]))

    def format_answers(self, task: Task, predictions: Predictions, rows: Sequence[Fields]) -> Iterator[Fields]:
        for answer in predictions.answers:
            yield {"prediction": round_probability(answer)}

    def describe_answers(self, task: Task, table: Dataset) -> str:
        low, quarter, middle, three, high = np.quantile(table["label"][:], [0, 0.25, 0.5, 0.75, 1])
        return f"from {low:g} to {high:g}; quartiles {quarter:g}, {middle:g}, {three:g}"

    def sections(self, task: Task, rows: Dataset, predictions: Predictions) -> list[page.Section]:
        right, answers = np.asarray(rows["label"][:]), np.asarray(predictions.answers)
        errors = np.abs(right - answers)
        mistakes = [
            page.Mistake(
                rows["id"][row], f"{right[row]:.2f}", f"{answers[row]:.2f}", "", page.list_texts(task, rows[row])
            )
            for row in np.argsort(-errors, kind="stable")[: page.WORST].tolist()
        ]

        def draw(axes: "Axes", ink: str) -> None:
            axes.scatter(right, answers, s=9, alpha=0.35, color="#3b82f6", linewidths=0)
            axes.plot([right.min(), right.max()], [right.min(), right.max()], linestyle="--", linewidth=1, color=ink)
            axes.set(xlabel="right score", ylabel="model's score")

        return [
            page.Section(
                "Scores", f"Mean distance from the right score: {errors.mean():.3f}.", drawing=page.draw_svg(draw)
            ),
            page.by_length(task, rows, errors, "mean error", percent=False),
            page.Section("The largest errors", mistakes=mistakes),
        ]

    def show(self, answer: Fields) -> str:
        return table(["score"], [[f"{answer['prediction']:.3f}"]])
