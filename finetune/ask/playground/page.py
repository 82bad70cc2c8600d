"""How does the page look?  A tab for each thing that a model can do, one to compare two, one to look inside."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from finetune.ask.playground import inside
from finetune.ask.playground.boxes import Box, Number, Text
from finetune.ask.playground.guard import Guard
from finetune.ask.playground.markup import STYLE, with_title
from finetune.ask.playground.models import LoadedModel
from finetune.ask.playground.views import VIEWS, View

# The system's own letters: the page asks no other machine for anything.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
GAP = "[MASK]"  # as the examples have it; shown as the model's own tokenizer writes it


def page(models: Sequence[LoadedModel]) -> gr.Blocks:
    by_name = {loaded.name: loaded for loaded in models}
    with gr.Blocks(title="Cloze playground", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown("# Cloze playground\n" + " · ".join(f"`{name}`" for name in by_name))
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
        with gr.Tab("Look inside"):
            lay_out_inside(by_name)
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
        answers = [gr.HTML(elem_classes="answer") for _ in range(places)]

    def ask(name: str, *values: Any) -> Iterator[str]:
        for answer in view.ask(by_name[name], *values):
            yield answer if places == 1 else with_title(name, answer)

    for field, box in zip(view.fields, fields, strict=True):
        if isinstance(field, Text) and field.for_pairs:
            gr.on([choice.change for choice in chosen], partial(refill, field, by_name), chosen, box)
    for choice, answer in zip(chosen, answers, strict=True):
        gr.on(
            [button.click, *(field.submit for field in fields if isinstance(field, gr.Textbox))],
            explain_errors(ask), [choice, *fields], answer, show_progress="minimal", show_progress_on=button,
        )  # fmt: skip


def lay_out_inside(by_name: dict[str, LoadedModel]) -> None:
    """Attention, and what each layer would guess."""
    names = list(by_name)
    with gr.Row():
        with gr.Column(scale=1):
            name = gr.Dropdown(names, value=names[0], label="Model")
            text = gr.Textbox("The cat sat on the mat because it was tired.", label="Text", lines=2)
            pair = gr.Textbox("", label="Second text, for pairs", lines=1)
            layer = gr.Number(1, label="Layer", minimum=1, precision=0)
            head = gr.Number(0, label="Head (0: the mean of all)", minimum=0, precision=0)
            show_attention = gr.Button("Show attention", variant="primary")
            show_layers = gr.Button("Show each layer's guess")
        with gr.Column(scale=2):
            answer = gr.HTML(elem_classes="answer")
    attention = explain_errors(lambda name, *values: iter([inside.attention(by_name[name], *values)]))
    layers = explain_errors(lambda name, text: iter([inside.by_layer(by_name[name], text)]))
    show_attention.click(
        attention, [name, text, pair, layer, head], answer, show_progress="minimal", show_progress_on=show_attention
    )
    show_layers.click(layers, [name, text], answer, show_progress="minimal", show_progress_on=show_layers)


def make_box(field: Box, models: Sequence[LoadedModel]) -> Any:
    """What a person fills in, with an example in it."""
    if isinstance(field, Number):
        return gr.Slider(field.low, field.high, field.value, step=field.step, label=field.label)
    return gr.Textbox(**fill(field, models), label=field.label, lines=field.lines)


def refill(field: Text, by_name: dict[str, LoadedModel], *names: str) -> Any:
    """The field as it is for other models."""
    return gr.update(**fill(field, [by_name[name] for name in names]))


def fill(field: Text, models: Sequence[LoadedModel]) -> dict[str, Any]:
    """The example for these models, and whether one of them can be asked it: a second text is for models of pairs."""
    if field.for_pairs:
        known = [loaded.reads_pairs for loaded in models]
        return {"value": field.value if True in known else "", "visible": set(known) != {False}}
    return {"value": field.value.replace(GAP, models[0].tokenizer.mask_token or GAP), "visible": True}


def explain_errors(ask: Callable[..., Iterator[str]]) -> Callable[..., Iterator[str]]:
    """`ask`, with what a person did wrong shown on the page."""

    def ask_or_explain(*values: Any) -> Iterator[str]:
        try:
            yield from ask(*values)
        except ValueError as error:
            raise gr.Error(str(error), title="That cannot be answered", print_exception=False) from None

    return ask_or_explain


def show(blocks: gr.Blocks, port: int, open_browser: bool, wait: bool = True) -> str:
    """Serve the page to this machine alone, until it is stopped; its address."""
    _, address, _ = blocks.queue().launch(
        server_name="127.0.0.1", server_port=port or None, inbrowser=open_browser, share=False, quiet=True,
        theme=THEME, css=STYLE, prevent_thread_lock=True, footer_links=[], max_file_size=1,
        app_kwargs={"middleware": [Middleware(Guard)]},
    )  # fmt: skip
    print(f"The playground is at {address}  (Ctrl-C ends it)", flush=True)
    if wait:
        blocks.block_thread()
    return address
