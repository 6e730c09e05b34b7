"""Planning a run: every parameter is checked before anything starts, and the message names where it was set."""

from pathlib import Path

import pytest
from conftest import mqg

from mqg_utils.workflow.parameters import ParameterError
from mqg_utils.workflow.plan import plan, sources_of


def steps(plan_):
    return [(step.stage, step.variant) for step in plan_.steps]


def preset(project: Path, text: str) -> str:
    file = project / "mine.yaml"
    file.write_text(text)
    return str(file)


def test_quick_has_each_stage_and_each_condition(project):
    assert steps(plan("quick")) == [
        ("01_corpus", ""),
        ("02_pretrain", ""),
        ("03_generate", ""),
        ("04_finetune", "base"),
        ("04_finetune", "books+questions"),
        ("05_evaluate", "base"),
        ("05_evaluate", "books+questions"),
        ("06_report", ""),
    ]


def test_stages_nobody_reads_are_left_out(project):
    only_base = plan("quick", ["run.conditions=[base]"])
    assert "02_pretrain" not in [s.stage for s in only_base.steps]
    assert "03_generate" not in [s.stage for s in only_base.steps]
    mixed = plan("quick", ["finetune.order=mixed"]).steps  # stage 04 reads the book itself
    assert {"02_pretrain", "03_generate"} & {s.stage for s in mixed} == {"03_generate"}
    both = plan("quick", ["finetune.order=mixed", "run.conditions=[books, books+questions]"])
    read = {step.title: [s.stage for s in sources_of(step, both.steps)] for step in both.steps}
    assert read["04_finetune (books)"] == ["01_corpus", "02_pretrain"]
    assert read["04_finetune (books+questions)"] == ["01_corpus", "03_generate"]


def test_a_chat_model_sits_the_exam_without_training(project):
    found = steps(plan("quick", ["run.conditions=[open-book, server]"]))
    assert [s for s in found if s[1]] == [
        ("04_finetune", "open-book"),
        ("05_evaluate", "open-book"),
        ("05_evaluate", "server"),
    ]


def test_more_seeds_are_folders_of_their_own(project):
    variants = [s.variant for s in plan("quick", ["run.seeds=[3, 4]", "run.conditions=base"]).steps if s.variant]
    assert variants == ["base", "base@4", "base", "base@4"]


def test_one_seed_for_all_is_the_seed_of_the_run(project):
    seeds = {step.parameters["seed"] for step in plan("quick", ["seed=5"]).steps if step.key != "generate"}
    assert seeds == {5}


def test_flags_are_read_as_their_parameter_declares(project):
    flags = ["corpus.exam_format=The Heart: Anatomy", "finetune.learning_rate=2e-4", "corpus.language=no"]
    corpus, *_, tune, _, _, _ = plan("quick", flags).steps
    assert corpus.parameters["exam_format"] == "The Heart: Anatomy" and corpus.parameters["language"] == "no"
    assert tune.parameters["learning_rate"] == 2e-4
    corpus, *_ = plan("quick", ["corpus.chapters=The Heart: Anatomy"]).steps
    assert corpus.parameters["chapters"] == ["The Heart: Anatomy"]


def test_shared_values_go_to_the_stages_that_have_them(project):
    by_key = {s.key: s.parameters for s in plan("quick", ["threads=2"]).steps}
    assert by_key["pretrain"]["threads"] == 2 and "threads" not in by_key["corpus"]


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (
            "corpus.chaptr=Drugs",
            ["-p corpus.chaptr=Drugs", "01_corpus has no parameter 'chaptr'", "did you mean 'chapters'?"],
        ),
        ("pretrain.epochs=many", ["-p pretrain.epochs=many", "epochs is 'many'", "float"]),
        ("pretrain.lora_rank=1.5", ["lora_rank is 1.5", "int"]),
        ("corpus.strict=1", ["strict is 1", "bool"]),
        ("corpus.textbook=/no/such/book", ["textbook: no such file or folder: '/no/such/book'"]),
        ("corpus.textbook=", ["textbook is empty"]),
        ("nostage.epochs=1", ["unknown section 'nostage'", "corpus"]),
        ("epochs", ["expected stage.parameter=value"]),
        ("nothing_has_this=1", ["no stage has a parameter 'nothing_has_this'"]),
        ("run.conditions=[base, magic]", ["unknown condition 'magic'"]),
        ("run.colour=red", ["run has no parameter 'colour'"]),
        ("finetune.condition=base", ["no parameter", "condition"]),
        ("finetune.seed=7", ["no parameter 'seed'"]),
        ("report.conditions=[base]", ["no parameter 'conditions'"]),
        ("run.seeds=[0, 0]", ["contains duplicates"]),
        ("pretrain.learning_rate=fast", ["learning_rate is 'fast'", "float"]),
        ("evaluate.split=tset", ["-p evaluate.split=tset: split is 'tset', and it should be 'test', 'validation'"]),
        ("report.history=golden", ["history is 'golden'", "gold, predicted, none"]),
        ("finetune.readout=best", ["auto, truth, likelihood, pmi"]),
        ("generate.source=chatgpt", ["recorded, cloze, cloze-chains, cloze-single, server, batch"]),
        ("pretrain.epochs=0", ["epochs is 0", "greater than 0"]),
        ("corpus.split_shares=[0.3, 0.2, 1.5]", ["split_shares is [0.3, 0.2, 1.5]", "0 to 1"]),
    ],
)
def test_a_wrong_flag_is_named(project, flag, said):
    with pytest.raises(ParameterError) as error:
        plan("quick", [flag])
    for words in said:
        assert words in str(error.value)


def test_a_profile_changes_a_preset_and_flags_change_the_profile(project):
    (project / "p.yaml").write_text(
        "run:\n  seeds: [0, 1]\nprofile short:\n  run.seeds: [0]\n  evaluate.split: validation\n"
    )
    whole, short = plan(str(project / "p.yaml")), plan(str(project / "p.yaml"), ["evaluate.split=train"], "", "short")
    seeds = [len({s.parameters["seed"] for s in p.steps if s.key == "finetune"}) for p in (whole, short)]
    splits = [{s.parameters.get("split") for s in p.steps if s.key == "evaluate"} for p in (whole, short)]
    assert (seeds, splits) == ([2, 1], [{None}, {"train"}])
    with pytest.raises(ParameterError, match="has no profile 'tall'; it has short"):
        plan(str(project / "p.yaml"), profile="tall")


def test_a_wrong_preset_line_is_named(project):
    with pytest.raises(ParameterError, match=r"mine\.yaml:3: .*learning_rate is 'fast'"):
        plan(preset(project, "pretrain:\n  epochs: 1.0\n  learning_rate: fast\n"))
    with pytest.raises(ParameterError, match="unknown section 'pretraining'"):
        plan(preset(project, "pretraining:\n  epochs: 1.0\n"))
    with pytest.raises(ParameterError, match="not valid YAML"):
        plan(preset(project, "pretrain: [\n"))
    with pytest.raises(ParameterError, match=r"mine\.yaml:3: duplicate name 'epochs' in section 'pretrain'"):
        plan(preset(project, "pretrain:\n  epochs: 1.0\n  epochs: 2.0\n"))
    with pytest.raises(ParameterError, match="unknown preset 'nope'; choose one of"):
        plan("nope")


def test_yaml_runs_no_code(project):
    with pytest.raises(ParameterError):
        plan(preset(project, "shared: !!python/object/apply:os.system ['touch pwned']\n"))
    assert not (project / "pwned").exists()


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "c:d", 'q"'])
def test_a_run_name_stays_in_outputs(project, name):
    with pytest.raises(ParameterError, match="run name"):
        plan("quick", [], name)


@pytest.mark.slow
def test_nothing_starts_when_a_parameter_is_wrong(project):
    done = mqg(project, "run", "quick", "-p", "pretrain.epoch=3")
    assert done.returncode == 2
    assert "02_pretrain" in done.stderr and "epoch" in done.stderr and "Traceback" not in done.stderr
    assert not (project / "outputs").exists()
