import json, time, shutil, pytest
ALL = ["glue/cola", "glue/rte", "glue/stsb", "glue/mnli", "squad/v1.1", "conll2003"]
def res(f): return {l["task"]:round(l["headline"]["value"],2) for l in map(json.loads,(f/"runs/small/results.jsonl").read_text().splitlines())}
@pytest.mark.parametrize("gpt",[0,1])
@pytest.mark.parametrize("init",[0.1,.05,.2])
def test_p(tmp_path, launch, write_finetune_recipe, small_model, small_gpt, init, gpt):
    import torch
    from transformers import AutoConfig, AutoModelForPreTraining
    src=[small_model,small_gpt][gpt]
    m=tmp_path/"m"; shutil.copytree(src,m); c=AutoConfig.from_pretrained(m); c.initializer_range=init; torch.manual_seed(0); AutoModelForPreTraining.from_config(c).save_pretrained(m)
    for lr in (2e-3,5e-3,1e-2):
        for ep in (6,10):
            f=tmp_path/f"{lr}-{ep}"; f.mkdir(); write_finetune_recipe(f, model=str(m), optimizer={"lr":lr}, plan={"epochs":ep}, task=ALL if not gpt else ["glue/cola","glue/rte","conll2003","squad/v1.1"],save_model=False,seeds=[0,1] if ep==10 else [0])
            launch(f,"recipe.yaml"); print("GPT" if gpt else "BERT",init,lr,ep,[(l["task"],round(l["headline"]["value"],2)) for l in map(json.loads,(f/"runs/small/results.jsonl").read_text().splitlines())])
