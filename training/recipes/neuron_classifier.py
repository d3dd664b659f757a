"""A classifier on an autoencoder's top units, Le et al. 2012, section 5 (arXiv:1112.6209)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from training.recipes.recipe import About
from training.recipes.sparse_autoencoder import PER_STAGE, SPARSE_AUTOENCODER_RECIPES, SparseAutoencoderRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronClassifierRecipe(SparseAutoencoderRecipe):
    """The form of the autoencoder, and how the classifier was fitted."""

    FAMILY: ClassVar[str] = "neuron_classifier"
    DESCRIPTION: ClassVar[str] = (
        "A neuron classifier: a linear layer on the top units of a sparse autoencoder that was trained without labels."
    )
    LIMITS: ClassVar[tuple[str, ...]] = (
        "It assigns one of its classes to every image, whatever the image shows.",
        "It was trained without a generator: p(generated) is 1/2 for every image, and has no meaning.",
    )

    penalty: Annotated[float, About("weight of the squared norm in the logistic regressions", 1e-6, 1e6)] = 10.0
    passes: Annotated[int, About("passes of fine-tuning the whole network over the data", 0, 10_000)] = 0
    tuning_rate: Annotated[float, About("Adam's learning rate in fine-tuning", 0, 1)] = 1e-4

    @property
    def detects(self) -> bool:
        """False: search the neurons of the autoencoder's own run."""
        return False

    @property
    def classifies(self) -> bool:
        """True: it has a test accuracy and can be served."""
        return True


_FACE_NEURON = next(recipe for recipe in SPARSE_AUTOENCODER_RECIPES if recipe.name == "face-neuron")
_FORM: dict[str, Any] = {name: getattr(_FACE_NEURON, name) for name in PER_STAGE}  # replaced with that of the run

NEURON_CLASSIFIER = NeuronClassifierRecipe(
    name="neuron-classifier",
    source="Le et al. 2012, section 5 (arXiv:1112.6209); made by `mintage neurons classify RUN --data SOURCE`",
    cost="a minute after the autoencoder whose units it classifies; fine-tuning about what a pass of that took",
    expected="ImageNet's 22,000 categories with a billion weights: 15.8 % (published)",
    images=1,
    **_FORM,
)
