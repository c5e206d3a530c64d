"""A slowdown between two records comes with the layers that it is in, where both have profiles."""

import re

import msgspec
import pytest
from click.testing import CliRunner
from ladder_makers import Costs, Machine, made_up
from record_makers import make_case, make_header, make_process, make_verification

from dlbench.cli import main
from dlbench.record.schema import Record
from dlbench.spec.suite import load_suite

WORKLOAD = load_suite("cnn-mnist").workload
COSTS = Costs(*({node.name: 1.0 for node in WORKLOAD.nodes} for _ in range(2)))


@pytest.fixture
def compared(tmp_path, write_record):
    """What is said of a case that takes half as long again, with these costs of layers in both records; None for a
    record without a profile."""

    def compare(base, new, *words):
        case = make_case()
        header = msgspec.structs.replace(make_header([case]), workload=WORKLOAD.to_table())
        for name, costs, median_s in (("base", base, 0.02), ("new", new, 0.03)):
            lines = [make_verification(case), *(make_process(case, n, median_s) for n in (1, 2, 3))]
            if costs is not None:
                profile = made_up(WORKLOAD, costs, machine=Machine(scatter=0.01))
                lines.append(msgspec.structs.replace(profile, case=case))
            write_record(tmp_path / f"{name}.jsonl", Record(header, tuple(lines)))
        paths = [str(tmp_path / f"{name}.jsonl") for name in ("base", "new")]
        return CliRunner().invoke(main.cli, ["compare", *paths, *words])

    return compare


def test_a_slowdown_comes_with_its_layers(compared):
    done = compared(COSTS, COSTS.later("conv2", 4.0), "--explain")
    assert 1 == done.exit_code
    said = " ".join(done.output.split())
    assert "SLOWER" in said
    assert re.search(r"slower in conv2 \(\+(3\.9|4\.)", said), said
    assert "conv1" not in said


def test_a_slowdown_that_is_in_no_layer_says_so(compared):
    assert "in which layers cannot be told" in " ".join(
        compared(COSTS, COSTS, "--explain").output.split()
    )


def test_records_without_profiles_say_how_to_make_them(compared):
    said = " ".join(compared(COSTS, None, "--explain").output.split())
    assert "both records need profiles (dlbench run --profile)" in said


def test_nothing_is_said_of_layers_where_nobody_asked(compared):
    assert "conv2" not in compared(COSTS, COSTS.later("conv2", 4.0)).output
