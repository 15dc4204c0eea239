"""Merged predictions above calibrated thresholds, as annotations; and what people make of them."""
