"""In which form does a model leave?  Safetensors in another precision, or ONNX; and is it the same model still?

    cloze convert MODEL --to safetensors --dtype bf16 [--out FOLDER]
    cloze convert MODEL --to onnx [--out FOLDER]

MODEL is a run's folder (its model/ is taken), a folder that transformers opens, or a Hub id; the class is the one that
its config names, with its head. What was written is read back and answers the same input as the original in fp32: the
largest difference, as a share of the answers' standard deviation, is printed, and where it is beyond `TOLERANCES`
nothing is left. ONNX runs with onnxruntime, for any batch and length.
"""

import importlib.util
import inspect
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel
from tyro.conf import Positional, arg

from engine.run.disk import whole_folder
from engine.run.options import read_options
from engine.run.runtime import program, speak_plainly
from engine.run.saved import config_of, first_line, load_weights, located, opened

Dtype = Literal["fp32", "fp16", "bf16"]
Form = Literal["fp32", "fp16", "bf16", "onnx"]
Answers = dict[str, npt.NDArray[np.float32]]  # by the output's name

DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TOLERANCES = {"fp32": 0.0, "fp16": 0.02, "bf16": 0.2, "onnx": 1e-3}  # fp16 keeps 11 bits of a weight, bf16 8
OPSET = 20  # of ONNX
CARD = ("README.md", "curves.png")


@dataclass(frozen=True)
class Options:
    """Write a model in another precision or as ONNX, and check that it answers as before.

    Example: cloze convert runs/try/bert --to safetensors --dtype bf16
    """

    model: Annotated[str, Positional, arg(metavar="MODEL")]  # a run's folder, a model's folder, or a Hub id
    to: Literal["safetensors", "onnx"]  # the form to write
    dtype: Dtype = "fp32"  # precision of safetensors; ONNX is fp32
    out: Path | None = None  # the folder to write; without it, one beside the model's: model-bf16, model-onnx


@program
def main(argv: list[str]) -> None:
    options = read_options(Options, argv, "python -m engine.convert")
    speak_plainly()
    if options.to == "onnx" and options.dtype != "fp32":
        raise ValueError(f"ONNX is written in fp32 here, not {options.dtype}: leave --dtype out")
    source = located(options.model)
    form: Form = options.dtype if options.to == "safetensors" else "onnx"
    target = options.out or beside(source, form)
    if target.exists():
        raise ValueError(f"{target} is there already: delete it, or say another folder with --out")
    difference = convert(source, target, form)
    print(f"{target} answers as {source} does, up to {difference:.1e} of the answers' standard deviation")


def convert(source: str, target: Path, form: Form) -> float:
    """Write the model in `source` to the folder `target` in a form (a dtype or "onnx"); how far its answers are off.

    Errors: ValueError for a weight that the form cannot hold and for answers beyond the tolerance; nothing is left.
    """
    model = opened(source)
    right = answers_of(model)
    with whole_folder(target) as aside:
        again = write_onnx(model, aside) if form == "onnx" else write_safetensors(model, aside, form)
        difference = most_different(again, right)
        if not difference <= TOLERANCES[form]:
            raise ValueError(
                f"{source} in {form} answers otherwise: by {difference:.1e} of the answers' standard deviation, and "
                f"{TOLERANCES[form]:g} is allowed; nothing was written"
            )
        tokenizer_of(source).save_pretrained(aside)
        for name in CARD:
            if (Path(source) / name).is_file():
                shutil.copy(Path(source) / name, aside / name)
    return difference


def tokenizer_of(source: str) -> Any:
    """The tokenizer beside the model. Errors: ValueError if there is none: transformers would make an empty one up."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # transformers lets through whatever its parsers raise
        raise ValueError(f"the tokenizer in {source} cannot be read: {first_line(error)}") from error
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise ValueError(f"no tokenizer in {source}: put the files of the model's own there, such as tokenizer.json")
    return tokenizer


def beside(source: str, form: str) -> Path:
    if not Path(source).is_dir():
        raise ValueError(f"{source} is on the Hub: say with --out where the converted model goes")
    return Path(source).with_name(f"{Path(source).name}-{form}")


# The forms


def write_safetensors(model: PreTrainedModel, folder: Path, form: Dtype) -> Answers:
    """Write the weights in another precision; what a model with them answers, when it computes in fp32."""
    dtype: Any = DTYPES[form]
    largest = torch.finfo(dtype).max
    for name, weight in model.named_parameters():
        if weight.abs().max() > largest:
            raise ValueError(f"{name} holds {weight.abs().max():.3g}, and {form} ends at {largest:.3g}: say bf16")
    model.to(dtype).save_pretrained(folder)
    again, _ = load_weights(type(model), str(folder), config_of(str(folder)))
    return answers_of(again.eval())


def write_onnx(model: PreTrainedModel, folder: Path) -> Answers:
    """Write model.onnx, and config.json for the labels' names; what onnxruntime answers with it."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"{', '.join(missing)} is not installed: say  pip install onnx onnxscript onnxruntime")
    model.config.save_pretrained(folder)
    model.config.use_cache = False  # of a decoder: no states of earlier tokens go in or out
    example = questions(model, rows=2, length=8)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=positions(model))}
    names = list(answers_of(model))
    try:
        with warnings.catch_warnings(action="ignore"):  # of the exporter, about its own doings
            torch.onnx.export(
                model, kwargs=example, f=folder / "model.onnx", dynamo=True, opset_version=OPSET, verbose=False,
                input_names=list(example), output_names=names, dynamic_shapes=dict.fromkeys(example, sizes),
            )  # fmt: skip
    except torch.onnx.OnnxExporterError:
        raise ValueError(
            f"torch does not export a {model.config.model_type} model to ONNX for any batch and length: say "
            "--to safetensors"
        ) from None
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    asked = {name: values.numpy() for name, values in questions(model).items()}
    return dict(zip(names, session.run(names, asked), strict=True))


# The same input for both


def questions(model: PreTrainedModel, rows: int = 3, length: int = 24) -> dict[str, Tensor]:
    """Rows of random tokens, always the same, all but the first with padding at their end: (rows, length) each."""
    config, chance = model.config.get_text_config(), torch.Generator().manual_seed(0)
    length = min(length, positions(model))
    ids = torch.randint(config.vocab_size, (rows, length), generator=chance)
    real = torch.arange(length) < length - torch.arange(rows)[:, None] * (length // (2 * rows))
    x = {"input_ids": ids, "attention_mask": real.long()}
    if config.pad_token_id is not None:
        x["input_ids"] = torch.where(real, ids.where(ids != config.pad_token_id, 0), config.pad_token_id)
    if "token_type_ids" in inspect.signature(model.forward).parameters and getattr(config, "type_vocab_size", 0) > 1:
        x["token_type_ids"] = (torch.arange(length) >= length // 2).long().expand(rows, length).contiguous()
    return x


def positions(model: PreTrainedModel) -> int:
    return int(getattr(model.config, "max_position_embeddings", 512)) - 2  # RoBERTa and its like keep two for padding


@torch.inference_mode()
def answers_of(model: PreTrainedModel) -> Answers:
    """What it answers to `questions`: its logits, by name, where there is no padding to answer for."""
    model.config.use_cache = False
    found: Mapping[str, Any] = model(**questions(model))
    return {name: value.float().numpy() for name, value in found.items() if isinstance(value, Tensor)}


def most_different(answers: Answers, right: Answers) -> float:
    """The largest difference of any answer, as a share of that output's standard deviation."""
    return max(float(np.abs(answers[name] - right[name]).max() / right[name].std()) for name in right)


if __name__ == "__main__":
    main()
