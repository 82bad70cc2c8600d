"""Which saved model does a name mean, with which head was it saved, and is it whole?

Opening one runs nothing that comes with it: remote code is off, and weights are safetensors, never pickles.
"""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_BACKBONE_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_PRETRAINING_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from engine.publish.redact import redacted
from engine.run.makers import advise
from engine.run.recipe import data_path

# A package that makes further models known to transformers' Auto classes when it is imported. It is a plug-in: without
# it, or with another in its place, everything here works; what a model's folder says is never imported.
PLUG_IN = "networks"
HEADS: tuple[Any, ...] = (  # with which its models may be saved
    MODEL_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_PRETRAINING_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
)
OF_BACKBONES = (
    "hidden_states_norms."  # layer norms that ConvNeXt and Swin have only as backbones; they begin as 1 and 0
)


def located(model: str) -> str:
    """The folder of `model`, a folder or a run in $CLOZE_DATA or the working folder; or else itself: a Hub id.

    Errors: FileNotFoundError if it looks like a path and nothing is there; ValueError if a folder holds no model.
    """
    try:
        folder = data_path(model)
    except FileNotFoundError as error:
        parts = Path(model).parts
        if len(parts) > 2 or model.startswith((".", "/", "~")) or parts[0] == "runs" or Path(parts[0]).is_dir():
            raise FileNotFoundError(f"no model {model}: {error}{advise(model)}") from None
        return model
    for place in (folder / "model", folder):
        if (place / "config.json").is_file():
            return str(place)
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; a model is the folder that holds its config.json and its weights")
    if (folder / "jobs.json").is_file():
        raise ValueError(
            f"{folder} holds fine-tunings, not a model: name the folder of one, such as {folder}/glue-rte/seed-0, "
            "which has a model if its recipe does not say save_model: false"
        )
    if (folder / "recipe.yaml").is_file() and not (folder / "finished.json").is_file():
        raise ValueError(f"{folder} has no model: the run is not finished{advise(model)}, which resumes it")
    raise ValueError(f"{folder} has no model: looked for config.json in it and in its model/")


def architecture(source: str, revision: str = "main") -> str:
    """The class that the model was saved from, such as BertForPreTraining; empty if its config names none."""
    return (config_of(source, revision).architectures or [""])[0]


def opened(source: str, revision: str = "main") -> PreTrainedModel:
    """The model in fp32, with the head that its config names. Errors: as for `load_weights`; ValueError for a head that
    neither transformers nor the plug-in has, and if a weight is missing or has another shape than the config says."""
    config = config_of(source, revision)
    made = saved_class(config)
    if made is None:
        name = (config.architectures or [""])[0]
        raise ValueError(f"{source}: config.json names the architecture {name!r}, which transformers has not")
    model, info = load_weights(made, source, config, revision)
    lost = sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])})
    if lost:
        raise ValueError(
            f"{source} is no whole {made.__name__}: {len(lost)} of its weights are missing or have another shape than "
            f"config.json says, such as {lost[0]}"
        )
    return model.eval()


def opened_backbone(source: str, revision: str = "", fresh: bool = False) -> PreTrainedModel:
    """The trunk of a model of pictures in fp32, with the maps of all of its stages; `fresh`: with random weights.

    Errors: as for `load_weights`; ValueError for a model of another kind, and for one that lacks weights.
    """
    config = config_of(source, revision)
    if not is_backbone(config):
        raise ValueError(
            f"{source} is a {config.model_type} model, which transformers opens as no backbone, so it gives no maps of "
            "pictures; take such as recipes/pretrain/exemplar.yaml trains, or a ResNet, ConvNeXt, Swin or DINOv2 of "
            "the Hub"
        )
    classes: Any = MODEL_FOR_BACKBONE_MAPPING
    made = classes[type(config)]
    # Not a ViT's embeddings, which have seen nothing
    config.out_features = [name for name in config.stage_names if name != "embeddings"]
    if fresh:
        random: PreTrainedModel = made(config)
        return random
    backbone, info = load_weights(made, source, config, revision)
    if lost := sorted(name for name in info["missing_keys"] if not name.startswith(OF_BACKBONES)):
        raise ValueError(f"{source} lacks {len(lost)} weights of its {config.model_type}, such as {lost[0]}: it is "
                         "no whole model; export or download it again")  # fmt: skip
    return backbone


def is_backbone(config: PreTrainedConfig) -> bool:
    """Whether transformers opens a model of this config as a backbone: one that makes maps of pictures."""
    return type(config) in MODEL_FOR_BACKBONE_MAPPING


def saved_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The class of transformers, or of the plug-in, that a model of this config was saved from; None for another."""
    name = (config.architectures or [""])[0]
    kinds = [mapping.get(type(config), None) for mapping in HEADS]
    known = {made.__name__: made for made in kinds if isinstance(made, type)}
    plug_in = sys.modules.get(PLUG_IN)
    made = getattr(transformers, name, None) or known.get(name) or getattr(plug_in, name, None)
    return made if inspect.isclass(made) and issubclass(made, PreTrainedModel) else None


def config_of(source: str, revision: str = "") -> PreTrainedConfig:
    """The config of a folder or a Hub id. Code that it brings is left alone and forgotten: nothing saved anew has it.

    Errors: FileNotFoundError where there is none; ValueError for one that is damaged or that only its own code opens.
    """
    if importlib.util.find_spec(PLUG_IN):
        importlib.import_module(PLUG_IN)
    try:
        config = AutoConfig.from_pretrained(source, revision=revision or "main", trust_remote_code=False)
    except OSError as error:
        raise FileNotFoundError(f"{source}: no model here that transformers opens ({first_line(error)})") from error
    except Exception as error:  # transformers lets through whatever its parsers raise
        raise ValueError(f"{source}: config.json cannot be read: {first_line(error)}") from error
    if "/" in str(config._attn_implementation):
        raise ValueError(f"{source}: config.json asks for {config._attn_implementation!r} of the Hub; {OWN_CODE}")
    vars(config).pop("auto_map", None)
    return config


def load_weights(
    made: Any, source: str, config: PreTrainedConfig, revision: str = "", renamed: dict[str, str] | None = None
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """`made`, a class of transformers, with the weights of `source` in fp32; and transformers' account of those that
    are missing or do not fit, which start random. `renamed`: a regular expression → what names have in its place.

    Errors: FileNotFoundError where there are no safetensors; ValueError for damaged ones, and for what `made` refuses.
    """
    try:
        return made.from_pretrained(
            source, config=config, revision=revision or "main", dtype=torch.float32, output_loading_info=True,
            ignore_mismatched_sizes=True, use_safetensors=True, trust_remote_code=False, key_mapping=renamed,
        )  # fmt: skip
    except SafetensorError as error:
        raise ValueError(f"{source}: the weights are damaged ({error})") from error
    except OSError as error:
        raise FileNotFoundError(
            f"{source}: no model here that transformers opens ({no_weights(source, error)})"
        ) from error
    except Exception as error:  # transformers lets through whatever its parsers raise
        raise ValueError(f"{source}: the weights cannot be read: {first_line(error)}") from error


def no_weights(source: str, error: OSError) -> str:
    """Why no weights were opened, in words."""
    pickled = "use_safetensors" in str(error)  # transformers' advice, which is to unpickle
    if Path(source).is_dir():
        pickled = any(Path(source).glob("pytorch_model*")) and not any(Path(source).glob("model*.safetensors*"))
    if pickled:
        return (
            "it has no model.safetensors; weights that are pickled, such as pytorch_model.bin, are never opened: "
            "if you trust them, open them with transformers and save_pretrained them anew"
        )
    return first_line(error)


def first_line(error: Exception) -> str:
    """What a library says of a file, on one line; of a file that brings code, what we say."""
    if "custom code" in str(error):
        return OWN_CODE
    lines = str(error).strip().split("\n")
    line = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]  # such as "Validation error for field 'x':"
    return redacted(" ".join(line.split())) or type(error).__name__


OWN_CODE = (
    "code that comes with a model or a tokenizer is never run here (remote code is off); take one that transformers "
    "itself has a class for"
)
