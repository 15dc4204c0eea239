"""Images in COCO format, with or without annotations: where they come from, what is wrong with them."""
