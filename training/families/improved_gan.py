"""The family of the K+1 semi-supervised GAN of Salimans et al. 2016 (arXiv:1606.03498)."""

from __future__ import annotations

from training.compute.acceleration import Acceleration
from training.data import LabelledImages
from training.families.gan import GanFamily
from training.networks import improved_gan, improved_gan_conv
from training.recipes import ImprovedGanRecipe
from training.steps.improved_gan import Discriminator, Generator, ImprovedGanStep


class ImprovedGanFamily(GanFamily[ImprovedGanRecipe, Generator, Discriminator]):
    """A generator against a discriminator of K real classes and one of generated images, fully connected or not."""

    def generator(self) -> Generator:
        """Build the generator; see `Family`."""
        config, recipe = self.config, self.recipe
        generator = improved_gan.Generator if recipe.network == "mlp" else improved_gan_conv.Generator
        return generator(
            latent_size=config.latent_size,
            widths=recipe.generator_widths,
            image_shape=config.image_shape,
            norm=recipe.generator_norm,
        )

    def discriminator(self) -> Discriminator:
        """Build the discriminator; see `Family`."""
        config, recipe = self.config, self.recipe
        discriminator = improved_gan.Discriminator if recipe.network == "mlp" else improved_gan_conv.Discriminator
        return discriminator(
            image_shape=config.image_shape,
            widths=recipe.discriminator_widths,
            classes=max(len(config.classes), 1),
            input_noise=recipe.input_noise,
            hidden_noise=recipe.hidden_noise,
            minibatch_kernels=recipe.minibatch_kernels,
            minibatch_dimensions=recipe.minibatch_dimensions,
        )

    def step(
        self, generator: Generator, discriminator: Discriminator, data: LabelledImages, acceleration: Acceleration
    ) -> ImprovedGanStep:
        """Build the step; see `GanFamily`."""
        return ImprovedGanStep(generator, discriminator, self.recipe, data, acceleration)

    def card_rows(self, *, test_accuracy: float | None, test_images: int) -> dict[str, str]:
        """Return what the classifier learned from, and how well; see `Family`."""
        config, recipe = self.config, self.recipe
        if not recipe.classifies:
            return {}
        each = recipe.labels // len(config.classes)
        return {
            "Labels": f"{recipe.labels}, {each} per class, chosen by seed {recipe.draw}; the rest unlabelled",
            "Classes": ", ".join(config.classes),
            "Test accuracy": "not measured: the data came without test images"
            if test_accuracy is None
            else f"{100 * test_accuracy:.2f} % of {test_images} test images, with averaged weights",
        }


FAMILY = ImprovedGanFamily
