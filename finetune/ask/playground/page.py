"""How does the page look?  A tab for each thing that a model can do, one to compare two, one to look inside."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
from starlette.middleware import Middleware

from finetune.ask.playground import facts, inside
from finetune.ask.playground.boxes import Box, Drop, Number, Stage, Text
from finetune.ask.playground.examples import example_for
from finetune.ask.playground.guard import HERE, LOCAL, Guard, Names
from finetune.ask.playground.markup import STYLE, table, with_title
from finetune.ask.playground.models import LoadedModel
from finetune.ask.playground.pictures import DROP, PICK, TAKE, example_picture
from finetune.ask.playground.views import VIEWS, View

# The system's own letters: the page asks no other machine for anything.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
FEW = 3  # models whose facts are open at first
CAT = "The cat [MASK] on the mat because it was tired."
INSIDE = Text("Text", CAT, without_gap=CAT.replace("[MASK]", "sat"))
INSIDE_PAIR = Text("Second text, for pairs", "It fell asleep there.", 1, for_pairs=True)
CHOOSE = """element.addEventListener("click", event => {
  const tile = event.target.closest("button[data-row]");
  if (tile) trigger("click", {layer: 1 + Number(tile.dataset.row), head: Number(tile.dataset.column)});
});"""


def page(models: Sequence[LoadedModel]) -> gr.Blocks:
    by_name = {loaded.name: loaded for loaded in models}
    with gr.Blocks(title="Cloze playground", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown("# Cloze playground")
        with gr.Accordion("The models", open=len(models) <= FEW):
            rows = [facts.describe(loaded, [VIEWS[name].title for name in loaded.abilities]) for loaded in models]
            gr.HTML(table(facts.HEAD, rows, "facts"), elem_classes=["models", "tables"])
        for ability, view in VIEWS.items():
            able = [loaded.name for loaded in models if ability in loaded.abilities]
            if able:
                with gr.Tab(view.title):
                    lay_out_view(view, by_name, able, 1)
        shared = {
            view.title: (view, names)
            for ability, view in VIEWS.items()
            if len(names := [loaded.name for loaded in models if ability in loaded.abilities]) > 1
        }
        if shared:
            with gr.Tab("Compare"):
                for title, (view, names) in shared.items():
                    with gr.Tab(title):
                        lay_out_view(view, by_name, names, 2)
        if readers := {loaded.name: loaded for loaded in models if loaded.reads_texts}:
            with gr.Tab("Look inside"):
                lay_out_inside(readers)
    return blocks


def lay_out_view(view: View, by_name: dict[str, LoadedModel], names: list[str], places: int) -> None:
    """What a person fills in, and beside it the answer of one model or of two."""
    with gr.Row():
        with gr.Column():
            chosen = [
                gr.Dropdown(names, value=names[place], label="Model" if places == 1 else f"Model {place + 1}")
                for place in range(places)
            ]
            asked = [by_name[name] for name in names[:places]]
            fields = [make_box(field, asked) for field in view.fields]
            button = gr.Button(view.title, variant="primary")
        answers = [gr.HTML(elem_classes=["answer", "tables"], js_on_load=PICK) for _ in range(places)]

    def ask(name: str, *values: Any) -> Iterator[str]:
        for answer in view.ask(by_name[name], *values):
            yield answer if places == 1 else with_title(name, answer)

    for field, box in zip(view.fields, fields, strict=True):
        if isinstance(field, Text):
            gr.on([choice.change for choice in chosen], partial(refill, field, by_name), [box, *chosen], box)
        if isinstance(field, Stage):
            gr.on([choice.change for choice in chosen], partial(offer_anew, by_name), chosen, box)
    asking = [button.click, *(field.submit for field in fields if isinstance(field, gr.Textbox))]
    boxes = [box for field, box in zip(view.fields, fields, strict=True) if isinstance(field, Drop)]
    if boxes:  # a picture is answered as soon as it is there
        asking += [field.release if isinstance(field, gr.Slider) else field.input for field in fields]
    picks = [gr.on([answer.click for answer in answers], pick_picture, None, box, show_progress="hidden")
             for box in boxes]  # fmt: skip
    for choice, answer in zip(chosen, answers, strict=True):
        for start in (partial(gr.on, asking), *(pick.then for pick in picks)):
            start(explain_errors(ask), [choice, *fields], answer, show_progress="minimal", show_progress_on=button)


def lay_out_inside(by_name: dict[str, LoadedModel]) -> None:
    """Attention, of all heads and of one, and what each layer would guess."""
    names = list(by_name)
    first = by_name[names[0]]
    with gr.Row():
        with gr.Column(scale=1):
            name = gr.Dropdown(names, value=names[0], label="Model")
            text, pair = (make_box(field, [first]) for field in (INSIDE, INSIDE_PAIR))
            layer, head = (gr.Slider(**bounds, step=1) for bounds in bound_sliders(first, 1, 0))
            show_attention = gr.Button("Show attention", variant="primary")
            show_layers = gr.Button("Show each layer's guess")
        with gr.Column(scale=2):
            heads = gr.HTML(elem_classes=["answer", "tables"], js_on_load=CHOOSE)
            answer = gr.HTML(elem_classes=["answer", "tables"])

    def look(name: str, *values: Any) -> Iterator[tuple[str, str]]:
        yield inside.all_heads(by_name[name], *values), inside.attention(by_name[name], *values)

    def guess(name: str, text: str) -> Iterator[tuple[str, str]]:
        yield "", inside.by_layer(by_name[name], text)

    def fit(name: str, text: str, pair: str, layer: float, head: float) -> list[Any]:
        boxes = [refill(field, by_name, written, name) for field, written in ((INSIDE, text), (INSIDE_PAIR, pair))]
        return [*boxes, *(gr.update(**bounds) for bounds in bound_sliders(by_name[name], layer, head)), "", ""]

    asked, shown = [name, text, pair, layer, head], [heads, answer]
    show = {"show_progress": "minimal", "show_progress_on": show_attention}
    name.change(fit, asked, [text, pair, layer, head, *shown], show_progress="hidden")
    gr.on([show_attention.click, layer.release, head.release], explain_errors(look), asked, shown, **show)
    heads.click(choose_head, None, [layer, head], show_progress="hidden").then(
        explain_errors(look), asked, shown, **show
    )
    show_layers.click(explain_errors(guess), [name, text], shown, show_progress="minimal", show_progress_on=show_layers)


def choose_head(event: gr.EventData) -> tuple[int, int]:
    """The layer and the head of the small picture that was clicked."""
    return event.layer, event.head


def pick_picture(event: gr.EventData) -> str:
    """The picture that was clicked in an answer."""
    return str(event.picture)


def offer_anew(by_name: dict[str, LoadedModel], *names: str) -> Any:
    """The stages as they are for other models."""
    return gr.update(**offer([by_name[name] for name in names]))


def offer(models: Sequence[LoadedModel]) -> dict[str, Any]:
    """The stages of these models, and the last one of the first model as what is chosen."""
    stages = [loaded.trunk.stages for loaded in models if loaded.trunk]
    return {"choices": list(dict.fromkeys(stage for each in stages for stage in each)), "value": stages[0][-1]}


def bound_sliders(loaded: LoadedModel, layer: float, head: float) -> list[dict[str, Any]]:
    """The sliders for a layer and a head, within what the model has; none for a model without attention."""
    layers, heads = max(1, loaded.num_layers), loaded.num_heads
    there = heads > 0
    return [
        {
            "minimum": 1,
            "maximum": layers,
            "value": min(layer, layers),
            "label": f"Layer, of {layers}",
            "visible": there,
        },
        {
            "minimum": 0,
            "maximum": heads,
            "value": min(head, heads),
            "label": f"Head, of {heads} (0: their mean)",
            "visible": there,
        },
    ]


def make_box(field: Box, models: Sequence[LoadedModel]) -> Any:
    """What a person fills in, with an example in it."""
    if isinstance(field, Number):
        return gr.Slider(field.low, field.high, field.value, step=field.step, label=field.label)
    if isinstance(field, Drop):
        return gr.HTML(example_picture(), label=field.label, html_template=DROP, js_on_load=TAKE)
    if isinstance(field, Stage):
        return gr.Dropdown(**offer(models), label=field.label)
    return gr.Textbox(**fill(field, models), label=field.label, lines=field.lines)


def refill(field: Text, by_name: dict[str, LoadedModel], written: str, *names: str) -> Any:
    """The field as it is for other models: with their example, unless somebody has written something else."""
    new = fill(field, [by_name[name] for name in names])
    if written not in {fill(field, [loaded])["value"] for loaded in by_name.values()}:
        del new["value"]
    return gr.update(**new)


def fill(field: Text, models: Sequence[LoadedModel]) -> dict[str, Any]:
    """The example for these models, and whether one of them can be asked it: a second text is for models of pairs."""
    known = [loaded.reads_pairs for loaded in models]
    if field.for_pairs and True not in known:
        return {"value": "", "visible": set(known) != {False}}
    return {"value": example_for(field, models[0]), "visible": True}


def explain_errors(ask: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """`ask`, with what a person did wrong shown on the page."""

    def ask_or_explain(*values: Any) -> Iterator[Any]:
        try:
            yield from ask(*values)
        except ValueError as error:
            raise gr.Error(str(error), title="That cannot be answered", print_exception=False) from None

    return ask_or_explain


def show(
    blocks: gr.Blocks, port: int, open_browser: bool, wait: bool = True, host: str = LOCAL, share: bool = False
) -> str:
    """Serve the page at `host`, and by a public link if it is to be shared, until it is stopped; its address.

    Errors: ValueError if no public link is given.
    """
    names = Names.of(host)
    _, address, link = blocks.queue().launch(
        server_name=host, server_port=port or None, inbrowser=open_browser, share=share, quiet=True,
        theme=THEME, css=STYLE, prevent_thread_lock=True, footer_links=[], max_file_size=1,
        app_kwargs={"middleware": [Middleware(Guard, names=names)]},
    )  # fmt: skip
    if share and not link:
        blocks.close()
        raise ValueError(
            "no public link was given: Gradio's servers cannot be reached from here. Leave --share out, and let others "
            "come by ssh -L, or say --host 0.0.0.0"
        )
    names.link = urlsplit(link or "").netloc
    print("\n".join(say_where(address, host, link)), flush=True)
    if wait:
        blocks.block_thread()
    return address


def say_where(address: str, host: str, link: str | None) -> list[str]:
    """Lines that say where the page is, and who can open it."""
    port, machine, user = urlsplit(address).port, socket.gethostname(), os.environ.get("USER", "YOU")
    if host in HERE:
        lines = [
            f"The playground is at {address}  (Ctrl-C ends it)",
            f"From another computer: ssh -L {port}:127.0.0.1:{port} {user}@{machine}  and open "
            f"http://127.0.0.1:{port} there",
        ]
    else:
        lines = [
            f"The playground is at http://{machine}:{port}  (Ctrl-C ends it)",
            "Everybody who reaches this machine may ask the models: there is no password",
        ]
    return [*lines, f"Everybody who has this link may ask them too, for a week: {link}"] if link else lines
