"""The kinds of question, in the order of the playground's tabs. A new one is a file beside these, named here."""

from finetune.questions.choice import Choice
from finetune.questions.label import Label
from finetune.questions.question import Question
from finetune.questions.score import Score
from finetune.questions.span import SpanQuestion
from finetune.questions.tags import Tags

KINDS: tuple[Question, ...] = (Label(), Score(), SpanQuestion(), Tags(), Choice())
QUESTIONS = {question.name: question for question in KINDS}
