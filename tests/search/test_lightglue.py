"""DISK and LightGlue: the code that loads and runs them, on random weights."""

from __future__ import annotations

from urllib.error import URLError

import numpy as np
import pytest
import torch

pytest.importorskip("cv2")
pytest.importorskip("kornia")

from kornia import feature

from progeo.errors import ProgeoError
from progeo.models import lightglue
from progeo.search.keypoints import Keypoints
from progeo.search.matching import LightGlueMethod
from tests.textures import make_texture


@pytest.fixture
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both networks have random weights, as nothing is downloaded."""
    monkeypatch.setattr(lightglue, "MOST_POINTS", 64)
    torch.manual_seed(0)
    disk, matcher = feature.DISK(), feature.LightGlue(None, input_dim=128, weights=None, n_layers=2)
    monkeypatch.setattr(feature.DISK, "from_pretrained", lambda name: disk)
    monkeypatch.setattr(feature, "LightGlue", lambda name: matcher)


@pytest.mark.usefixtures("without_weights")
def test_points_are_found_and_paired() -> None:
    method = LightGlueMethod("size", "cpu")
    photos = [method.extract(make_texture(seed, 64, 80)) for seed in (0, 1)]
    for photo in photos:
        assert 0 < len(photo) <= 64 and photo.descriptors.shape[1] == 128 and photo.size.tolist() == [80, 64]
        assert (photo.points >= 0).all() and (photo.points < photo.size).all()
    found = method.match(photos[0], photos[1])
    assert len(found.query) == len(found.candidate)
    again = method.match(Keypoints.from_bytes(photos[0].to_bytes()), photos[1])
    np.testing.assert_array_equal(found.query, again.query)
    assert len(method.match(photos[0], photos[1].first(0))) == 0


def test_weights_that_cannot_be_downloaded_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise URLError("no network")

    monkeypatch.setattr(feature.DISK, "from_pretrained", fail)
    with pytest.raises(ProgeoError, match="cannot be downloaded .*no network.*checkpoints; copy the files"):
        LightGlueMethod("size", "cpu")
