"""`mintage neurons ...`: find the neuron of an autoencoder that detects a concept, and show what stimulates it.

mintage neurons find runs/face-neuron --concept face --positives lfw/ --distractors cifar10/
mintage neurons find runs/face-neuron --concept cat --data cifar10/ --class cat
mintage neurons show runs/face-neuron face --data photos/
mintage neurons show runs/face-neuron --stage 2 --unit 198
mintage neurons classify runs/face-neuron --data cifar10/
mintage neurons detect holiday/*.jpg --concept face
"""

from __future__ import annotations

import typer

from service.cli.commands import Verbs

neurons = Verbs("neurons", "Find and show neurons of an autoencoder that detect a concept.")


def register(app: typer.Typer) -> None:
    """Add the verb with its subcommands."""
    app.add_typer(neurons)
    from service.cli.neurons import classify, detect, find, show

    find.register(neurons)
    show.register(neurons)
    classify.register(neurons)
    detect.register(neurons)
