"""Is a name taken for what it means: a folder, a run, or a model on the Hub?"""

import pytest

from engine.run.saved import located


def test_a_run_stands_for_its_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/mini/model").mkdir(parents=True)
    (tmp_path / "runs/mini/model/config.json").touch()
    assert located("runs/mini") == located("runs/mini/model") == "runs/mini/model"
    with pytest.raises(ValueError, match=r"runs has no model: looked for config\.json"):
        located("runs")


def test_a_run_of_fine_tunings_is_not_taken_for_one_that_is_not_finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = tmp_path / "runs/glue/glue-rte/seed-0"
    (job / "model").mkdir(parents=True)
    for path in (job / "model/config.json", tmp_path / "runs/glue/recipe.yaml", tmp_path / "runs/glue/jobs.json"):
        path.touch()
    with pytest.raises(ValueError, match=r"runs/glue holds fine-tunings, not a model: .* runs/glue/glue-rte/seed-0"):
        located("runs/glue")
    assert located("runs/glue/glue-rte/seed-0") == "runs/glue/glue-rte/seed-0/model"


def test_a_folder_in_the_place_of_data_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("CLOZE_DATA", str(tmp_path))
    (tmp_path / "checkpoints/small").mkdir(parents=True)
    (tmp_path / "checkpoints/small/config.json").touch()
    assert located("checkpoints/small") == str(tmp_path / "checkpoints/small")


@pytest.mark.parametrize("path", ["runs/mini/modl", "runs/modl", "./modl", "/no/such", "~/no-such"])
def test_a_path_is_never_taken_for_the_hub(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(FileNotFoundError, match="nothing at"):
        located(path)


@pytest.mark.parametrize("name", ["gpt2", "google/bert_uncased_L-4_H-256_A-4"])
def test_what_is_no_folder_is_on_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert located(name) == name
