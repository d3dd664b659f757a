"""What a family of models tells the rest of the code; a family overrides what it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar, cast

from torch import nn

from training.config import RunConfig
from training.data import LabelledImages
from training.errors import RecipeError
from training.families.needs import Needs
from training.families.training import Training
from training.networks.pair import Pair
from training.networks.sparse_autoencoder import SparseAutoencoder
from training.recipes import Kind, Recipe

R = TypeVar("R", bound=Recipe)


class Family(Generic[R]):
    """Builds what the recipe of one run trains and serves. Networks come with fresh weights, in train mode, on the CPU.

    Args:
        config: the run's configuration; its recipe is of this family.
    """

    PICTURES: ClassVar[str] = "pictures from fixed latents"  # what the sample grids show, for the card

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.recipe = cast(R, config.settings)  # `family_of` looked the family up by its recipe

    def generator(self) -> nn.Module:
        """Build the generator: latents [N, Z] -> images [N, C, H, W] in [-1, 1].

        A conditional generator takes labels [N] after the latents. In eval mode batch normalisation uses stored
        statistics, so that an image depends on its own latent only.

        Raises:
            DataError: if the network cannot make images of that shape.
            RecipeError: if the recipe trains no generator.
        """
        raise RecipeError(f"{self.recipe.name} trains no generator")

    def discriminator(self) -> nn.Module:
        """Build the discriminator.

        Raises:
            DataError: if the network cannot take images of that shape.
            RecipeError: if the recipe trains no discriminator.
        """
        raise RecipeError(f"{self.recipe.name} trains no discriminator")

    def classifier(self) -> nn.Module:
        """Build the classifier: images [N, C, H, W] in [-1, 1] -> logits [N, K].

        p(generated) = 1 / (1 + sum_k exp logit_k). Called with images alone it adds no noise, and its answer for an
        image does not depend on the others. It is a `training.networks.features.FeatureClassifier`.

        Raises:
            RecipeError: if the recipe trains no classifier.
        """
        raise RecipeError(f"{self.recipe.name} trains no classifier")

    def pair(self) -> Pair:
        """Build the generator and the discriminator together.

        Raises:
            DataError: if one of them does not fit images of that shape.
            RecipeError: if the recipe does not train both.
        """
        return Pair(self.generator(), self.discriminator(), classes=self.config.condition_classes)

    def autoencoder(self) -> SparseAutoencoder:
        """Build the sparse autoencoder: images [N, C, H, W] in [-1, 1] -> the units of each stage.

        Raises:
            DataError: if its stages do not fit images of that shape.
            RecipeError: if the recipe trains no autoencoder.
        """
        raise RecipeError(f"{self.recipe.name} trains no autoencoder, and has no neurons to search")

    def served(self, kind: Kind) -> nn.Module:
        """Build the network that an archive of a kind holds.

        Raises:
            DataError: if the network does not fit images of that shape.
            RecipeError: if the recipe trains none.
        """
        builders: dict[Kind, Callable[[], nn.Module]] = {
            "generator": self.generator,
            "classifier": self.classifier,
            "neurons": self.autoencoder,
            "discriminator": self.pair,
        }
        return builders[kind]()

    def begin(self, data: LabelledImages) -> Training:
        """Begin the training of the run.

        Args:
            data: the training images.

        Raises:
            DataError: if the networks do not fit the images, or labels are missing.
            RecipeError: if nothing is trained step by step, this machine cannot do what the recipe says, or its
                batches cannot be shared by the processes.
        """
        raise RecipeError(f"{self.recipe.name} is not trained step by step: {self.recipe.source}")

    def needs(self) -> Needs:
        """Count what the training needs, without allocating it.

        Raises:
            DataError: if the networks do not fit the images.
            RecipeError: if nothing is trained step by step.
        """
        raise RecipeError(f"{self.recipe.name} is not trained step by step: {self.recipe.source}")

    def card_rows(self, *, test_accuracy: float | None, test_images: int) -> dict[str, str]:
        """Return what the model card tells of this family alone, by row.

        Args:
            test_accuracy: of the averaged classifier, in [0, 1], or None without test images.
            test_images: how many the accuracy was measured on.
        """
        return {}
