"""`mintage explore add`: arithmetic with concepts, as in section 6.3.2 of Radford et al. 2015."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonOption, connect, fail, friendly_errors
from service.cli.explore.again import again
from service.cli.explore.drawing import check_picture, drawn, read_formulas
from service.cli.explore.options import GeneratorArgument, SeedOption, SheetOption, class_note
from service.cli.explore.turning import read_set
from service.cli.formula_options import ClassOption
from service.cli.json_lines import print_json
from service.validation import DIRECTION

if TYPE_CHECKING:
    import numpy as np
    from mintage.v1.latents_pb2 import Latent
    from numpy.typing import NDArray

    from service.images.sheets import Panel

MIN_EXEMPLARS = 3  # of a concept: the paper found arithmetic with single ones unstable
HALF_WIDTH = 0.25  # of the noise of the neighbours, as in the paper
NEIGHBOURS = 8


def add(
    context: typer.Context,
    model: GeneratorArgument,
    formula: Annotated[
        str,
        typer.Argument(
            metavar="FORMULA",
            help="Means of exemplars, added and subtracted: 'mean(#1,#2,#3) - mean(#4,#5,#6)'; or their names, with "
            "--concept.",
            show_default=False,
        ),
    ],
    *,
    named: Annotated[
        list[str] | None,
        typer.Option(
            "--concept",
            metavar="NAME=LATENTS",
            help="Name the mean of exemplars, so that the formula can say it: smiling='#12,#40,#77'. May be repeated.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help=f"Take concepts with fewer than {MIN_EXEMPLARS} exemplars too.")
    ] = False,
    seed: SeedOption = 0,
    noise_seed: Annotated[
        int, typer.Option(min=0, max=2**63, help="Seed of the noise of the first neighbour; the others follow.")
    ] = 1,
    class_index: ClassOption = None,
    output: SheetOption = Path("add.png"),
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Add and subtract concepts, each the mean of at least three samples that show it.

    The sheet shows the exemplars; below them the result in the middle of eight neighbours, the result plus uniform
    noise from -0.25 to 0.25 in every number; and for comparison the same with the exemplars' pixels in place of their
    latents, from -1 to 1.

    Example: mintage explore add faces 'mean(#12,#40,#77) - mean(#3,#8,#9) + mean(#21,#33,#54)' -o add.png
    mintage explore add faces 'smile + man' --concept smile='#12,#40,#77' --concept man='#3,#8,#9' -o add.png
    """
    from service.images.sheets import Panel, Sheet, Tile, write_sheet

    check_picture(output, [".png"])
    known = _read_concepts(named or [], seed=seed)
    result = _one(read_formulas([formula], seed=seed))
    _put_in_place(known, result)
    concepts = _concepts(result, known)
    if few := [concept for concept in concepts if len(concept.exemplars) < MIN_EXEMPLARS]:
        what = f"{few[0].text} has {len(few[0].exemplars)}"
        if not force:
            fail(f"a concept is the mean of at least {MIN_EXEMPLARS} exemplars, but {what}; --force takes it too")
    command = again(context)
    around = _neighbours(result, noise_seed)
    wanted = [latent for concept in concepts for latent in (*concept.exemplars, concept.latent)]
    with friendly_errors(), connect(api) as client:
        images = drawn(client, model, [*wanted, *around], class_index)
    bands: list[list[Panel]] = []
    at, control = 0, 0.0
    for concept in concepts:
        count = len(concept.exemplars)
        exemplars, mean = images[at : at + count], images[at + count]
        at += count + 1
        control = control + concept.weight * exemplars.mean(axis=0)
        names = [_name(latent) for latent in concept.exemplars]
        tiles = [Tile(image, name) for image, name in zip(exemplars, names, strict=True)]
        bands.append([Panel(concept.heading, tiles, COLUMNS), Panel("their mean latent", [Tile(mean)], 1)])
    nine = Panel("the result in the middle of its neighbours", [Tile(image, "") for image in images[at:]], 3)
    noisy = _noisy_pixels(control, noise_seed)
    bands.append([nine, Panel("the same arithmetic with pixels", [Tile(image, "") for image in noisy], 3)])
    sheet = Sheet(
        title=f"Arithmetic with {model}",
        subtitle=f"{formula}, seed {seed}{class_note(class_index)}",
        bands=bands,
        command=command,
        notes=[
            f"Neighbours: the result plus uniform noise from -{HALF_WIDTH} to {HALF_WIDTH} in every number, or pixel."
        ],
    )
    write_sheet(sheet, output)
    if as_json:
        print_json(_described(output, result, around, command))
    else:
        typer.echo(f"the result of {len(concepts)} concepts in {output}\n{command}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(add)


COLUMNS = 8  # exemplars in a row


@dataclass(frozen=True, slots=True)
class Concept:
    """One term of the arithmetic."""

    weight: float
    latent: Latent
    exemplars: list[Latent]
    name: str = ""

    @property
    def text(self) -> str:
        """Its name, or its formula."""
        from mintage.latents import text_of

        return self.name or text_of(self.latent)

    @property
    def heading(self) -> str:
        """Its name, if it has one, with its sign."""
        from mintage.latents import number_text

        size = abs(self.weight)
        sign = "minus" if self.weight < 0 else "plus"
        times = "" if size == 1 else f"{number_text(size)} times "
        name = f"{self.name}, " if self.name else ""
        return f"{sign} {times}{name}the mean of"


def _one(latents: list[Latent]) -> Latent:
    if len(latents) != 1:
        fail("arithmetic has one result: the formula must not have a range; `mintage sample --latent` draws frames")
    return latents[0]


def _read_concepts(texts: list[str], *, seed: int) -> dict[str, Latent]:
    """Read names and what they are the means of; exits with 2 if one is wrong."""
    from mintage.latents import FUNCTIONS
    from mintage.v1 import latents_pb2
    from mintage.v1.latents_pb2 import Latent

    found: dict[str, Latent] = {}
    for text in texts:
        name, _, exemplars = text.partition("=")
        if not DIRECTION.fullmatch(name) or name in FUNCTIONS:
            fail(f"--concept {text}: expected NAME=LATENTS, where NAME is as that of a direction")
        if name in found:
            fail(f"--concept {name} is given twice")
        found[name] = Latent(mean=latents_pb2.LatentList(latents=read_set(exemplars, seed=seed)))
    return found


def _put_in_place(known: dict[str, Latent], result: Latent) -> None:
    """Put concepts in place of their names in a formula; exits with 2 if it does not name one of them."""
    from mintage.latents import inside

    used: set[str] = set()

    def replaced(latent: Latent) -> None:
        if latent.WhichOneof("value") == "direction" and latent.direction in known:
            used.add(latent.direction)
            latent.CopyFrom(known[latent.direction])
            return
        for part in inside(latent):
            replaced(part)

    replaced(result)
    if unused := sorted(known.keys() - used):
        fail(f"--concept {unused[0]}: the formula does not name it")


def _concepts(result: Latent, known: dict[str, Latent]) -> list[Concept]:
    """Take a formula apart into its terms, each exemplar once; exits with 2 if one has no image."""
    names = {latent.SerializeToString(deterministic=True): name for name, latent in known.items()}
    terms = [(term.weight, term.latent) for term in result.sum.terms] or [(1.0, result)]
    return [
        Concept(weight, latent, _exemplars(latent), names.get(latent.SerializeToString(deterministic=True), ""))
        for weight, latent in terms
    ]


def _exemplars(latent: Latent) -> list[Latent]:
    found = list(latent.mean.latents) if latent.WhichOneof("value") == "mean" else [latent]
    for each in found:
        if each.WhichOneof("value") == "direction":
            name = each.direction
            fail(f"{name} names no exemplars; --concept {name}=LATENTS does; `mintage sample --latent` adds directions")
    return list({each.SerializeToString(deterministic=True): each for each in found}.values())


def _neighbours(result: Latent, seed: int) -> list[Latent]:
    """Return nine latents, the result in the middle."""
    from mintage.v1 import latents_pb2
    from mintage.v1.latents_pb2 import Latent

    noisy = [
        Latent(jitter=latents_pb2.LatentJitter(latent=result, seed=seed + number, half_width=HALF_WIDTH))
        for number in range(NEIGHBOURS)
    ]
    return [*noisy[: NEIGHBOURS // 2], result, *noisy[NEIGHBOURS // 2 :]]


def _noisy_pixels(control: Any, seed: int) -> list[NDArray[np.uint8]]:
    """Return nine images [H, W, C], what the pixels come to in the middle, the others with noise of their own."""
    import numpy as np

    levels = HALF_WIDTH * 127.5  # pixels from -1 to 1, as the networks see them
    noisy = [
        _rounded(control + np.random.Generator(np.random.Philox(seed + number)).uniform(-levels, levels, control.shape))
        for number in range(NEIGHBOURS)
    ]
    return [*noisy[: NEIGHBOURS // 2], _rounded(control), *noisy[NEIGHBOURS // 2 :]]


def _name(latent: Latent) -> str:
    """The text of an exemplar, without a seed of 0."""
    from mintage.latents import text_of

    text = text_of(latent)
    return text.removeprefix("0") if text.startswith("0#") else text


def _rounded(image: Any) -> NDArray[np.uint8]:
    import numpy as np

    rounded: NDArray[np.uint8] = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return rounded


def _described(output: Path, result: Latent, around: list[Latent], command: str) -> dict[str, Any]:
    from mintage.latents import text_of

    return {
        "file": str(output),
        "formula": text_of(result),
        "images": list(map(text_of, around)),
        "command": command,
    }
