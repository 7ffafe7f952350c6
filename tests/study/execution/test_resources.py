import pytest

from study.errors import ResourceError
from study.execution.resources import check_fraction, plan

LAPTOP = [{"CPU": 2.0}]
COLAB = [{"CPU": 2.0, "GPU": 1.0}]


def test_a_cpu_machine_runs_one_trial_on_each_core() -> None:
    slots = plan(LAPTOP, None, None, None)
    assert (slots.cpus, slots.gpus, slots.count, slots.reason) == (1.0, 0.0, 2, "")


def test_a_colab_machine_with_two_cpus_holds_four_trials_on_its_gpu() -> None:
    slots = plan(COLAB, None, None, None)
    assert (slots.cpus, slots.gpus, slots.count) == (0.5, 0.25, 4)
    assert "0.5 CPU a trial instead of 1" in slots.reason


def test_smaller_cpu_shares_come_with_a_warning_and_what_to_do() -> None:
    assert "--gpus-per-trial" in plan(COLAB, None, None, None).reason
    assert plan(COLAB, 0.5, None, None).reason == ""


def test_gpus_of_several_kinds_are_named() -> None:
    nodes = [
        {"CPU": 8.0, "GPU": 1.0, "accelerator_type:T4": 1.0},
        {"CPU": 8.0, "GPU": 1.0, "accelerator_type:A100": 1.0},
    ]
    assert "A100, T4" in plan(nodes, None, None, None).reason
    assert plan(nodes[:1], None, None, None).reason == ""
    assert plan(nodes, 0.0, None, None).reason == ""


def test_a_training_never_gets_more_than_one_gpu() -> None:
    with pytest.raises(ResourceError, match="--gpus-per-trial is 2; allowed: from 0 to 1"):
        plan([{"CPU": 16.0, "GPU": 2.0}], 2.0, None, None)
    assert plan([{"CPU": 16.0, "GPU": 2.0}], 1.0, None, None).count == 2


def test_cpus_that_were_asked_for_shrink_as_well_where_they_would_limit_the_gpu() -> None:
    assert plan(COLAB, 0.25, 2.0, None).count == 4


def test_a_third_of_a_gpu_holds_three_trials_and_never_bridges_two_gpus() -> None:
    assert plan([{"CPU": 16.0, "GPU": 2.0}], 0.3, None, None).count == 6
    assert plan([{"CPU": 16.0, "GPU": 2.0}], 0.4, None, None).count == 4


def test_slots_are_counted_node_by_node() -> None:
    assert plan([{"CPU": 3.0}, {"CPU": 3.0}], None, 2.0, None).count == 2


def test_max_concurrent_only_lowers_the_count() -> None:
    assert plan(LAPTOP, None, None, 1).count == 1
    assert plan(LAPTOP, None, None, 8).count == 2


@pytest.mark.parametrize(
    ("flag", "amount"),
    [("--gpus-per-trial", 1.5), ("--gpus-per-trial", 0.33333), ("--cpus-per-trial", 0.0), ("--cpus-per-trial", -1.0)],
)
def test_an_amount_that_ray_can_place_nowhere_is_refused_with_its_flag(flag: str, amount: float) -> None:
    with pytest.raises(ResourceError, match=flag):
        check_fraction(flag, amount)


def test_a_request_that_no_node_can_satisfy_is_refused_with_what_there_is() -> None:
    with pytest.raises(ResourceError, match="no node has a GPU"):
        plan(LAPTOP, 1.0, None, None)
    with pytest.raises(ResourceError, match="no node has more than 2 CPU"):
        plan(LAPTOP, None, 4.0, None)
