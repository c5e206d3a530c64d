"""What a run came to, as objects and as DataFrames."""

import dataclasses
import html.parser

import numpy as np
import pytest

import dlbench
from dlbench.record.schema import Skip

HOSTILE = "<script>alert(1)</script>&\"'$x$ \x1b[31m<img src=x onerror=alert(2)>"


def lines_of(make, *cases):
    """What a run of three rounds writes of cases that went well."""
    for case in cases:
        yield make.verification(case)
        for number in (1, 2, 3):
            yield make.process(case, number)


@pytest.fixture
def written(make, write_record, tmp_path):
    """A record with two rows that went well and one that is skipped."""
    numpy_, torch, absent = make.case("numpy"), make.case("torch"), make.case("cupy", "cuda")
    lines = [*lines_of(make, numpy_, torch), Skip(absent, "no GPU", "get one")]
    record = make.measured([numpy_, torch, absent], lines)
    return write_record(tmp_path / "run.jsonl", record)


def test_a_case_has_typed_fields_which_nobody_can_change(written):
    results = dlbench.load(written)
    torch = results["torch:cpu/train/64"]
    assert ("torch", "eager", 64) == (torch.case.backend, torch.case.mode, torch.case.batch)
    assert torch.step.low <= torch.step.value <= torch.step.high
    assert torch.samples_per_s == pytest.approx(64 / torch.step.value)
    assert "numpy:cpu" == torch.baseline
    assert torch.speedup.value == pytest.approx(36 / 37, rel=0.01)
    assert torch.step.value == torch.cells["median_s"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        torch.status = "ok"
    with pytest.raises(TypeError):
        torch.cells["median_s"] = 1.0
    absent = results["cupy:cuda/train/64"]
    assert ("skipped", None, None) == (absent.status, absent.step, absent.speedup)
    assert "no GPU: get one" == absent.problem


def test_a_label_that_names_no_case_is_told_with_the_nearest(written):
    with pytest.raises(dlbench.UsageError, match="did you mean 'numpy:cpu/train/64'"):
        _ = dlbench.load(written)["numpi:cpu/train/64"]


def test_speed_ups_refer_to_the_row_that_is_asked_for(written):
    over_torch = dlbench.load(written).with_baseline("torch:cpu")
    assert 1.0 == over_torch["torch:cpu/train/64"].speedup.value
    assert over_torch["numpy:cpu/train/64"].speedup.value == pytest.approx(37 / 36, rel=0.01)
    with pytest.raises(dlbench.UsageError, match="acme"):
        over_torch.with_baseline("acme:cpu")


def test_its_text_says_what_there_is_and_its_str_is_the_table_of_the_command_line(written):
    results = dlbench.load(written)
    told = repr(results)
    assert "Results of cnn-mnist: 3 cases (2 ok, 1 skipped)" == told.splitlines()[0]
    assert "<cupy:cuda/train/64: skipped: no GPU: get one>" in told
    assert "ms [" in told
    assert results.report("table", width=120) == f"{results}\n"
    arrows = results.report("table", width=1000).splitlines()
    assert results.conclusions
    assert {f"→ {sentence}" for sentence in results.conclusions} <= set(arrows)
    with pytest.raises(dlbench.UsageError, match="format 'tabel' is unknown"):
        results.report("tabel")


def test_a_long_list_of_cases_is_cut_in_its_text(make, write_record, tmp_path):
    cases = [make.case("numpy", batch=size) for size in range(1, 41)]
    record = make.measured(cases, list(lines_of(make, *cases)))
    results = dlbench.load(write_record(tmp_path / "long.jsonl", record))
    assert (40, 14) == (len(results), len(repr(results).splitlines()))
    assert repr(results).endswith("… and 28 more")


def test_a_frame_has_a_row_a_case_a_process_or_a_timing(written, ran):
    for results in (dlbench.load(written), ran[0]):
        cases, processes, timings = (
            results.to_pandas(per=each) for each in ("case", "process", "timing")
        )
        assert len(results) == len(cases)
        assert processes["counts"].sum() == sum(len(each.processes) for each in results)
        # what was measured again is there too
        processes, timings = (each[each["counts"]] for each in (processes, timings))
        steps = sum(len(p.timings_ns) for each in results for p in each.processes)
        warm = sum(len(p.warmup_ns) for each in results for p in each.processes)
        assert (steps + warm, steps) == (len(timings), (timings["phase"] == "steady").sum())
        # the figures of a case are those of its processes, and these of their steps
        steady = timings[timings["phase"] == "steady"]
        axes = ["backend", "scenario", "batch", "round"]
        medians = steady.groupby(axes, observed=True)["time_s"].median()
        told = processes.set_index(axes)["median_s"]
        assert np.allclose(medians.sort_index(), told.sort_index(), rtol=1e-9)
        assert {"float64"} == {str(dtype) for dtype in processes.filter(regex="_s$").dtypes}


def test_what_does_not_count_says_so(make, write_record, tmp_path):
    case, wrong = make.case("numpy"), make.case("torch")
    failed = make.verification(wrong, "unverified", "gradient is 0")
    lines = [*lines_of(make, case), failed, make.process(wrong, 1)]
    path = write_record(tmp_path / "wrong.jsonl", make.measured([case, wrong], lines))
    processes = dlbench.load(path).to_pandas(per="process")
    of_wrong = processes[processes["backend"] == "torch"]
    assert ({"unverified"}, {False}) == (set(of_wrong["case_status"]), set(of_wrong["counts"]))
    assert processes[processes["backend"] == "numpy"]["counts"].all()


def test_an_empty_record_has_empty_frames(make, write_record, tmp_path):
    path = write_record(tmp_path / "none.jsonl", make.record())
    results = dlbench.load(path)
    columns = {each: list(results.to_pandas(per=each)) for each in ("process", "timing")}
    assert columns["timing"][-2:] == ["step", "time_s"]
    assert "median_s" in columns["process"]
    with pytest.raises(dlbench.UsageError, match="per = 'step' is unknown"):
        results.to_pandas(per="step")


class Markup(html.parser.HTMLParser):
    """Every tag and attribute of a piece of HTML, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.text += data


def test_in_a_notebook_it_is_the_same_table_with_everything_quoted_escaped(
    make, write_record, tmp_path
):
    case, absent = make.case("numpy"), make.case("cupy", "cuda")
    lines = [*lines_of(make, case), Skip(absent, HOSTILE, HOSTILE)]
    record = make.measured([case, absent], lines)
    results = dlbench.load(write_record(tmp_path / "bad.jsonl", record))
    shown = Markup(results._repr_html_())
    allowed = {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    assert allowed >= set(shown.tags)
    assert {"class", "style", "colspan"} >= shown.attributes
    assert "<script>alert(1)</script>&\"'$x$" in shown.text
    assert "mathjax_ignore" in results._repr_html_()
    assert "36.0 ms" in shown.text


def test_a_comparison_is_a_table_too(written):
    both = dlbench.compare(written, dlbench.load(written))
    shown = Markup(both._repr_html_())
    assert "torch:cpu/eager/train/64" in shown.text
    assert both.report("json").startswith("{")
    assert ["base_s", "new_s"] == [name for name in both.to_pandas() if name.endswith("_s")]
