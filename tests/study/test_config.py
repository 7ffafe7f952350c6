"""One definition a setting: flags, help, keywords, YAML, study.json and the rules of resuming."""

from pathlib import Path

import pytest
from made_run import write_study

from study.command_line import flag_of, given_settings, parser_of
from study.config import ReproduceConfig, StudyConfig, TrainingConfig, extra_of, key_of, read_yaml, to_yaml, validate
from study.errors import UsageError
from study.pipeline.resume_settings import merge_resume_arguments, recorded_settings

CONFIGS = (StudyConfig, ReproduceConfig)


def keys(config: type[TrainingConfig]) -> list[str]:
    return [key_of(config, name) for name in config.model_fields]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_setting_has_a_flag_a_help_text_a_group_and_a_rule_for_resuming(config: type[TrainingConfig]) -> None:
    text = parser_of(config, "x", "y").format_help()
    assert [key for key in keys(config) if f"{flag_of(key)} " not in text and f"{flag_of(key)}\n" not in text] == []
    for name, field in config.model_fields.items():
        assert field.description
        assert extra_of(config, name)["group"]
        assert extra_of(config, name)["on_resume"] in ("keep", "change", "session")


def test_a_command_line_gives_only_what_it_names() -> None:
    parser = parser_of(StudyConfig, "study.run", "")
    given = given_settings(parser, ["--samples", "5", "--fix", "lr=0.1", "--fix", "flip=none", "--audit", "2"])
    assert given == {"samples": "5", "fix": ["lr=0.1", "flip=none"], "audit": "2"}


def test_flags_keywords_and_yaml_mean_the_same(tmp_path: Path) -> None:
    flags = ["--samples", "5", "--fix", "lr=0.1", "--time-budget", "1.5h", "--recipe", "fast", "--recipe", "baseline"]
    parsed = validate(StudyConfig, given_settings(parser_of(StudyConfig, "x", ""), flags))
    keywords = validate(
        StudyConfig, {"samples": 5, "fix": {"lr": "0.1"}, "time_budget": 5400, "recipe": ["fast", "baseline"]}
    )
    (tmp_path / "study.yaml").write_text("samples: 5\nfix: {lr: '0.1'}\ntime-budget: 1.5h\nrecipe: [fast, baseline]\n")
    assert parsed == keywords == validate(StudyConfig, read_yaml(tmp_path / "study.yaml"))


def test_flags_win_over_the_file_of_settings(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("samples: 5\nseed: 3\n")
    command = ["--config", str(tmp_path / "study.yaml"), "--samples", "7"]
    given = given_settings(parser_of(StudyConfig, "x", ""), command)
    config = validate(StudyConfig, given)
    assert (config.samples, config.seed) == (7, 3)


def test_what_a_run_keeps_as_yaml_asks_for_the_same_run_again(tmp_path: Path) -> None:
    config = validate(StudyConfig, {"samples": 5, "fix": ["lr=0.1"], "control": "random", "quiet": True})
    (tmp_path / "study.yaml").write_text(to_yaml(config))
    again = validate(StudyConfig, read_yaml(tmp_path / "study.yaml"))
    assert again == config.model_copy(update={"quiet": False})


BAD = {
    "zero": ({"samples": "0"}, "--samples is '0'; allowed: greater than or equal to 1"),
    "text": ({"max_epochs": "ten"}, "--max-epochs is 'ten'; allowed: an integer"),
    "no fraction": ({"stop_at": "90%"}, "--stop-at is '90%'; allowed: a number"),
    "a vast integer": ({"seed": "1" + "0" * 5000}, "...'; allowed: an integer of fewer digits"),
    "not a number": ({"gpus_per_trial": "nan"}, "--gpus-per-trial is 'nan'"),
    "no unit": ({"time_budget": "soon"}, "--time-budget is 'soon'; allowed: a number and s, m, h or d, such as 30m"),
    "a path": ({"name": "../x"}, "--name is '../x'; allowed: up to 100 letters"),
    "a choice": ({"control": "grid"}, "--control is 'grid'; allowed: 'random'"),
    "a pair": ({"fix": ["lr"]}, "--fix is 'lr'; allowed: FIELD=VALUE, such as lr=0.01"),
    "twice": ({"fix": ["lr=1", "lr=2"]}, "lr is given twice"),
    "a store": ({"storage_path": "ftp://x"}, "--storage-path is 'ftp://x'; allowed: a folder, or an s3:// or gs://"),
    "unknown": ({"sample": 5}, "there is no setting --sample; known: "),
}


@pytest.mark.parametrize(("values", "words"), BAD.values(), ids=BAD)
def test_a_value_that_is_not_allowed_is_one_line_that_says_what_is(values: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as error:
        validate(StudyConfig, values, flag_of)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["- 1\n", "samples: [\n", "\x00"])
def test_a_file_of_settings_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(UsageError, match=r"study\.yaml"):
        read_yaml(tmp_path / "study.yaml")


def run_that_began_with(path: Path, **arguments: object) -> Path:
    path.mkdir()
    write_study(path, {}, arguments=arguments)
    return path


def test_a_resumed_run_keeps_its_settings_except_those_given_anew_and_those_of_one_session(tmp_path: Path) -> None:
    began = validate(StudyConfig, {"samples": 5, "seed": 3, "audit": 2, "quiet": True, "time_budget": "30m"})
    run = run_that_began_with(tmp_path / "one", **began.as_json())
    resumed = merge_resume_arguments(StudyConfig, run, {"samples": 9}, flag_of)
    assert (resumed.samples, resumed.seed, resumed.audit) == (9, 3, 2)
    assert (resumed.quiet, resumed.time_budget) == (False, None)


@pytest.mark.parametrize(
    "name", [n for n in StudyConfig.model_fields if extra_of(StudyConfig, n)["on_resume"] == "keep"]
)
def test_what_a_study_means_cannot_change_when_it_is_resumed(tmp_path: Path, name: str) -> None:
    other = {
        "fix": ["lr=0.5"], "recipe": ["fast"], "warm_start": ["x"], "image_size": 16, "skip_unreadable": True,
        "max_epochs": 3, "grace_period": 2, "reduction_factor": 3, "seed": 5, "validation_share": 0.2,
        "test_share": 0.3, "split_seed": 7,
    }  # fmt: skip
    run = run_that_began_with(tmp_path / "one", **validate(StudyConfig, {}).as_json())
    given = {name: other.get(name, "other")}
    if name in ("name", "runs_dir"):
        assert merge_resume_arguments(StudyConfig, run, given, flag_of).runs_dir == tmp_path
        return
    with pytest.raises(UsageError, match="cannot change when it is resumed"):
        merge_resume_arguments(StudyConfig, run, given, flag_of)


def test_code_may_be_named_at_its_new_place_and_only_a_network_keeps_the_name_that_recipes_have(tmp_path: Path) -> None:
    began = {"space": "old/mine.py:space", "model": "old/net.py:Net"}
    run = run_that_began_with(tmp_path / "one", **validate(StudyConfig, began).as_json())
    given = {"space": "new/mine.py:space", "model": "new/net.py:Net"}
    resumed = merge_resume_arguments(StudyConfig, run, given, flag_of)
    assert (resumed.space, resumed.model) == ("new/mine.py:space", "old/net.py:Net")
    with pytest.raises(UsageError, match="cannot change when it is resumed"):
        merge_resume_arguments(StudyConfig, run, {"space": "new/mine.py:other"}, flag_of)


def test_a_run_of_somebody_else_cannot_say_that_its_code_is_trusted() -> None:
    theirs = {"arguments": {"trust_code": True, "accept_changed_code": True, "samples": 7}}
    began = recorded_settings(StudyConfig, theirs)
    assert (began.samples, began.trust_code, began.accept_changed_code) == (7, False, False)


def test_a_run_made_before_a_setting_existed_has_the_value_of_that_time() -> None:
    old = {"arguments": {"space": "cnn", "samples": 20, "max_epochs": 10, "fix": [["lr", "0.1"]], "recipe": "baseline"}}
    began = recorded_settings(StudyConfig, old)
    assert (began.scheduler, began.sampler, began.metric) == ("asha", "tpe", "accuracy")
    assert began.space == "cnn-wide"  # what was called cnn then
    assert began.fix == {"lr": "0.1"}
    assert began.recipe == ["baseline"]


@pytest.mark.parametrize("name", ["recipe", "space", "warm_start", "model", "dataset", "trainer", "log_to", "fix"])
@pytest.mark.parametrize("value", [0.5, True, [0.5], [None], b"x"], ids=repr)
def test_a_value_of_a_type_that_no_setting_has_is_one_line(name: str, value: object) -> None:
    with pytest.raises(UsageError) as error:
        validate(StudyConfig, {name: value})
    assert str(error.value).startswith(f"{name} is ")
    assert "\n" not in str(error.value)
