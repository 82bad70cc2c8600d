"""Is every task found by its name and whole, and do its rows say where they were read?"""

from pathlib import Path

import pytest

from finetune.tasks.metrics.metrics import METRICS
from finetune.tasks.task import DataSource, all_tasks, find_task, provenance

GLUE = {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax"}


def test_every_official_task_is_there():
    assert {f"glue/{name}" for name in GLUE} | {"squad/v1.1", "conll2003"} <= set(all_tasks())


@pytest.mark.parametrize("name", sorted(all_tasks()))
def test_a_task_is_whole(name):
    task = find_task(name)
    assert task.name == name
    assert bool(task.labels) == (bool(task.columns) and task.question.name in ("classification", "tagging"))
    assert task.metric in METRICS
    assert task.dev_splits or task.trained_as in all_tasks()
    if task.question.name == "tagging" and task.labels:
        assert task.labels[0] == "O"
        assert all(label[:2] in ("B-", "I-") for label in task.labels[1:])


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(
        ValueError, match=r"unknown task 'glue/rtw'; did you mean 'glue/rte'\? Known tasks: .*conll2003"
    ):
        find_task("glue/rtw")


def test_mnli_has_two_dev_sets_and_ax_has_mnlis_model():
    assert find_task("glue/mnli").dev_splits == ("dev_matched", "dev_mismatched")
    ax = find_task("glue/ax")
    assert (ax.trained_as, ax.train_split, ax.dev_splits, ax.labels) == (
        "glue/mnli",
        "",
        (),
        find_task("glue/mnli").labels,
    )


@pytest.mark.parametrize("name", ["glue/rte", "squad/v1.1", "conll2003"])
class TestSource:
    def test_a_folder_has_to_be_named(self, name):
        with pytest.raises(ValueError, match=f"{name}: data.source is folder, so data.path must name"):
            find_task(name).load(DataSource("folder"))

    def test_a_folder_has_to_be_there(self, name, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            find_task(name).load(DataSource("folder", str(tmp_path / "nowhere")))

    def test_a_missing_split_names_the_file_looked_for(self, name, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"{name} has no train split: looked for {tmp_path}.*train"):
            find_task(name).load(DataSource("folder", str(tmp_path)))

    def test_a_named_file_has_to_be_there_and_its_split_known(self, name, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"looked for {tmp_path}/mine"):
            find_task(name).load(DataSource("folder", str(tmp_path), files={"train": "mine"}))
        with pytest.raises(ValueError, match=r"data\.files names the split 'valid'; it has train, dev"):
            find_task(name).load(DataSource("folder", str(tmp_path), files={"valid": "mine"}))

    def test_it_has_no_sample(self, name):
        with pytest.raises(ValueError, match="read from 'folder' or 'hub'"):
            find_task(name).load(DataSource("sample"))

    def test_the_hub_out_of_reach_says_what_to_do(self, name, monkeypatch):
        def out_of_reach(*_, **__):
            raise ConnectionError("no network")

        monkeypatch.setattr("finetune.tasks.rows.load_dataset_builder", out_of_reach)
        with pytest.raises(FileNotFoundError, match=r"no network.*data\.source: folder"):
            find_task(name).load(DataSource("hub"))


def test_provenance_is_the_recipes_path_not_this_machines(tmp_path, monkeypatch):
    monkeypatch.setenv("CLOZE_DATA", str(tmp_path))
    folder = tmp_path / "glue" / "WNLI"
    folder.mkdir(parents=True)
    for split in ("train", "dev"):
        Path(folder / f"{split}.tsv").write_text("index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n")
    rows = find_task("glue/wnli").load(DataSource("folder", "glue"))
    assert provenance(rows) == "train: folder glue/WNLI/train.tsv; dev: folder glue/WNLI/dev.tsv"
