import pytest

from mmcl.reports.configs import REMOVED, parse, parse_overrides
from mmcl.reports.swept import UNSET, RunConfig, compare
from tests.reports.dashboard_jobs import config


def test_overrides_that_differ_are_the_keys_and_the_seed_is_not_one():
    runs = [
        RunConfig([f"data.style_change_prob={p}", f"seed={seed}", "experiment=a"], config(seed, float(p)))
        for p in ("1", "0.5")
        for seed in (0, 1)
    ]
    found = compare(runs)
    assert found.keys == ["data.style_change_prob"]
    assert found.labels == ["style_change_prob"]
    assert found.values == [(1,), (1,), (0.5,), (0.5,)]


def test_a_group_that_was_chosen_is_one_key_and_not_all_that_it_changes():
    one, other = config(), config()
    other["loss"] = {"_target_": "mmcl.losses.AlignMaxEnt", "tau": 0.5}
    found = compare([RunConfig(["loss=sym"], one), RunConfig(["loss=align"], other)])
    assert (found.keys, found.values) == (["loss"], [("sym",), ("align",)])


def test_a_run_that_does_not_override_a_key_has_its_configs_value():
    found = compare([RunConfig(["data.causal=true"], config(causal=True)), RunConfig([], config())])
    assert (found.keys, found.values) == (["data.causal"], [(True,), (False,)])


def test_a_run_that_has_not_begun_is_known_by_its_overrides():
    runs = [
        RunConfig(["data.style_change_prob=1.0", "loss=sym"], config(prob=1.0)),
        RunConfig(["data.style_change_prob=1"], None),
    ]
    found = compare(runs)
    assert (found.keys, found.values) == (["loss"], [("sym",), (UNSET,)])


def test_a_default_that_was_edited_between_two_launches_is_shown():
    edited = config(1)
    edited["loss"]["temperature"] = 0.5
    found = compare(
        [RunConfig(["seed=0"], config(0)), RunConfig(["seed=1"], edited), RunConfig(["seed=2"], None)]
    )
    assert (found.keys, found.values) == (["loss.temperature"], [(1,), (0.5,), (UNSET,)])


def test_keys_that_end_alike_keep_their_whole_names():
    runs = [
        RunConfig(["data.lr=1", "optimizer.lr=1"], None),
        RunConfig(["data.lr=2", "optimizer.lr=2"], None),
    ]
    assert compare(runs).labels == ["data.lr", "optimizer.lr"]


def test_true_and_1_are_two_values():
    assert compare([RunConfig(["a=true"], None), RunConfig(["a=1"], None)]).keys == ["a"]


def test_no_runs_and_one_run_differ_in_nothing():
    assert compare([]).keys == []
    assert compare([RunConfig(["a=1"], None)]).values == [()]


def test_overrides_are_read_as_hydra_writes_them():
    read = parse_overrides(
        ["+a=1", "++a=2", "b='x y'", "c=[1, 2]", "d=1e-4", "hydra.job.num=3", "e=a=b", "f="]
    )
    assert read == {"a": 2, "b": "x y", "c": [1, 2], "d": 0.0001, "e": "a=b", "f": ""}


VALUES = (
    "1", "-3", "+3", "1_000", "007", "0", "1e-3", "1E5", ".5", "1.", "-0.25", "inf", "-inf", "12e4567890", "True",
    "FALSE", "null", "on", "yes", "off", "1:30", "2020-01-01", "0x10", "1_", "'x y'", '"a,b"', "'it\\'s'",
    "[relu,tanh]", "[1, 2.0]", "[[1,2],[a,b]]", "[]", "{a:1,b:[x,y]}", "{}", "abc", "a b", "infinity", "'true'",
    "['a,b',c]", "a-b/c.d", "1.5.2", "5x",
)  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_read_as_hydra_reads_it(value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    theirs = OverridesParser.create().parse_override(f"k={value}").value()
    assert repr(parse(value)) == repr(theirs)


def test_what_is_removed_is_told_from_the_word():
    read = parse_overrides(["~a", "b=removed", "~c=1"])
    assert (read["a"], read["b"], read["c"]) == (REMOVED, "removed", REMOVED)
    assert compare([RunConfig(["~a"], None), RunConfig(["a=1"], None)]).values == [("removed",), (1,)]


def test_a_list_of_words_is_one_value_however_it_is_written():
    one = config()
    one["encoder"] = {"layers": ["relu", "tanh"]}
    found = compare(
        [RunConfig(["encoder.layers=[relu, tanh]"], one), RunConfig(["encoder.layers=[relu,tanh]"], None)]
    )
    assert found.keys == []
