"""Data distillation: the library behind the workflow's command-line programs."""
