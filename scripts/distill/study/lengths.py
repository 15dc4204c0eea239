"""How long a training is whose length is `auto`: as many epochs as the paper's (§5)."""

EPOCHS = 18  # of a teacher: 130 000 iterations of 16 images
LONGER = 360 / 130  # a student's iterations by a teacher's
LEAST = 5000  # iterations


def automatic_length(images: int, batch: int, student: bool = False) -> int:
    """Iterations.

    images: that are learned from, generated ones too.
    batch: images of one iteration.
    """
    epochs = EPOCHS * (LONGER if student else 1)
    return max(LEAST, round(epochs * images / batch))
