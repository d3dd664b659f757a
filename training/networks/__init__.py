"""The networks, one file a paper, and how to build those of a run from its configuration."""

from __future__ import annotations

import math
from typing import cast

from torch import nn

from training.config import RunConfig
from training.errors import RecipeError
from training.networks import adversarial_nets, dcgan, improved_gan, improved_gan_conv, probe
from training.networks.neuron_classifier import NeuronClassifier
from training.networks.sparse_autoencoder import SparseAutoencoder, StageShape
from training.recipes import (
    AdversarialNetsRecipe,
    DcganRecipe,
    ImprovedGanRecipe,
    NeuronClassifierRecipe,
    ProbeRecipe,
    SparseAutoencoderRecipe,
)

UNIT_VARIANCE = math.sqrt(3)  # makes the variance of U(-1, 1) one


def build_generator(config: RunConfig) -> nn.Module:
    """Build a run's generator with fresh weights: latents [N, latent_size] -> images [N, C, H, W] in [-1, 1].

    A conditional generator takes labels [N] after the latents. In eval mode batch normalisation uses stored statistics,
    so that an image depends on its own latent only.

    Raises:
        DataError: if the network cannot make images of that shape.
        RecipeError: if the recipe trains no generator.
    """
    recipe = config.settings
    if isinstance(recipe, ImprovedGanRecipe):
        generator = improved_gan.Generator if recipe.network == "mlp" else improved_gan_conv.Generator
        return generator(
            latent_size=config.latent_size,
            widths=recipe.generator_widths,
            image_shape=config.image_shape,
            norm=recipe.generator_norm,
        )
    if isinstance(recipe, AdversarialNetsRecipe):
        return adversarial_nets.Generator(
            latent_size=config.latent_size,
            widths=recipe.generator_widths,
            image_shape=config.image_shape,
            weight_range=recipe.generator_range,
            latent_scale=UNIT_VARIANCE if config.latent_distribution == "uniform11" else 1.0,
        )
    if isinstance(recipe, DcganRecipe):
        return dcgan.Generator(
            latent_size=config.latent_size,
            width=recipe.generator_width,
            image_shape=config.image_shape,
            classes=conditions(config),
            kernel=cast(dcgan.Kernel, recipe.kernel),
            activation=recipe.generator_activation,
        )
    raise RecipeError(f"{recipe.name} trains no generator; `mintage probe RUN` makes it of a trained run")


def build_discriminator(config: RunConfig) -> nn.Module:
    """Build a run's discriminator with fresh weights.

    Raises:
        DataError: if the network cannot take images of that shape.
        RecipeError: if the recipe trains no discriminator.
    """
    recipe = config.settings
    if isinstance(recipe, ImprovedGanRecipe):
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
    if isinstance(recipe, AdversarialNetsRecipe):
        return adversarial_nets.Discriminator(
            image_shape=config.image_shape,
            units=recipe.discriminator_widths,
            pieces=recipe.pieces,
            weight_range=recipe.discriminator_range,
            keep_input=recipe.keep_input,
            keep_hidden=recipe.keep_hidden,
        )
    if isinstance(recipe, DcganRecipe):
        return _convolutional(config, recipe)
    raise RecipeError(f"{recipe.name} trains no discriminator")


def build_classifier(config: RunConfig) -> nn.Module:
    """Build a run's classifier with fresh weights: images [N, C, H, W] in [-1, 1] -> logits [N, K].

    p(generated) = 1 / (1 + sum_k exp logit_k). Called with images alone it adds no noise, and its answer for an image
    does not depend on the others.

    Raises:
        RecipeError: if the recipe trains no classifier.
    """
    if not config.settings.classifies:
        raise RecipeError(f"{config.recipe} trains no classifier; pack it as a generator, or make a probe of it")
    if isinstance(config.settings, ProbeRecipe):
        return probe.ProbeClassifier(_convolutional(config, config.settings), classes=len(config.classes))
    if isinstance(config.settings, NeuronClassifierRecipe):
        return NeuronClassifier(build_autoencoder(config), classes=len(config.classes))
    return build_discriminator(config)


def build_autoencoder(config: RunConfig) -> SparseAutoencoder:
    """Build a run's sparse autoencoder with fresh weights: images [N, C, H, W] in [-1, 1] -> each stage's units.

    Raises:
        DataError: if its stages do not fit images of that shape.
        RecipeError: if the recipe trains no autoencoder.
    """
    recipe = config.settings
    if not isinstance(recipe, SparseAutoencoderRecipe):
        raise RecipeError(f"{recipe.name} trains no autoencoder, and has no neurons to search")
    geometry = zip(recipe.maps, recipe.receptive_fields, recipe.strides, recipe.pools, recipe.pool_strides, strict=True)
    stages = [
        StageShape(
            maps=maps,
            field=field,
            stride=stride,
            pool=pool,
            pool_stride=pool_stride,
            epsilon=recipe.pool_epsilon,
            window=recipe.contrast_window,
            floor=recipe.contrast_floor,
            squared=recipe.units == "pools",
        )
        for maps, field, stride, pool, pool_stride in geometry
    ]
    return SparseAutoencoder(
        image_shape=config.image_shape,
        stages=stages,
        input_window=recipe.input_window,
        input_floor=recipe.input_floor,
    )


def conditions(config: RunConfig) -> int:
    """Return K if the run's networks are told an image's class, else 0."""
    recipe = config.settings
    return len(config.classes) if isinstance(recipe, DcganRecipe) and recipe.conditional == "yes" else 0


def _convolutional(config: RunConfig, recipe: DcganRecipe | ProbeRecipe) -> dcgan.Discriminator:
    """Build the discriminator that a DCGAN trains and a probe reads."""
    return dcgan.Discriminator(
        image_shape=config.image_shape,
        width=recipe.discriminator_width,
        classes=conditions(config),
        kernel=cast(dcgan.Kernel, recipe.kernel),
        layout=recipe.layers,
        activation=recipe.discriminator_activation,
    )
