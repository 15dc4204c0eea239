"""Data distillation: the library behind the workflow's command-line programs."""

__version__ = "0.2.0"
