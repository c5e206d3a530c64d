"""Verdicts as JUnit XML, which CI systems show as test results.

A slower case is a failure, a missing or failed one an error, one that cannot be told (or only under unlike
conditions) is skipped with the reason; what is the same, faster, new or waived passes.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from dlbench.compare.verdicts import CaseVerdict, Verdicts
from dlbench.text import one_line

from . import format as say


def render(verdicts: Verdicts, *, width: int = 80, colour: bool = False) -> str:
    """One test suite with a test case for each case of the comparison; `time` is its step time in
    seconds."""
    suite = ElementTree.Element("testsuite", name="dlbench", tests=str(len(verdicts.cases)))
    ElementTree.SubElement(
        ElementTree.SubElement(suite, "properties"),
        "property",
        name="conclusion",
        value=one_line(say.conclusion(verdicts)),
    )
    outcomes = [_add(suite, case, verdicts) for case in verdicts.cases]
    suite.set("failures", str(outcomes.count("failure")))
    suite.set("errors", str(outcomes.count("error")))
    suite.set("skipped", str(outcomes.count("skipped")))
    whole = ElementTree.Element("testsuites")
    whole.append(suite)
    ElementTree.indent(whole)
    text = ElementTree.tostring(whole, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _add(suite: ElementTree.Element, case: CaseVerdict, verdicts: Verdicts) -> str | None:
    test = ElementTree.SubElement(suite, "testcase", classname="dlbench", name=one_line(case.case))
    if case.new_s is not None:
        test.set("time", f"{case.new_s:.9f}")
    outcome = _outcome(case, verdicts)
    if outcome:
        message = f"{case.status}: {say.change(case)} {say.reason(case)}"
        if outcome == "skipped" and verdicts.advisory:
            message = f"{say.advisory(verdicts)}; {message}"
        ElementTree.SubElement(test, outcome, message=one_line(message))
    told = " ".join(filter(None, [say.change(case), say.times(case), case.over]))
    ElementTree.SubElement(test, "system-out").text = one_line(told)
    return outcome


def _outcome(case: CaseVerdict, verdicts: Verdicts) -> str | None:
    if case.status == "inconclusive" or (verdicts.advisory and case.status != "new"):
        return "skipped"
    if case.accepted:
        return None
    return {"slower": "failure", "missing": "error", "failed": "error"}.get(case.status)
