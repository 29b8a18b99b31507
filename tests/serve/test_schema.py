"""Requests made up from the OpenAPI description: none may make the service fail, or answer other than it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from .conftest import ColourDatabase, choose_colours, fill_database, make_app, make_photo

PHOTO = make_photo((200, 30, 30))
# A description cannot say that a file must be a photo, and what nobody asked for is ignored, not refused.
BEYOND_THE_DESCRIPTION = [positive_data_acceptance, negative_data_rejection]

schema = schemathesis.openapi.from_asgi("/openapi.json", make_app(ColourDatabase(choose_colours(5))))


@pytest.fixture(scope="module")
def app(tiny_city: Path, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The service that the requests go to, of a real database; its description is the same."""
    return make_app(fill_database(tmp_path_factory.mktemp("described") / "places", tiny_city))


@schema.parametrize()
@settings(max_examples=10, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
def test_no_request_makes_the_service_fail(case: schemathesis.Case, app: FastAPI) -> None:
    case.call_and_validate(app=app, excluded_checks=BEYOND_THE_DESCRIPTION)
    if isinstance(case.body, dict) and isinstance(case.body.get("photos"), list):
        case.body["photos"] = [PHOTO] * len(case.body["photos"])  # made-up content is never a photo
        case.call_and_validate(app=app, excluded_checks=BEYOND_THE_DESCRIPTION)
