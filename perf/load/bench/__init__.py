"""Shared by the load comparisons. The scenario tests' harness starts and ends the programs."""
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(PROJECT / "tests/scenario"))
