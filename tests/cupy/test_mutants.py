"""Every barrier and every check of a place is needed: without it, some launch shows that it is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sanitized
from mutants import HARMLESS
from recorded import FILES, KERNELS

HERE = Path(__file__).parent


@pytest.mark.soak
@pytest.mark.skipif(not sanitized.libraries(), reason="the compiler has no sanitizers")
@pytest.mark.skipif(sanitized.ACTIVE, reason="starts a sanitized process of its own")
def test_no_barrier_and_no_check_can_be_taken_away_unseen():
    result = sanitized.run([str(HERE / "mutants.py")], 500)
    assert 0 == result.returncode, sanitized.shortened(result.stderr)
    assert [] == json.loads(result.stdout)


def test_what_is_harmless_is_still_there():
    texts = {file: (KERNELS / f"{file}.cu").read_text("utf-8") for file in FILES}
    assert [] == [place for place in HARMLESS if place[1] not in texts.get(place[0], "")]
