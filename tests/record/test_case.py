"""A case and its axes: names that tell cases apart, and what a word names."""

import ast
import dataclasses
import itertools
from pathlib import Path

import msgspec
import pytest

from dlbench import record
from dlbench.contract import Plan
from dlbench.errors import UsageError
from dlbench.record.baseline import find_baseline
from dlbench.record.case import AXES, Case, case_of, columns, find_case, product

ROOT = Path(record.__file__).parents[2]
CASE = Case("ci", "train", "torch", "cuda:1", 64, 2, "tf32", "graph")
WAYS = {
    "suite": ["ci"],
    "backend": ["numpy", "torch"],
    "device": ["cpu", "opencl:1"],
    "mode": ["", "eager", "functional"],
    "precision": ["fp32", "bf16"],
    "scenario": ["train", "infer"],
    "batch": [1, 64],
    "threads": [2],
}


def test_labels_and_row_names_leave_out_what_is_the_default():
    assert "torch:cuda:1/graph/tf32/train/64" == CASE.label
    assert "torch:cuda:1/graph/tf32" == CASE.row_name
    plain = Case("ci", "infer", "numpy", "cpu", 1, 2)
    assert ("numpy:cpu/infer/1", "numpy:cpu") == (plain.label, plain.row_name)


def test_ranks_are_told_behind_the_row_and_one_is_not():
    four = msgspec.structs.replace(CASE, world=4)
    assert "torch:cuda:1/graph/tf32/4-ranks/train/64" == four.label
    assert "torch:cuda:1/graph/tf32/4-ranks" == four.row_name
    assert "ci/torch:cuda:1/train/64[graph][4-ranks]" == four.key
    assert CASE == find_case("torch:cuda:1/train/64", [four, CASE], "--waive")
    assert four == find_case("torch:cuda:1/4-ranks/train/64", [four, CASE], "--waive")
    assert CASE.row_name == find_baseline("torch:cuda:1", [four, CASE]).cases[0].row_name


def test_ranks_share_the_batches_of_a_training_alone():
    found = list(product({**WAYS, "world": [1, 2]}))
    assert {("train", 1), ("train", 2), ("infer", 1)} == {(c.scenario, c.world) for c in found}


def test_what_is_streamed_is_a_training_and_told_in_the_row():
    streamed = msgspec.structs.replace(CASE, input="streamed")
    assert "torch:cuda:1/graph/tf32/streamed/train/64" == streamed.label
    assert "ci/torch:cuda:1/train/64[graph][streamed]" == streamed.key
    assert streamed == find_case("torch:cuda:1/streamed/train/64", [streamed, CASE], "--waive")
    assert CASE == find_case("torch:cuda:1/train/64", [streamed, CASE], "--waive")
    found = list(product({**WAYS, "input": ["resident", "streamed"]}))
    wanted = {("train", "resident"), ("train", "streamed"), ("infer", "resident")}
    assert wanted == {(c.scenario, c.input) for c in found}


def test_no_two_cases_of_a_suite_have_one_label():
    every = list(product(WAYS))
    assert 96 == len(every) == len({case.label for case in every})


def test_a_record_holds_a_case_flat_and_one_without_newer_fields_is_read():
    assert columns(CASE) == msgspec.json.decode(msgspec.json.encode(CASE))
    old = {
        name: value for name, value in columns(CASE).items() if name not in ("mode", "precision")
    }
    found = msgspec.convert(old, Case)
    assert ("fp32", "") == (found.precision, found.mode)
    assert CASE == case_of(columns(CASE))


def test_scenarios_share_a_configuration_and_nothing_else_does():
    for one, other in itertools.combinations(product(WAYS), 2):
        differ = {
            axis.name for axis in AXES if getattr(one, axis.name) != getattr(other, axis.name)
        }
        assert (one.configuration == other.configuration) == (differ == {"scenario"})


def test_the_plan_has_every_axis_but_the_suites_and_says_what_the_case_does():
    fields = {field.name for field in dataclasses.fields(Plan)}
    assert fields - {"seed"} <= {axis.name for axis in AXES} <= fields | {"suite", "scenario"}
    made = dataclasses.asdict(CASE.plan(3))
    assert 3 == made.pop("seed")
    assert made.items() <= columns(CASE).items()


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("torch:cpu/eager/train/64", "torch:cpu/eager/train/64"),
        ("numpy:cpu/train/64", "numpy:cpu/train/64"),
        ("numpy:cpu/bf16/train/64", "numpy:cpu/bf16/train/64"),
        # what has a default may be left out, and may be said
        ("cupy:cuda/train/64", "cupy:cuda/graph/train/64"),
        ("numpy:cpu/fp32/train/64", "numpy:cpu/train/64"),
    ],
)
def test_a_word_names_the_case_that_it_can_only_mean(word, label):
    there = [
        *product({**WAYS, "backend": ["numpy"], "device": ["cpu"], "mode": [""]}),
        *product({**WAYS, "backend": ["torch"], "device": ["cpu"], "mode": ["eager", "graph"]}),
        *product(
            {
                **WAYS,
                "backend": ["cupy"],
                "device": ["cuda"],
                "mode": ["graph"],
                "precision": ["fp32"],
            }
        ),
    ]
    assert label == find_case(word, there, "--waive").label


def test_a_word_that_several_cases_go_by_is_refused_with_them():
    there = list(
        product({**WAYS, "backend": ["torch"], "mode": ["eager", "graph"], "precision": ["fp32"]})
    )
    told = "'torch:cpu/train/64' names several cases: torch:cpu/eager/train/64, torch:cpu/graph/train/64"
    with pytest.raises(UsageError, match=told):
        find_case("torch:cpu/train/64", there, "--waive")
    with pytest.raises(UsageError, match="no case is called 'torch:cpu/trian/64'; did you mean"):
        find_case("torch:cpu/trian/64", there, "--waive")


ROWS = [
    *product({**WAYS, "backend": ["numpy"], "device": ["cpu"], "mode": [""]}),
    *product({**WAYS, "backend": ["cupy"], "device": ["cuda"], "mode": ["eager", "graph"]}),
    *product({**WAYS, "backend": ["my.module:Adapter"], "device": ["opencl:1"], "mode": ["own"]}),
]


@pytest.mark.parametrize(
    ("word", "name", "rows"),
    [
        ("numpy:cpu", "numpy:cpu", {"numpy:cpu", "numpy:cpu/bf16"}),
        ("cupy:cuda/graph", "cupy:cuda/graph", {"cupy:cuda/graph", "cupy:cuda/graph/bf16"}),
        ("cupy:cuda/graph/bf16", "cupy:cuda/graph/bf16", {"cupy:cuda/graph/bf16"}),
        ("numpy:cpu/fp32", "numpy:cpu", {"numpy:cpu"}),
        (
            "my.module:Adapter:opencl:1",
            "my.module:Adapter:opencl:1/own",
            {"my.module:Adapter:opencl:1/own", "my.module:Adapter:opencl:1/own/bf16"},
        ),
    ],
)
def test_a_baseline_is_one_row_in_whatever_precisions_it_has(word, name, rows):
    found = find_baseline(word, ROWS)
    assert (name, rows) == (found.name, {case.row_name for case in found.cases})


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (
            "cupy:cuda",
            "matches several rows: cupy:cuda/eager, cupy:cuda/eager/bf16, cupy:cuda/graph",
        ),
        ("cupy:cuda/bf16", "matches several rows: cupy:cuda/eager/bf16, cupy:cuda/graph/bf16"),
        ("cupy:cpu", "matches no row; the rows are: numpy:cpu, "),
        ("cupy", "is not a backend:device"),
    ],
)
def test_a_baseline_that_names_no_row_or_several_is_refused_with_those_there_are(word, told):
    with pytest.raises(UsageError, match=told):
        find_baseline(word, ROWS)


def test_a_baseline_in_a_chosen_precision_is_that_of_all_rows():
    base = find_baseline("numpy:cpu/bf16", ROWS)
    for case in ROWS:
        found = base.of(case)
        assert found is not None
        assert ("numpy:cpu/bf16", case.batch, case.scenario) == (
            found.row_name,
            found.batch,
            found.scenario,
        )


def test_the_axes_are_listed_nowhere_else():
    """A call, a display or a class with most of the axes by name is a second list of them."""
    names = {axis.name for axis in AXES}
    listed = {}
    for folder in ("dlbench", "reports", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if len(_named(node) & names) > len(names) // 2:
                    listed.setdefault(path.name, []).append(node.lineno)
    # what a backend is told is part of the public contract, and holds the same names by the test above; what is held
    # against the oracle is one backend, in one of each of its ways
    assert {"case.py", "contract.py", "conformance.py"} == listed.keys(), listed


def _named(node: ast.AST) -> set[str]:
    match node:
        case ast.Call():
            return {word.arg for word in node.keywords if word.arg} | _read(node.args)
        case ast.Tuple() | ast.List() | ast.Set():
            return _read(node.elts)
        case ast.Dict():
            return _read([each for each in node.keys if each])
        case ast.ClassDef():
            fields = (each.target for each in node.body if isinstance(each, ast.AnnAssign))
            return {field.id for field in fields if isinstance(field, ast.Name)}
        case ast.FunctionDef():
            return {word.arg for word in (*node.args.args, *node.args.kwonlyargs)}
        case ast.JoinedStr():
            return _read(
                [each.value for each in node.values if isinstance(each, ast.FormattedValue)]
            )
    return set()


def _read(nodes: list[ast.expr]) -> set[str]:
    found = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return {str(each) for each in found} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    }
