"""`mintage explore ...`: what a generator's latent space knows.

mintage explore gallery faces -o gallery.png                               # numbered samples to choose from
mintage explore walk faces '#12' '#40' '#77' --closed -o walk.webp
mintage explore add faces 'mean(#1,#2,#3) - mean(#4,#5,#6) + mean(#7,#8,#9)' -o add.png
mintage explore turn faces --from '#1,#4,#9,#12' --to '#2,#3,#7,#8' --save turn -o turned.png
mintage explore directions faces find --weights -o directions.png
mintage explore invert faces photo.jpg --save me -o inverted.png
mintage explore forget faces --detector face-neuron --concept face -o forgotten.png
mintage explore explain faces-discriminator me.jpg -o explained.png
"""

from __future__ import annotations

import typer

from service.cli.commands import Verbs
from service.cli.explore import add, directions, explain, forget, gallery, invert, patches, turn, walk

explore = Verbs("explore", "Explore what a network knows: walks, arithmetic and more, as pictures.")


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    gallery.register(explore)
    walk.register(explore)
    add.register(explore)
    turn.register(explore)
    directions.register(explore)
    invert.register(explore)
    forget.register(explore)
    explain.register(explore)
    patches.register(explore)
    app.add_typer(explore)
