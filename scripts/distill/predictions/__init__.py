"""What a model says about images under one view, and how those of many views are inverted and merged."""
