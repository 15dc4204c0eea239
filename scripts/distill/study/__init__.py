"""One configuration: checked, resolved, and what it takes."""
