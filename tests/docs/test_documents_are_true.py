import dataclasses
import json
import re
import shlex
from pathlib import Path

import click
import pytest

from dlbench.cli.main import cli
from dlbench.errors import SuiteError
from dlbench.spec.layers import KINDS
from dlbench.spec.suite import list_suites, load_suite, parse_suite
from dlbench.spec.training import LOSSES, OPTIMIZERS, SCHEDULES

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [path.name for path in DOCUMENTS]
WITH_LINKS = sorted({*ROOT.glob("*.md"), *DOCUMENTS})


def blocks(path, language=""):
    """The code blocks of a document that are marked with a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for marked, text in found if marked == language]


def commands(path):
    """Every dlbench command of a document as its words, without what comes behind a pipe."""
    lines = [line for block in blocks(path) for line in block.splitlines()]
    inline = re.findall(r"`(dlbench [^`]+)`", path.read_text("utf-8"))
    for line in [line for line in lines if line.startswith("dlbench ")] + inline:
        yield shlex.split(line.partition(" | ")[0], comments=True)


COMMANDS = sorted(
    {" ".join(words): words for path in DOCUMENTS for words in commands(path)}.items()
)


@pytest.mark.parametrize(
    "words", [words for _, words in COMMANDS], ids=[line for line, _ in COMMANDS]
)
def test_every_command_in_a_document_is_accepted_with_its_options(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # what a command reads must be there for its line to be accepted
    (tmp_path / "photos").mkdir()
    filled = [word.replace("*", "one") for word in words if word not in ("FILE…", "…")]
    for word in filled:
        if word.endswith((".jsonl", ".safetensors", ".h5")):
            path = tmp_path / word
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    command, arguments = cli, filled[1:]
    while isinstance(command, click.Group) and arguments:
        name, *arguments = arguments
        assert name in command.commands
        command = command.commands[name]
    # a command that is only named may lack what it needs
    if arguments or not any(parameter.required for parameter in command.params):
        assert command.make_context("dlbench", arguments, resilient_parsing=not arguments)


def test_there_are_commands_to_look_at():
    assert len(COMMANDS) >= 12


@pytest.mark.parametrize("path", WITH_LINKS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if target.startswith("http"):
            continue
        file, _, heading = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        if heading:
            text = linked.read_text("utf-8")
            titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, target


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_module_and_suite_that_a_document_names_exists(path):
    text = path.read_text("utf-8")
    files = set(re.findall(r"`((?:dlbench|backends|suites|reports|tests)/[\w/.-]+\.\w+)`", text))
    assert [] == [name for name in files if not (ROOT / name).exists()]
    known = {name for name, _ in list_suites()}
    suites = set(re.findall(r"--suite ([\w-]+)(?![\w.-])", text))
    assert set() == {name for name in suites if not name.endswith(".toml")} - known - {"mynet"}


def test_the_readmes_table_of_suites_is_what_the_suites_are():
    text = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(
        r"^\| `([\w-]+)` \| [^|]+ \| ([\d,]+) \| ([\d.,]+) \| (\w+) \| (\d+) \|$", text, re.M
    )
    assert {name for name, _ in list_suites()} == {row[0] for row in rows}
    for name, parameters, mega_flops, data, batch in rows:
        suite = load_suite(name)
        assert suite.workload.parameter_count == int(parameters.replace(",", "")), name
        stated = float(mega_flops.replace(",", "")) * 1e6
        assert suite.workload.training_flops == pytest.approx(stated, rel=5e-3), name
        assert (suite.data.name, suite.matrix.batches) == (data, (int(batch),)), name


def test_the_readmes_own_suite_is_one():
    (text,) = blocks(ROOT / "README.md", "toml")
    suite = parse_suite(text, Path("mynet.toml"))
    assert (3, 17, 23) == suite.workload.input_shape


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kernel = 5", "kernel = 19"),
        ("out_channels", "channels"),
        ('    { type = "flatten" },\n', ""),
    ],
)
def test_a_mistake_in_that_suite_is_told_as_the_readme_says(old, new):
    (text,) = blocks(ROOT / "README.md", "toml")
    with pytest.raises(SuiteError) as error:
        parse_suite(text.replace(old, new), Path("mynet.toml"))
    assert f"error: {error.value}\n" in (ROOT / "README.md").read_text("utf-8")


def test_the_readmes_example_for_programs_prints_what_it_says(dlbench, tmp_path):
    text = (ROOT / "README.md").read_text("utf-8")
    (line,) = re.findall(r"^(dlbench run .*) \| jq", text, re.MULTILINE)
    words = shlex.split(line)[1:]
    ran = dlbench(*words, "--output", "record.jsonl", cwd=tmp_path)
    assert 0 == ran.returncode, ran.stderr
    keys = ("backend", "scenario", "verified", "interval_over")
    rows = [[row[key] for key in keys] for row in json.loads(ran.stdout)["rows"]]
    assert "\n".join(json.dumps(row, separators=(",", ":")) for row in rows) in text
    # and the record says the same again
    again = dlbench("report", "record.jsonl", "--format", "json", cwd=tmp_path)
    assert json.loads(ran.stdout)["rows"] == json.loads(again.stdout)["rows"]


def test_a_suite_that_cannot_be_run_here_ends_with_the_stated_code(dlbench, tmp_path):
    assert 2 == dlbench("run", "--suite", "no-such-suite", cwd=tmp_path).returncode


@pytest.mark.parametrize("kinds", [KINDS, OPTIMIZERS, SCHEDULES, LOSSES])
def test_the_semantics_page_has_every_kind_with_its_options(kinds):
    text = (ROOT / "docs" / "semantics.md").read_text("utf-8")
    for word, kind in kinds.items():
        row = " ".join(re.findall(rf"^\| `{word}` \|.*$", text, re.MULTILINE))
        assert row, word
        inherited = re.search(r"as `(\w+)`", row)
        if inherited:
            row += next(r for r in text.splitlines() if r.startswith(f"| `{inherited[1]}` |"))
        for field in dataclasses.fields(kind):
            stated = re.search(rf"`{field.name}(?: = ([^`]+))?`", row)
            assert stated, (word, field.name)
            if stated[1]:
                default = (field.default, field.default)
                values = [part for part in default if isinstance(part, bool | int | float)]
                shown = {str(v).lower() for v in values} | {f"{v:g}" for v in values}
                shown |= {f'"{field.default}"'} if isinstance(field.default, str) else set()
                first = field.default[0] if isinstance(field.default, tuple) else None
                assert stated[1] in shown | {str(first)} or float(stated[1]) == field.default
