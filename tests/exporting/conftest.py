"""What exported models are tried on, and the models."""

from functools import cache

import pytest

from helpers.exported import drawn, model_of


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """The folder of a few images of the view's size, and their records."""
    return drawn(tmp_path_factory.mktemp("figures"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A function of a config that makes its model once, with random weights."""
    return cache(lambda config: model_of(config, tmp_path_factory.mktemp(config)))
