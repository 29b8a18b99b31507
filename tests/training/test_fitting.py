"""Models fitted to photos: words of VLAD and principal components; no positions, no labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from progeo import fit
from progeo.errors import ProgeoError
from progeo.models.building import create_model
from progeo.models.encoder import Encoder
from progeo.models.files import load_model_file, save_model
from progeo.models.fingerprint import compute_fingerprint
from progeo.models.loading import load_model
from progeo.models.network import PlaceNetwork
from progeo.pixels.recipe import Preprocessing
from progeo.search import store
from progeo.training import fitting
from progeo.training.principal import find_components

WORDS = 4


def make_network(image_size: int = 64) -> PlaceNetwork:
    """A small untrained network with local features of 64 channels and a map of 128."""
    network = create_model("timm:test_resnet", weights="none").eval()
    network.set_image_size(image_size)
    return network


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve photos without positions, in two sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(12):
        pattern = generator.integers(0, 256, (6, 8 - number % 2, 3), dtype=np.uint8)
        Image.fromarray(pattern).resize((96, 64 + number % 2)).save(folder / f"{number:02}.png")
    return folder


def encode(network: PlaceNetwork, photos: Path) -> Any:
    return network.encode(sorted(photos.glob("*.png")))


def test_words_are_fitted_to_photos_without_positions(photos: Path) -> None:
    network = fit(photos, make_network(), words=WORDS)
    channels = network.local_channels
    assert channels is not None
    assert network.spec.head == "vlad"
    assert network.descriptor_dim == WORDS * channels + 96  # the channels of the last map
    assert network.spec.provenance["fitted"]["photos"] == 12
    described = encode(network, photos)
    np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1, rtol=1e-5)
    # Every word has its share, at length 1 within the residuals (intra-normalisation), or none at all.
    residuals = described[:, : WORDS * channels].reshape(12, WORDS, channels)
    lengths = np.linalg.norm(residuals, axis=2)
    used = lengths.max(axis=1, keepdims=True)
    assert np.all(np.isclose(lengths, used, rtol=1e-4) | (lengths < 1e-6))


def test_words_are_the_centres_of_what_is_there(tmp_path: Path) -> None:
    # Features against a vocabulary, computed by hand.
    network = make_network()
    photo = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    pixels = network.normalize(photo[None])
    paths = []
    for number in range(2):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray((photo.roll(8 * number, 2).permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(paths[-1])
    fitted = fit(paths, network, words=WORDS)
    with torch.no_grad():
        local = network.local_features(pixels)[0].flatten(1).T
        words = fitted.aggregation.get_buffer("words")
        nearest = torch.cdist(local, words).argmin(dim=1)
        sums = torch.stack([(local[nearest == word] - words[word]).sum(dim=0) for word in range(WORDS)])
        expected = torch.nn.functional.normalize(torch.nn.functional.normalize(sums, dim=1).flatten(), dim=0)
        found = fitted(pixels)[0, : expected.numel()]
    torch.testing.assert_close(found / found.norm(), expected, rtol=1e-4, atol=1e-5)


def test_one_seed_gives_one_model_and_another_another(photos: Path) -> None:
    fingerprints = [
        compute_fingerprint(fit(photos, make_network(), words=WORDS, seed=seed, num_workers=workers))
        for seed, workers in ((0, 0), (0, 2), (1, 0))
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.parametrize("head", ["vlad", None])
def test_components_come_behind_any_head_and_are_saved(
    photos: Path, tmp_path: Path, head: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    network = fit(photos, make_network(), head=head, words=WORDS, pca=5)
    assert (network.spec.head, network.descriptor_dim) == ("pca", 5)
    assert network.spec.head_arguments["head"] == (head or "gem")
    save_model(tmp_path / "model.safetensors", network)
    loaded = load_model_file(tmp_path / "model.safetensors")
    np.testing.assert_allclose(encode(loaded, photos), encode(network, photos), atol=1e-6)
    assert compute_fingerprint(loaded) == compute_fingerprint(network)
    assert "Components of 12 photos" in caplog.text


def test_few_photos_give_few_components(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = fit(photos, make_network(), words=WORDS, pca=64)
    assert network.descriptor_dim == 11
    assert "PCA keeps 11 dimensions instead of 64: at most one less than the 12 photos" in caplog.text


def test_few_photos_keep_all_dimensions_and_many_do_not(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit(photos, make_network(), words=WORDS).spec.head == "vlad"
    monkeypatch.setattr(fitting, "MANY_PHOTOS", 12)
    monkeypatch.setattr(fitting, "DIMENSIONS", 3)
    assert fit(photos, make_network(), words=WORDS).descriptor_dim == 3
    assert fit(photos, make_network(), words=WORDS, pca=0).spec.head == "vlad"


def test_whitening_makes_all_directions_as_wide() -> None:
    generator = np.random.default_rng(0)
    for rows in (40, 8):  # more and fewer than dimensions
        descriptors = (generator.normal(size=(rows, 12)) * np.arange(1, 13)).astype(np.float32)
        plain = find_components(descriptors, 5)
        projected = (descriptors - plain.mean) @ plain.directions.T
        variances = projected.var(axis=0)
        assert np.all(np.diff(variances) <= 1e-3) and 0 < plain.kept < 1
        np.testing.assert_allclose(plain.directions @ plain.directions.T, np.eye(5), atol=1e-4)
        white = find_components(descriptors, 5, 1.0)
        widths = ((descriptors - white.mean) @ white.directions.T).std(axis=0, ddof=1)
        np.testing.assert_allclose(widths, 1, rtol=1e-3)


def test_copies_of_photos_span_fewer_directions() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 40)).astype(np.float32)
    found = find_components(np.concatenate([rows, rows]), 11, 0.5)
    assert len(found.directions) == 5
    assert found.kept == pytest.approx(1)


def test_a_stopped_fit_goes_on(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MAX_CHUNK_IMAGES", 4)
    expected = compute_fingerprint(fit(photos, make_network(), head="vlad", words=WORDS, pca=3))
    read: list[str] = []
    original = Encoder.read

    def count(encoder: Encoder, source: str, name: str | None = None) -> object:
        if len(read) == 10:
            raise KeyboardInterrupt
        read.append(source)
        return original(encoder, source, name)

    monkeypatch.setattr(Encoder, "read", count)
    settings: dict[str, Any] = {
        "head": "vlad",
        "words": WORDS,
        "pca": 3,
        "features_folder": tmp_path / "kept",
        "num_workers": 0,
    }
    with pytest.raises(KeyboardInterrupt):
        fit(photos, make_network(), **settings)

    def note(encoder: Encoder, source: str, name: str | None = None) -> object:
        read.append(source)
        return original(encoder, source, name)

    monkeypatch.setattr(Encoder, "read", note)
    read.clear()
    assert compute_fingerprint(fit(photos, make_network(), **settings)) == expected
    assert len(read) == 4 + 12  # the last chunk of local features, and all descriptors
    read.clear()
    assert compute_fingerprint(fit(photos, make_network(), **settings)) == expected
    assert read == []


def test_a_bounded_sample_of_many_photos_is_taken(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "VOCABULARY_PHOTOS", 5)
    monkeypatch.setattr(fitting, "COMPONENT_PHOTOS", 7)
    fitted = fit(photos, make_network(), head="vlad", words=WORDS, pca=2).spec.provenance["fitted"]
    assert (fitted["photos"], fitted["pca_photos"]) == (5, 7)


def test_a_broken_photo_is_left_out(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = compute_fingerprint(fit(photos, make_network(), words=WORDS))
    (photos / "99.png").write_bytes(b"no photo")
    assert compute_fingerprint(fit(photos, make_network(), words=WORDS)) == expected
    assert "1 photo cannot be read" in caplog.text and "99.png" in caplog.text


def test_a_trained_network_takes_the_fitted_head(photos: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "trained.safetensors", make_network(), training={"method": "cosplace"})
    network = fit(photos, tmp_path / "trained.safetensors", head="vlad", words=WORDS)
    assert network.spec.provenance["training"] == {"method": "cosplace"}
    assert network.preprocessing.image_size == 64


def test_local_features_of_a_transformer_are_its_patch_tokens(photos: Path) -> None:
    network = create_model("timm:test_vit", weights="none").eval()
    network.set_image_size(64)
    fitted = fit(photos, network, words=WORDS)
    assert (fitted.descriptor_dim, fitted.spec.head_arguments["gem"]) == (WORDS * 64, 0.0)


def test_a_model_of_torch_hub_is_reduced_and_loaded_again(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "hubconf.py").write_text(
        "import torch\n\n\ndef tiny():\n    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), "
        "torch.nn.Flatten())\n"
    )
    network = fit(photos, f"hub:{tmp_path}:tiny", pca=3, trust_remote_code=True)
    assert network.spec.head == "pca"
    save_model(tmp_path / "model.safetensors", network)
    loaded = load_model_file(tmp_path / "model.safetensors", trust_remote_code=True)
    np.testing.assert_allclose(encode(loaded, photos), encode(network, photos), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"words": 1000}, r"12 photos give 288 local features, fewer than the 1000 words.*at most `words` 288"),
        ({"words": 1}, "`words` 1: a vocabulary has at least 2"),
        ({"head": "gem"}, "`head` gem is trained, not fitted. Fit vlad"),
        ({"head": "vald"}, "no head 'vald'.*did you mean vlad"),
        ({"pca": -1}, "`pca` -1: give the dimensions to keep"),
        ({"head": None, "pca": 512}, "`pca` 512: the descriptors have 512 dimensions as they are"),
        ({"whitening": 1.5}, "`whitening` 1.5: the power is 0"),
    ],
)
def test_what_cannot_be_fitted_is_said(photos: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgeoError, match=message):
        fit(photos, make_network(), **settings)


def test_photos_that_are_none_are_said(tmp_path: Path) -> None:
    with pytest.raises(ProgeoError, match="the list is empty"):
        fit([], make_network())
    (tmp_path / "broken.png").write_bytes(b"no photo")
    with pytest.raises(ProgeoError, match="None of 1 photo can be read, first .*broken.png"):
        fit(tmp_path, make_network())
    Image.new("RGB", (64, 64)).save(tmp_path / "one.png")
    with pytest.raises(ProgeoError, match="need at least 2 photos that can be read, not 1"):
        fit(tmp_path, make_network(), pca=2)


def test_own_parts_must_be_registered_first(photos: Path) -> None:
    network = make_network()
    own = PlaceNetwork.compose(network.backbone, network.aggregation, preprocessing=Preprocessing(64))
    with pytest.raises(ProgeoError, match="put together in Python. Register them"):
        fit(photos, own, pca=2)


@pytest.mark.parametrize("name", ["fit", "fit:ResNet18"])
def test_a_recipe_is_no_model_yet(name: str) -> None:
    with pytest.raises(ProgeoError, match=f"'{name}' is no model yet: it is fitted to photos. progeo fit PHOTOS"):
        load_model(name)
