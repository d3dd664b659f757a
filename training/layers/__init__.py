"""The papers' layers, one file per kind; each states its equation and source."""

from training.layers.batch_norm import BatchNorm2d, ShiftOnlyBatchNorm
from training.layers.contrast_normalisation import ContrastNormalisation
from training.layers.dropout import Dropout
from training.layers.initialisation import uniform_glorot
from training.layers.l2_pooling import l2_pooling
from training.layers.local_filters import LocalDecoder, LocalFilters
from training.layers.maxout import Maxout
from training.layers.minibatch_discrimination import MinibatchDiscrimination
from training.layers.noise import GaussianNoise
from training.layers.virtual_batch_norm import VirtualBatchNorm
from training.layers.weight_norm import Scale, WeightNormConv2d, WeightNormConvTranspose2d, WeightNormLinear

__all__ = [
    "BatchNorm2d",
    "ContrastNormalisation",
    "Dropout",
    "GaussianNoise",
    "LocalDecoder",
    "LocalFilters",
    "Maxout",
    "MinibatchDiscrimination",
    "Scale",
    "ShiftOnlyBatchNorm",
    "VirtualBatchNorm",
    "WeightNormConv2d",
    "WeightNormConvTranspose2d",
    "WeightNormLinear",
    "l2_pooling",
    "uniform_glorot",
]
