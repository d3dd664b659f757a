"""The configuration of a run, config.json: every field of its recipe, and what its networks were built for."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

from training.data import LabelledImages
from training.errors import RecipeError, RunError
from training.recipes import RECIPES, LatentDistribution, Recipe, recipe_named


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything that defines a run: every field of its recipe, and what its networks were built for."""

    recipe: str
    height: int
    width: int
    channels: int
    classes: tuple[str, ...]
    latent_size: int = 0  # Z of the generator, 0 without one
    latent_distribution: LatentDistribution = "uniform11"
    settings: Recipe = RECIPES["ssgan-digits"]
    data_name: str = ""
    data_images: int = 0
    data_sha256: str = ""
    jpeg_quality: int | None = None  # quality of the JPEG that every image went through, None without
    torch_version: str = torch.__version__

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.channels, self.height, self.width

    @property
    def condition_classes(self) -> int:
        """K if the networks are conditioned on the class, else 0."""
        return len(self.classes) if self.settings.is_conditional else 0

    @classmethod
    def of(cls, recipe: Recipe, data: LabelledImages) -> RunConfig:
        """Describe a run of a recipe on training images."""
        height, width, channels = data.shape
        latent_size, latent_distribution = recipe.latent
        return cls(
            recipe=recipe.name,
            height=height,
            width=width,
            channels=channels,
            classes=data.classes,
            latent_size=latent_size,
            latent_distribution=latent_distribution,
            settings=recipe,
            data_name=data.name,
            data_images=len(data),
            data_sha256=data.sha256(),
            jpeg_quality=data.jpeg_quality,
        )

    def to_json(self) -> str:
        """Return the text of config.json."""
        values = {
            "recipe": self.recipe,
            "settings": self.settings.to_dict(),
            "image": {"height": self.height, "width": self.width, "channels": self.channels},
            "classes": list(self.classes),
            "latent": {"size": self.latent_size, "distribution": self.latent_distribution},
            "data": {
                "name": self.data_name,
                "images": self.data_images,
                "sha256": self.data_sha256,
                "jpeg_quality": self.jpeg_quality,
            },
            "torch": self.torch_version,
        }
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunConfig:
        """Read the text of config.json.

        Raises:
            RunError: if it is not JSON, a value is missing, or it names an unknown recipe or field.
        """
        try:
            values = json.loads(text)
            image, latent, data = values["image"], values["latent"], values["data"]
            return cls(
                recipe=values["recipe"],
                height=_whole(image["height"], minimum=1),
                width=_whole(image["width"], minimum=1),
                channels=_whole(image["channels"], minimum=1),
                classes=tuple(str(name) for name in values["classes"]),
                latent_size=_whole(latent["size"], minimum=0),
                latent_distribution=latent["distribution"],
                settings=recipe_named(values["recipe"]).overridden(values["settings"]),
                data_name=str(data["name"]),
                data_images=int(data["images"]),
                data_sha256=str(data["sha256"]),
                jpeg_quality=_quality(data.get("jpeg_quality")),
                torch_version=str(values["torch"]),
            )
        except RecipeError as error:
            raise RunError(f"config.json: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"config.json is damaged or from another version ({error!r})") from None


def _quality(value: object) -> int | None:
    return None if value is None else _whole(value, minimum=1)


def _whole(value: object, *, minimum: int) -> int:
    """Return a JSON value that must be a whole number >= minimum; ValueError if it is not."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(value)
    return value
