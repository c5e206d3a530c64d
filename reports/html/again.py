"""The command that makes a record again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from dlbench.analyse.table import Run
from dlbench.record.case import SELECTED
from dlbench.record.schema import Header
from dlbench.text import one_line


def command(run: Run, *more: str, name: str = "run") -> str:
    """``dlbench run --suite cnn-mnist --backend numpy …``: the same suite, cases, seed and length as the record's."""
    words = [*_selection(run.header, name), *_settings(run.header, name), *more]
    return one_line(" ".join(["dlbench", name, *map(shlex.quote, words)]))


def sweep(run: Run) -> str:
    """The same at several batch sizes."""
    words = [*_selection(run.header, "run", but="batches"), *_settings(run.header, "run")]
    whole = ["dlbench", "run", *words, "--sweep", "batch=1,8,64"]
    return one_line(" ".join(map(shlex.quote, whole)))


def _selection(header: Header, name: str, but: str = "") -> Iterator[str]:
    yield from ("--suite", header.suite_word)
    for axis in SELECTED:
        found = list(dict.fromkeys(str(getattr(case, axis.name)) for case in header.cases))
        if axis.plural == but or found == [str(axis.default)] or found == [""]:
            continue
        if axis.words and len(found) == len(axis.words):
            continue
        if axis.name == "mode" and (header.best or len(found) > _FEW):
            yield from () if header.best else ("--mode", "all")
            continue
        yield from _each(f"--{axis.name}", (value for value in found if value))


_FEW = 4


def _settings(header: Header, name: str) -> Iterator[str]:
    yield from header.source_words
    threads = {case.threads for case in header.cases}
    if len(threads) == 1:
        yield from ("--threads", str(threads.pop()))
    if header.seed:
        yield from ("--seed", str(header.seed))
    if header.weights_digest and not header.given.init_weights:
        # a record of an earlier version does not know where they lay
        yield from ("--init-weights", f"{header.weights_digest[:12]}.safetensors")
    if name != "run":
        return
    yield from ("--rounds", str(header.rounds)) if header.rounds else ()
    if header.row_budget_s:
        yield from ("--budget", f"{header.row_budget_s:g}")
    if header.epochs:
        yield from ("--epochs", str(header.epochs))
    if header.target_accuracy:
        yield from ("--target", f"{100 * header.target_accuracy:g}%")
    if header.seeds:
        yield from ("--seeds", str(header.seeds))
    if header.best:
        yield "--best"
    if header.baseline:
        yield from ("--baseline", header.baseline)


def _each(option: str, found: Iterable[str]) -> Iterator[str]:
    for value in found:
        yield from (option, value)
