"""What is this key called here?  Names of transformers and nanoGPT, and our own of before, and what they are now.

Aliases of recipe keys and options: an unknown one is answered with the right one, in YAML and on the command line.
"""

import difflib
from collections.abc import Callable, Sequence

# Each name with the key here that says the same, or with one of each kind of recipe. What is the last part of one of
# our keys, such as `learning_rate`, needs no line.
ALIASES: dict[str, tuple[str, ...]] = {
    # Ours, before they took the names of transformers
    "lr": ("optimizer.learning_rate",),
    "warmup_rate": ("schedule.warmup_ratio",),
    "decay": ("schedule.lr_scheduler_type",),
    "cooldown_rate": ("schedule.cooldown_ratio",),
    "floor": ("schedule.min_lr_ratio",),
    "steps": ("plan.max_steps", "plan.num_train_epochs"),
    "epochs": ("plan.num_train_epochs", "plan.max_steps"),
    "global_batch": ("plan.global_batch_size",),
    "device_batch": ("plan.per_device_train_batch_size",),
    "last_phase.device_batch": ("last_phase.per_device_train_batch_size",),
    "log_every": ("plan.logging_steps",),
    "evaluate_every": ("plan.eval_steps",),
    "save_every": ("plan.save_steps",),
    "keep": ("plan.save_total_limit",),
    "workers": ("plan.dataloader_num_workers",),
    "compile": ("plan.torch_compile",),
    "checkpoint_activations": ("plan.gradient_checkpointing",),
    "length": ("objective.max_seq_length", "objective.block_size"),
    "objective.block_size": ("objective.max_seq_length",),
    "objective.max_seq_length": ("objective.block_size",),
    "last_phase.length": ("last_phase.max_seq_length", "last_phase.block_size"),
    "mask_rate": ("objective.mlm_probability",),
    "short_seq_rate": ("objective.short_seq_probability",),
    "whole_words": ("objective.whole_word_mask",),
    "evaluation_examples": ("max_eval_samples",),
    "state": ("resume_from_checkpoint",),
    "trackers": ("report_to",),
    "max_length": ("max_seq_length", "objective.max_seq_length", "objective.block_size", "model_max_length"),
    "size": ("vocabulary.vocab_size",),
    "alphabet": ("vocabulary.limit_alphabet",),
    # transformers: TrainingArguments, run_mlm, run_clm, run_glue
    "output_dir": ("name",),
    "run_name": ("name",),
    "overwrite_output_dir": ("overwrite",),
    "model_name_or_path": ("model",),
    "model_type": ("model.model_type",),
    "tokenizer_name": ("tokenizer",),
    "task_name": ("task",),
    "train_file": ("data.path", "corpus.sources", "sources"),
    "dataset_name": ("data.path", "corpus.sources", "sources"),
    "validation_split_percentage": ("corpus.held_out", "data.hold_out"),
    "optim": ("optimizer.name",),
    "adam_beta1": ("optimizer.betas",),
    "adam_beta2": ("optimizer.betas",),
    "adam_epsilon": ("optimizer.eps",),
    "warmup_steps": ("schedule.warmup_ratio",),
    "train_batch_size": ("plan.global_batch_size",),
    "per_device_eval_batch_size": ("plan.per_device_train_batch_size",),
    "gradient_accumulation_steps": ("plan.global_batch_size",),
    "max_seq_length": ("objective.max_seq_length", "objective.block_size", "model_max_length"),
    "num_train_epochs": ("plan.max_steps",),
    "max_steps": ("plan.num_train_epochs",),
    "eval_strategy": ("plan.eval_steps",),
    "evaluation_strategy": ("plan.eval_steps",),
    "eval_every": ("plan.eval_steps",),
    "patience": ("plan.early_stopping_patience",),
    "early_stopping": ("plan.early_stopping_patience",),
    "max_train_rows": ("max_train_samples",),
    "class_weights": ("class_weight",),
    "save_strategy": ("plan.save_steps",),
    "logging_strategy": ("plan.logging_steps",),
    "preprocessing_num_workers": ("plan.dataloader_num_workers",),
    "nsp_probability": ("objective.next_sentence",),
    "do_predict": ("predict_test",),
    "do_lower_case": ("vocabulary.lowercase",),
    "ddp_timeout": ("plan.timeout",),
    "push_to_hub": ("hub.repo",),
    "hub_model_id": ("hub.repo",),
    "hub_private_repo": ("hub.private",),
    "hub_strategy": ("hub.every",),
    # nanoGPT
    "out_dir": ("name",),
    "max_iters": ("plan.max_steps", "plan.num_train_epochs"),
    "batch_size": ("plan.per_device_train_batch_size", "batch_tokens"),
    "block_size": ("objective.block_size", "objective.max_seq_length", "max_seq_length"),
    "grad_clip": ("plan.max_grad_norm",),
    "warmup_iters": ("schedule.warmup_ratio",),
    "min_lr": ("schedule.min_lr_ratio",),
    "dtype": ("mixed_precision",),
    "beta1": ("optimizer.betas",),
    "beta2": ("optimizer.betas",),
    "log_interval": ("plan.logging_steps",),
    "eval_interval": ("plan.eval_steps",),
    "wandb_log": ("report_to",),
    "wandb_project": ("report_to",),
    "n_layer": ("model.num_hidden_layers",),
    "n_head": ("model.num_attention_heads",),
    "n_embd": ("model.hidden_size",),
    # gensim, word2vec, GloVe
    "min_count": ("vocabulary.min_frequency",),
    "vector_size": ("model.hidden_size",),
    "alpha": ("objective.alpha", "optimizer.learning_rate"),
    "hs": ("objective.negative",),
    "sg": ("objective.cbow",),
    "vocab_min_count": ("vocabulary.min_frequency",),
    "eta": ("optimizer.learning_rate",),
}

# What no key here is for.
DEVICES = "the launch config says where it runs: accelerate launch --config_file accelerate_configs/..."
ELSEWHERE: dict[str, str] = {
    "bf16": "say mixed_precision: bf16 (--mixed_precision bf16), or leave it out: what is faster here is taken",
    "fp16": "fp16 is not supported; leave it out: of bf16 and fp32 what is faster here is taken",
    **dict.fromkeys(("use_cpu", "no_cuda", "device", "backend", "local_rank", "fsdp", "deepspeed"), DEVICES),
    "do_train": "the program always trains: leave it out",
    "greater_is_better": "of every score that a best model is chosen by, more is better: leave it out",
    "do_eval": "the program always evaluates: leave it out",
}


def right_key(name: str, known: Sequence[str], written: Callable[[str], str] = str) -> str | None:
    """Say what to write instead of `name`, which is not understood where it stands; None for a name that nobody uses.

    Names are dotted, and `known` are those there are. `written` turns one into what a user writes.
    """
    leaf = name.rpartition(".")[2]
    if leaf in ELSEWHERE:
        return ELSEWHERE[leaf]
    same_leaf = [key for key in known if key.rpartition(".")[2] == leaf]
    meant = [key for key in (name, *ALIASES.get(name, ()), *same_leaf, *ALIASES.get(leaf, ())) if key in known]
    return f"say {written(meant[0])} instead" if meant else None


def nearest_key(name: str, known: Sequence[str]) -> str | None:
    """The known dotted key, or the key of an alias, that is spelt most like `name`."""
    leaf = name.rpartition(".")[2]
    spellings = {key: key for key in known} | {key.rpartition(".")[2]: key for key in reversed(known)}
    for alias, keys in ALIASES.items():
        if meant := [key for key in keys if key in known]:
            spellings.setdefault(alias, meant[0])
    close = [difflib.get_close_matches(spelt, spellings, n=1, cutoff=0.75) for spelt in (name, leaf)]
    return next((spellings[found[0]] for found in close if found), None)
