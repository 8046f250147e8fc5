"""One model, one storage and one environment for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import boto3
import pytest

from tests.stand_ins import BUCKET, Model, Storage, environment


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Model, dict[str, str]]]:
    """Start the stand-ins and set this process's environment, before crewai is imported."""
    model, storage = Model(), Storage()
    variables = environment(model, storage, str(tmp_path_factory.mktemp("crewai")))
    os.environ.update(variables, CREWAI_DISABLE_TELEMETRY="true", OTEL_SDK_DISABLED="true")
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    yield model, variables
    model.shutdown()
    storage.stop()


@pytest.fixture
def model(world: tuple[Model, dict[str, str]]) -> Model:
    """Give the model, as new."""
    world[0].reset()
    return world[0]


@pytest.fixture
def variables(world: tuple[Model, dict[str, str]]) -> dict[str, str]:
    """Give the environment that the service needs: a copy, to change."""
    return dict(world[1])
