"""What options and variables were called before is taken as ever."""

import pytest
from click.testing import CliRunner

from dlbench.cli import main


@pytest.mark.parametrize(
    ("command", "former", "now"),
    [
        ("run", "--patience 7", "--max-wait 7"),
        ("report", "--against torch:cpu", "--cold-start-baseline torch:cpu"),
        ("gate", "--accept slower:x=y", "--waive slower:x=y"),
    ],
)
def test_what_an_option_was_called_is_taken_as_ever_and_not_shown(
    tmp_path, monkeypatch, command, former, now
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").touch()
    files = ["a.jsonl"] if command == "report" else []
    taken = [
        main.cli.commands[command].make_context(command, [*words.split(), *files]).params
        for words in (former, now)
    ]
    assert taken[0] == taken[1]
    assert taken[0] != main.cli.commands[command].make_context(command, files).params
    shown = CliRunner().invoke(main.cli, [command, "--help"]).stdout
    assert now.split(maxsplit=1)[0] in shown
    assert former.split(maxsplit=1)[0] not in shown


@pytest.mark.parametrize("variable", ["DLBENCH_MAX_WAIT", "DLBENCH_PATIENCE"])
def test_both_variables_of_the_longest_wait_are_read(monkeypatch, variable):
    for each in ("DLBENCH_MAX_WAIT", "DLBENCH_PATIENCE"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, "7")
    assert 7.0 == main.cli.commands["run"].make_context("run", []).params["patience_s"]
