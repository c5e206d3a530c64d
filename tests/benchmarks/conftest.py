"""Lets the benchmarks import `large`, which draws what they measure."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
