"""Data distillation: the library behind the workflow's command-line programs."""

from pathlib import Path

__version__ = "0.2.0"
ROOT = Path(__file__).resolve().parents[2]  # the project's folder
