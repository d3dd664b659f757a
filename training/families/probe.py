"""The family of probes: a classifier of the features of a DCGAN's discriminator; `training.probe` fits it."""

from __future__ import annotations

from training.families.dcgan import build_discriminator
from training.families.family import Family
from training.networks.probe import ProbeClassifier
from training.recipes import ProbeRecipe


class ProbeFamily(Family[ProbeRecipe]):
    """A frozen discriminator and a linear layer on its pooled maps."""

    def classifier(self) -> ProbeClassifier:
        """Build the classifier; see `Family`."""
        discriminator = build_discriminator(self.config, self.recipe)
        return ProbeClassifier(discriminator, classes=len(self.config.classes), mirror=self.recipe.mirror == "yes")


FAMILY = ProbeFamily
