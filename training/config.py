"""The configuration of a run, config.json: every field of its recipe, and what its networks were built for."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.data import LabelledImages, Options, names_of
from training.data.formats.hub import PREFIX as HUB
from training.data.joined import BETWEEN
from training.errors import DataError, RecipeError, RunError
from training.recipes import RECIPES, LatentDistribution, Recipe, recipe_named

FREE = {  # fields that do not change the weights
    "max_seconds",
    "report_images",
    "checkpoint_images",
    "checkpoint_seconds",
    "sample_seconds",
    "sharding",
    "teacher",  # its name; its digest counts
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How a run's images were loaded: from which sources, as they were named, and with which options."""

    sources: tuple[str, ...]
    options: Options = dataclasses.field(default_factory=Options)

    @classmethod
    def of(cls, data: LabelledImages) -> Loading:
        """Describe images whose options are not known, but for what they tell themselves."""
        return cls(sources=tuple(names_of(data.name)), options=Options(jpeg_quality=data.jpeg_quality))


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
    loading: Loading = dataclasses.field(default_factory=lambda: Loading(sources=()))
    torch_version: str = torch.__version__

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.channels, self.height, self.width

    @property
    def jpeg_quality(self) -> int | None:
        """Quality of the JPEG that every image went through, None without."""
        return self.loading.options.jpeg_quality

    @property
    def condition_classes(self) -> int:
        """K if the networks are conditioned on the class, else 0."""
        return len(self.classes) if self.settings.is_conditional else 0

    @classmethod
    def of(cls, recipe: Recipe, data: LabelledImages, loading: Loading | None = None) -> RunConfig:
        """Describe a run of a recipe on training images, and how they were loaded, if that is known."""
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
            loading=loading or Loading.of(data),
        )

    def portable(self) -> RunConfig:
        """Return the configuration without what one machine or one start decided.

        Paths lose their folders, and fields that change no weight have the published values.
        """
        published = recipe_named(self.recipe)
        sources = tuple(_base_name(source) for source in self.loading.sources)
        return dataclasses.replace(
            self,
            settings=self.settings.overridden({name: getattr(published, name) for name in _free(published)}),
            data_name=BETWEEN.join(sources) if sources else _base_name(self.data_name),
            loading=dataclasses.replace(self.loading, sources=sources),
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
                "sources": list(self.loading.sources),
                **dataclasses.asdict(self.loading.options),
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
                loading=_loading(data),
                torch_version=str(values["torch"]),
            )
        except (RecipeError, DataError) as error:
            raise RunError(f"config.json: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"config.json is damaged or from another version ({error!r})") from None


def _loading(data: dict[str, Any]) -> Loading:
    """Read how images were loaded; configurations of earlier runs tell the quality alone."""
    size, sources = data.get("size"), data.get("sources", names_of(data["name"]) if data["name"] else ())
    options = Options(
        size=None if size is None else (_whole(size[0], minimum=1), _whole(size[1], minimum=1)),
        **{
            name: None if data.get(name) is None else _whole(data[name], minimum=0)
            for name in ("channels", "limit", "max_damaged", "jpeg_quality")
        },
    )
    return Loading(sources=tuple(map(str, sources)), options=options)


def _free(recipe: Recipe) -> list[str]:
    """Return the fields of a recipe that do not change the weights."""
    return [name for name in recipe.fields() if name in FREE]


def _base_name(source: str) -> str:
    """Return the last part of a path; a data set of the hub keeps its name."""
    return source if source.startswith(HUB) else Path(source).name or source


def _whole(value: object, *, minimum: int) -> int:
    """Return a JSON value that must be a whole number >= minimum; ValueError if it is not."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(value)
    return value
