"""Which columns of a file is a model given?  The option --columns, else names that files usually have."""

from collections.abc import Sequence

from finetune.questions.question import Layout, Question
from finetune.tasks.files import Inputs

IDS = ("id", "index")


def choose_layout(inputs: Inputs, question: Question, option: Sequence[str], own: Sequence[str]) -> tuple[Layout, str]:
    """Which columns of a file the model is given, and which holds the rows' ids ("": none).

    `option` ("text=review") decides; without it a task's own columns, if there are any; else the usual names, if the
    file has those of just one layout. Errors: ValueError, with the columns.
    """
    chosen = dict(split_pair(text) for text in option)
    allowed = {tuple(layout): " ".join(f"{name}=COLUMN" for name in layout) for layout in question.layouts}
    advice = f"say --columns {' or '.join(allowed.values())}"
    held = f"the columns of {inputs.name} are {', '.join(inputs.columns)}"
    if unknown := [column for column in list_columns(chosen) if column not in inputs.columns]:
        raise ValueError(f"--columns names {unknown[0]!r}, but {held}")
    id_column = chosen.pop("id", next((name for name in IDS if name in inputs.columns), ""))
    if chosen:
        names = next((names for names in allowed if set(names) == set(chosen)), None)
        if names is None:
            raise ValueError(f"--columns says what is {' and '.join(chosen)}; {advice}")
        return {name: chosen[name] for name in names}, id_column
    layouts = list_layouts(question, own)
    found = [layout for layout in layouts if set(list_columns(layout)) <= set(inputs.columns)]
    if own and layouts[0] in found:
        return layouts[0], id_column
    fullest = [a for a in found if not any(set(list_columns(a)) < set(list_columns(b)) for b in found)]
    if len(fullest) != 1:
        which = " or ".join(" with ".join(layout.values()) for layout in fullest or layouts)
        trouble = "it is not plain what to read" if fullest else "none has a usual name"
        raise ValueError(f"{held}: {trouble} ({which}); {advice}")
    return fullest[0], id_column


def list_columns(layout: Layout) -> list[str]:
    """The columns that a layout reads; choices may stand in several, separated by commas."""
    return [column for name, value in layout.items() for column in (value.split(",") if name == "choices" else [value])]


def list_layouts(question: Question, own: Sequence[str]) -> list[Layout]:
    """The layouts that a file may have, a task's own names first."""
    if not own:
        return list(question.layouts)
    alike = [layout for layout in question.layouts if len(question.columns(layout)) == len(own)]
    first = dict(zip(alike[0], own, strict=True))
    return [first, *(layout for layout in alike if layout != first)]


def split_pair(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not equals:
        raise ValueError(f"--columns is given {text!r}; expected NAME=COLUMN, such as text=review")
    return name, column
