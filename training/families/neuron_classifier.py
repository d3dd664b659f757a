"""The family of classifiers on an autoencoder's top units; `training.neurons.classifier` fits them."""

from __future__ import annotations

from training.families.family import Family
from training.families.sparse_autoencoder import build_autoencoder
from training.networks.neuron_classifier import NeuronClassifier
from training.networks.sparse_autoencoder import SparseAutoencoder
from training.recipes import NeuronClassifierRecipe


class NeuronClassifierFamily(Family[NeuronClassifierRecipe]):
    """An autoencoder that was trained before, and a linear layer on its top stage's units."""

    def autoencoder(self) -> SparseAutoencoder:
        """Build the autoencoder; see `Family`."""
        return build_autoencoder(self.config, self.recipe)

    def classifier(self) -> NeuronClassifier:
        """Build the classifier; see `Family`."""
        return NeuronClassifier(self.autoencoder(), classes=len(self.config.classes))


FAMILY = NeuronClassifierFamily
