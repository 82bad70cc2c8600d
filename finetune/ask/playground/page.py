"""How does the page look?  A tab for each thing that a model can do, one to compare two, one to look inside."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from finetune.ask.playground import inside
from finetune.ask.playground.guard import Guard
from finetune.ask.playground.guests import Guest
from finetune.ask.playground.markup import STYLE, titled
from finetune.ask.playground.views import VIEWS, Number, Text, View

# The system's own letters: the page asks no other machine for anything.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
GAP = "[MASK]"  # as the examples have it; shown as the model's own tokenizer writes it


def page(guests: Sequence[Guest]) -> gr.Blocks:
    """The page for these models."""
    by_name = {guest.name: guest for guest in guests}
    with gr.Blocks(title="Cloze playground", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown("# Cloze playground\n" + " · ".join(f"`{name}`" for name in by_name))
        for ability, view in VIEWS.items():
            able = [guest.name for guest in guests if ability in guest.abilities]
            if able:
                with gr.Tab(view.title):
                    asking(view, by_name, able, 1)
        shared = {
            view.title: (view, names)
            for ability, view in VIEWS.items()
            if len(names := [guest.name for guest in guests if ability in guest.abilities]) > 1
        }
        if shared:
            with gr.Tab("Compare"):
                for title, (view, names) in shared.items():
                    with gr.Tab(title):
                        asking(view, by_name, names, 2)
        with gr.Tab("Look inside"):
            looking_inside(by_name)
    return blocks


def asking(view: View, by_name: dict[str, Guest], names: list[str], places: int) -> None:
    """What a person fills in, and beside it the answer of one model or of two."""
    with gr.Row():
        with gr.Column():
            chosen = [
                gr.Dropdown(names, value=names[place], label="Model" if places == 1 else f"Model {place + 1}")
                for place in range(places)
            ]
            asked = [by_name[name] for name in names[:places]]
            fields = [made(field, asked) for field in view.fields]
            button = gr.Button(view.title, variant="primary")
        answers = [gr.HTML(elem_classes="answer") for _ in range(places)]

    def ask(name: str, *values: Any) -> Iterator[str]:
        for answer in view.ask(by_name[name], *values):
            yield answer if places == 1 else titled(name, answer)

    for field, box in zip(view.fields, fields, strict=True):
        if isinstance(field, Text) and field.for_pairs:
            gr.on([choice.change for choice in chosen], partial(refilled, field, by_name), chosen, box)
    for choice, answer in zip(chosen, answers, strict=True):
        gr.on(
            [button.click, *(field.submit for field in fields if isinstance(field, gr.Textbox))],
            in_words(ask), [choice, *fields], answer, show_progress="minimal", show_progress_on=button,
        )  # fmt: skip


def looking_inside(by_name: dict[str, Guest]) -> None:
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
    attention = in_words(lambda name, *values: iter([inside.attention(by_name[name], *values)]))
    layers = in_words(lambda name, text: iter([inside.by_layer(by_name[name], text)]))
    show_attention.click(
        attention, [name, text, pair, layer, head], answer, show_progress="minimal", show_progress_on=show_attention
    )
    show_layers.click(layers, [name, text], answer, show_progress="minimal", show_progress_on=show_layers)


def made(field: Text | Number, guests: Sequence[Guest]) -> Any:
    """What a person fills in, with an example in it."""
    if isinstance(field, Number):
        return gr.Slider(field.low, field.high, field.value, step=field.step, label=field.label)
    return gr.Textbox(**filled(field, guests), label=field.label, lines=field.lines)


def refilled(field: Text, by_name: dict[str, Guest], *names: str) -> Any:
    """The field as it is for other models."""
    return gr.update(**filled(field, [by_name[name] for name in names]))


def filled(field: Text, guests: Sequence[Guest]) -> dict[str, Any]:
    """The example for these models, and whether one of them can be asked it: a second text is for models of pairs."""
    if field.for_pairs:
        known = [guest.reads_pairs for guest in guests]
        return {"value": field.value if True in known else "", "visible": set(known) != {False}}
    return {"value": field.value.replace(GAP, guests[0].tokenizer.mask_token or GAP), "visible": True}


def in_words(ask: Callable[..., Iterator[str]]) -> Callable[..., Iterator[str]]:
    """`ask`, with what a person did wrong told on the page."""

    def told(*values: Any) -> Iterator[str]:
        try:
            yield from ask(*values)
        except ValueError as error:
            raise gr.Error(str(error), title="That cannot be answered", print_exception=False) from None

    return told


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
