"""What an image-text model offers to prompt learning: two towers that share a space, whatever they are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from progeo.pixels.recipe import Preprocessing


class TextTower(nn.Module, ABC):
    """From a sequence of token embeddings, some of which may be learned, to a feature in the shared space.

    Attributes:
        width: dimension of a token embedding.
        dimension: dimension of the shared space.
        longest: how many tokens a sequence can have.
    """

    width: int
    dimension: int
    longest: int

    @abstractmethod
    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of ``text``, with those that the model sets around it (start and end)."""

    @abstractmethod
    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (..., width) of token ids (...), int64, without their positions."""

    @abstractmethod
    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the text features (B, dimension) of whole sequences of embeddings (B, L, width), all of one length."""

    @abstractmethod
    def words(self) -> dict[int, str]:
        """Return the tokens that are a word of their own, by id."""


class ImageTextModel(nn.Module, ABC):
    """An image tower and a text tower that share a space.

    Attributes:
        name: name of the backbone, as ``backbone`` takes it.
        text: the text tower.
        preprocessing: what the image tower wants its images to look like, 224 px for all of them so far.
    """

    name: str
    text: TextTower
    preprocessing: Preprocessing

    @abstractmethod
    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features (B, text.dimension) of normalised images (B, 3, H, W) in the shared space."""
