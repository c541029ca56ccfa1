"""The memory of a machine, and what it allows."""

import pytest
from click.testing import CliRunner
from quick_class import QuickJudges
from tiny import SECRET, TINY, write_submission

from autograder.batch import memory
from autograder.batch.memory import GATE, JUDGE, RUN, MemoryShortError, available_gib, plan_memory
from autograder.cli import main
from autograder.course.seeds import SECRET_VARIABLE

GIB = 2**30


@pytest.mark.parametrize("gates", [False, True])
@pytest.mark.parametrize("jobs", [1, 2, 5, 16])
@pytest.mark.parametrize("budget", [5.5, 7.0, 8.6, 11.5, 23.0, 64.0])
def test_what_runs_at_once_never_exceeds_the_budget_and_nothing_more_would_fit(budget, jobs, gates):
    plan = plan_memory(jobs, budget, gates)
    assert 1 <= plan.jobs <= jobs and (1 <= plan.gates <= plan.jobs)
    gate = GATE if gates else 0
    taken = RUN + plan.jobs * JUDGE + plan.gates * gate
    assert taken <= budget
    if plan.jobs < jobs:
        assert RUN + (plan.jobs + 1) * JUDGE + gate > budget
    if gates and plan.gates < plan.jobs:
        assert taken + gate > budget
    assert bool(plan.words) == (plan.jobs < jobs or (gates and plan.gates < plan.jobs))


def test_it_is_said_what_is_held_back():
    words = plan_memory(4, 9.0, True).words
    assert words == ("Memory: 9.0 GiB for this run: 2 instead of 4 submissions side by side (each may need 3 GiB), and 1 gate at a "
                     "time (each may need 1.5 GiB more).")  # fmt: skip


def test_a_budget_too_small_for_one_is_refused_with_what_is_needed():
    with pytest.raises(MemoryShortError, match=r"--memory 5: one submission may need 5.5 GiB while a gate is measured.*at least 5.5"):
        plan_memory(1, 5, True)
    assert plan_memory(1, 5, False).jobs == 1


def test_a_machine_with_too_little_is_warned_of_and_used(monkeypatch):
    monkeypatch.setattr(memory, "available_gib", lambda: 2.0)
    plan = plan_memory(4, None, False)
    assert (plan.jobs, plan.gates) == (1, 1) and "only 2.0 GiB are free" in plan.words


@pytest.mark.parametrize(("budget", "only", "places"), [(9.0, ("net.accuracy",), 1), (23.0, ("net.accuracy",), 3), (9.0, ("double",), 0)])
def test_a_run_has_as_many_places_at_the_gate_as_its_memory_allows(monkeypatch, tmp_path, budget, only, places):
    judges = QuickJudges(monkeypatch, tmp_path)
    judges.run(judges.write("ann"), jobs=3, memory=budget, only=only)
    assert judges.places == places
    assert any(line.startswith("Memory: 9.0 GiB") for line in judges.said) == (budget == 9.0)


def test_the_command_line_refuses_it_as_bad_usage(tmp_path):
    path = write_submission(tmp_path / "ann")
    found = CliRunner().invoke(main, ["grade", str(path), "--out", str(tmp_path / "out"), "--assignment", str(TINY), "--memory", "1"],
                               env={SECRET_VARIABLE: SECRET})  # fmt: skip
    assert found.exit_code == 2 and "Give at least 4.0 GiB" in found.output


def machine(root, free, cgroup="", **files):
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {free * 2**20} kB\n")
    (root / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    return root


def test_without_limits_it_is_what_the_kernel_has_less_a_margin(tmp_path):
    assert available_gib(machine(tmp_path, 40)) == pytest.approx(36)


def test_a_small_machine_keeps_half_a_gibibyte(tmp_path):
    assert available_gib(machine(tmp_path, 4)) == pytest.approx(3.5)


def test_a_limit_of_cgroups_2_on_a_group_above_counts_and_pages_of_files_do_not(tmp_path):
    files = {"a__memory.max": 12 * GIB, "a__memory.current": 7 * GIB, "a__memory.stat": f"anon 5\ninactive_file {5 * GIB}\n",
             "a__b__memory.max": "max", "a__b__memory.current": 1}  # fmt: skip
    assert available_gib(machine(tmp_path, 40, "0::/a/b\n", **files)) == pytest.approx(9)


def test_a_limit_of_cgroups_1_is_found_at_the_root_of_a_container(tmp_path):
    files = {"memory__memory.limit_in_bytes": 8 * GIB, "memory__memory.usage_in_bytes": 2 * GIB,
             "memory__memory.stat": f"total_inactive_file {GIB}"}  # fmt: skip
    assert available_gib(machine(tmp_path, 40, "5:cpu,memory:/docker/far/away\n4:pids:/x\n", **files)) == pytest.approx(6.3)


def test_no_limit_of_cgroups_1_is_no_limit(tmp_path):
    files = {"memory__memory.limit_in_bytes": 9223372036854771712, "memory__memory.usage_in_bytes": GIB}
    assert available_gib(machine(tmp_path, 20, "5:memory:/\n", **files)) == pytest.approx(18)


def test_this_machine_has_some():
    assert 0 <= available_gib() < 2**14
