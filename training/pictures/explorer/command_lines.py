"""The command lines that make what the page shows, ready to paste."""

from __future__ import annotations

import shlex
from typing import Any

from dnnlib import UserError, cli
from dnnlib.tflib import Network
from training.pictures.explorer.requests import PictureRequest
from training.snapshots.class_names import find_classes, label_names

# As grids, mixes, edits and walks have it, so that a product is the same in all of them.
NOISE = "const"


class CommandLines:
    """Command lines for pictures of a network.

    Args:
        network: as the command line has it.
        Gs: its generator.
    """

    def __init__(self, network: str, Gs: Network):
        self._network, self._Gs = network, Gs

    def of(self, command: str, request: Any, **options: Any) -> str:
        """That of a command of run_generator.py, with the psi and class of a request."""
        common = {"truncation_psi": request.psi, "class": self.class_word(request)}
        return line("run_generator.py", command, network=self._network, **options, **common)

    def picture(self, request: PictureRequest, is_edited: bool) -> str:
        """That of one picture; FILE.npz stands for its w, where no seed makes it."""
        if request.photo is None and not is_edited:
            seeds = {"seeds": request.seed, "noise_mode": NOISE, "outdir": "."}
            return self.of("generate-images", request, **seeds)
        words = {"network": self._network, "dlatents": "FILE.npz", "outdir": "."}
        return line("run_generator.py", "generate-images", **words)

    def class_word(self, request: Any) -> str | None:
        """The class of a request: by its name where that is as clear as the number."""
        number, names = request.class_number, label_names(self._Gs)
        if number is None:
            return None
        try:
            is_clear = names is not None and find_classes(self._Gs, names[number]) == [number]
        except UserError:
            is_clear = False
        return names[number] if is_clear else str(number)


def line(script: str, command: str, **options: Any) -> str:
    """The command line of a script, a command, and options, see `cli.words`."""
    return shlex.join(["python", script, command, *cli.words(**options)])
