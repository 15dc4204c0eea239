"""COCO's average precision, the tables and plots made of it, and the choice of views by it."""
