"""What was published, and on how many rows?

The published cells are those of the paper's first version (arXiv 1810.04805v1): the means of its rows are the averages
that it prints, 74.0, 71.0, 75.2, 79.6 and 81.9. Its QNLI column is of the first QNLI test set. The later version has
the second one (79.8, 87.4, 90.5 and 92.7 from BiLSTM on) and prints 74.0, 71.0, 75.1, 79.6 and 82.1; there the mean of
BiLSTM's row is 70.9.
"""

PUBLISHED = {  # MNLI-m, MNLI-mm, QQP, QNLI, SST-2, CoLA, STS-B, MRPC, RTE: percent, from the test server
    "Pre-OpenAI SOTA": (80.6, 80.1, 66.1, 82.3, 93.2, 35.0, 81.0, 86.0, 61.7),
    "BiLSTM+ELMo+Attn": (76.4, 76.1, 64.8, 79.9, 90.4, 36.0, 73.3, 84.9, 56.8),
    "OpenAI GPT": (82.1, 81.4, 70.3, 88.1, 91.3, 45.4, 80.0, 82.3, 56.0),
    "BERT-base": (84.6, 83.4, 71.2, 90.1, 93.5, 52.1, 85.8, 88.9, 66.4),
    "BERT-large": (86.7, 85.9, 72.1, 91.1, 94.9, 60.5, 86.5, 89.3, 70.1),
}

TRAINING_ROWS = {
    "glue/mnli": 392_702, "glue/qqp": 363_846, "glue/qnli": 104_743, "glue/sst2": 67_349, "glue/cola": 8_551,
    "glue/stsb": 5_749, "glue/mrpc": 3_668, "glue/rte": 2_490, "glue/wnli": 635, "squad/v1.1": 87_599,
    "squad/v2.0": 130_319, "swag": 73_546, "conll2003": 14_041,
}  # fmt: skip
DEV_ROWS = {
    ("glue/mnli", "dev_matched"): 9_815, ("glue/mnli", "dev_mismatched"): 9_832, ("glue/qqp", "dev"): 40_430,
    ("glue/qnli", "dev"): 5_463, ("glue/sst2", "dev"): 872, ("glue/cola", "dev"): 1_043, ("glue/stsb", "dev"): 1_500,
    ("glue/mrpc", "dev"): 408, ("glue/rte", "dev"): 277, ("glue/wnli", "dev"): 71, ("squad/v1.1", "dev"): 10_570,
    ("squad/v2.0", "dev"): 11_873, ("swag", "dev"): 20_006, ("conll2003", "dev"): 3_250,
}  # fmt: skip

# Devlin et al. 2019, tables 2, 3, 4 and 7: development sets, percent; SQuAD v1.1 and v2.0 of single models.
PUBLISHED_BEYOND = {
    "ESIM+ELMo": {("swag", "accuracy"): 59.1},
    "BERT-base": {
        ("squad/v1.1", "exact_match"): 80.8, ("squad/v1.1", "f1"): 88.5, ("swag", "accuracy"): 81.6,
        ("conll2003", "f1"): 96.4,
    },
    "BERT-large": {
        ("squad/v1.1", "exact_match"): 84.1, ("squad/v1.1", "f1"): 90.9, ("squad/v2.0", "exact_match"): 78.7,
        ("squad/v2.0", "f1"): 81.9, ("swag", "accuracy"): 86.6, ("conll2003", "f1"): 96.6,
    },
}  # fmt: skip
