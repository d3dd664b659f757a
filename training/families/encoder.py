"""The family of encoders: networks that guess the latents of one generator's images."""

from __future__ import annotations

from training.compute import parallel
from training.compute.acceleration import Acceleration
from training.data import LabelledImages
from training.families.encoder_training import EncoderTraining, GeneratedImages
from training.families.family import Family
from training.families.training import Training
from training.networks.encoder import Encoder
from training.randomness import fresh_weights
from training.recipes import EncoderRecipe


class EncoderFamily(Family[EncoderRecipe]):
    """An encoder whose training images a generator draws; `training.encoding` opens the generator's run."""

    PICTURES = "in pairs, images that the training did not draw and what the generator draws of the latents guessed"

    def encoder(self) -> Encoder:
        """Build the encoder; see `Family`."""
        config, recipe = self.config, self.recipe
        return Encoder(
            image_shape=config.image_shape,
            width=recipe.width,
            latent_size=recipe.latent_size,
            distribution=recipe.latent_distribution,
            classes=config.condition_classes,
        )

    def begin(self, data: LabelledImages) -> Training:
        """Begin the training; see `Family`. Images without their generator are refused."""
        if not isinstance(data, GeneratedImages):
            return super().begin(data)
        parallel.must_be_shared(self.recipe.batch_sizes)
        with fresh_weights(self.recipe.seed):
            network = self.encoder()
        acceleration = Acceleration.chosen(self.recipe, convolutional=True)
        return EncoderTraining(self.config, self.recipe, network, data, acceleration)

    def card_rows(self, *, test_accuracy: float | None, test_images: int) -> dict[str, str]:
        """Return whose latents it guesses; see `Family`."""
        return {"Generator": f"{self.recipe.generator}, run digest `{self.recipe.generator_digest}`"}


FAMILY = EncoderFamily
