"""Short names of networks, usable wherever a snapshot's path is: ours, and NVIDIA's published ones.

Ours lie in `networks/`, each as weights (`npz_weights`), a description, and a card for people.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from dnnlib import UserError, cli, downloads, urls

BASE = "https://nvlabs-fi-cdn.nvidia.com/"
STYLEGAN2 = "stylegan2/networks/"
ADA = "stylegan2-ada/pretrained/"
ADA_TRANSFER = ADA + "transfer-learning-source-nets/"
# Folders of published networks and the folders in them. Any file in them can be named.
_FOLDERS = {
    STYLEGAN2: ("table2",),
    ADA: (
        "paper-fig7c-training-set-sweeps",
        "paper-fig8a-comparison-methods",
        "paper-fig8b-discriminator-capacity",
        "paper-fig11a-small-datasets",
        "paper-fig11b-cifar10",
        "transfer-learning-source-nets",
    ),
}

# Prefix by which the official stylegan2 scripts name files of their collection.
_GDRIVE = "gdrive:"
# Files of networks that come with this code, by short name.
OWN = {
    name: os.path.join(os.path.dirname(os.path.abspath(__file__)), "networks", f"{name}.npz")
    for name in ("clothing-64",)
}
_LICENCES = {
    STYLEGAN2: "https://nvlabs.github.io/stylegan2/license.html",
    ADA: "https://nvlabs.github.io/stylegan2-ada/license.html",
}


def _stylegan2_files() -> list[str]:
    """The networks of StyleGAN2's tables 1 and 2."""
    configs = {"ffhq": "abcdef", "car": "abcdef", "cat": "af", "church": "af", "horse": "af"}
    table1 = [f"stylegan2-{data}-config-{c}.pkl" for data, cs in configs.items() for c in cs]
    archs = ("orig", "resnet", "skip")
    table2 = [
        f"table2/stylegan2-{data}-config-e-G{g}-D{d}.pkl"
        for data in ("car", "ffhq")
        for g in archs
        for d in archs
    ]
    return table1 + table2


# The networks of the ADA paper, and those that its train.py starts from by name.
_ADA_FILES = ("ffhq", "metfaces", "afhqcat", "afhqdog", "afhqwild", "cifar10", "brecahad")
_ADA_TRANSFER_FILES = {
    "ffhq256": "ffhq-res256-mirror-paper256-noaug.pkl",
    "ffhq512": "ffhq-res512-mirror-stylegan2-noaug.pkl",
    "ffhq1024": "ffhq-res1024-mirror-stylegan2-noaug.pkl",
    "celebahq256": "celebahq-res256-mirror-paper256-kimg100000-ada-target0.5.pkl",
    "lsundog256": "lsundog-res256-paper256-kimg100000-noaug.pkl",
}


def names() -> Mapping[str, str]:
    """{short name: URL} of NVIDIA's: the published file names without folder and `.pkl`."""
    result = {os.path.basename(f)[:-4]: BASE + STYLEGAN2 + f for f in _stylegan2_files()}
    result |= {name: f"{BASE}{ADA}{name}.pkl" for name in _ADA_FILES}
    result |= {name: BASE + ADA_TRANSFER + file for name, file in _ADA_TRANSFER_FILES.items()}
    return result


def gdrive_names() -> Mapping[str, str]:
    """{`gdrive:` name of the official scripts: URL}."""
    root = BASE + "stylegan2/"
    found = [url for url in names().values() if url.startswith(root)]
    return {_GDRIVE + url.removeprefix(root): url for url in found}


def url_of(spec: str) -> str | None:
    """The URL that a short name, a `gdrive:` name or a URL stands for; None for a path.

    Besides short names, with `.pkl` or without: `gdrive:networks/FILE` as in the official scripts,
    and paths of `.pkl` files below the official folders, like `stylegan2/networks/FILE`.

    Raises:
        UserError: a `gdrive:` name that is not on the list, or a folder that is not there.
    """
    if urls.is_url(spec):
        return spec
    published = names()
    if spec.startswith(_GDRIVE):
        url = gdrive_names().get(spec)
        if url is None:
            raise UserError(f"{spec} is not a published network{suggestion(spec)}")
        return url
    for root, folders in _FOLDERS.items():
        if spec.startswith(root) and spec.endswith(".pkl"):
            _check_folder(root, folders, spec)
            return BASE + spec
    return published.get(spec.removesuffix(".pkl"))


def local_path(spec: str) -> str:
    """A file on this machine: `spec` itself, ours of that name, or a download in the cache.

    A file of the same name comes before a short name.

    Raises:
        UserError: the download fails.
    """
    if os.path.isfile(spec):
        return spec
    if spec in OWN:
        return OWN[spec]
    url = url_of(spec)
    if url is None:
        return spec
    if downloads.cached(url) is None:
        for folder, licence in _LICENCES.items():
            # A scheme and a host may be written in capitals.
            if url.lower().startswith(BASE + folder):
                print(
                    f"NOTE: {urls.show_source(spec)} is a network by NVIDIA, under NVIDIA's "
                    "own licence and not that of this project: non-commercial use only. "
                    f"See {licence}",
                    file=sys.stderr,
                )
    return downloads.fetch(url)


def existing(spec: str) -> str:
    """Type of an option that takes a snapshot: `spec` if it names a file, URL or published network.

    Raises:
        UserError: there is no such thing; nothing is downloaded.
    """
    spec = os.path.expanduser(spec)
    if not os.path.exists(spec) and spec not in OWN and url_of(spec) is None:
        hint = "" if os.path.sep in spec else suggestion(spec)
        raise UserError(f"cannot read snapshot {spec}: No such file or directory{hint}")
    return spec


def existing_file(spec: str) -> str:
    """As `existing`, of no folder."""
    found = existing(spec)
    if os.path.isdir(found):
        raise UserError(f"cannot read snapshot {found}: it is a folder; name a .pkl file in it")
    return found


def add_network_option(add: Callable) -> None:
    """Adds --network, with the method `add_argument` of a parser or a group."""
    add(
        "--network",
        type=cli.checked(existing_file),
        required=True,
        help="snapshot: a .pkl file, its https URL, an .npz of weights, the name of a published "
        f"network, or {', '.join(OWN)}, which comes with this code",
    )


def suggestion(spec: str) -> str:
    """The end of an error message: short names like `spec`, if there are any."""
    known = [*OWN, *names()]
    close = difflib.get_close_matches(spec.rpartition("/")[2].removesuffix(".pkl"), known, 3)
    return f"; did you mean the network {' or '.join(close)}?" if close else ""


def _check_folder(root: str, folders: Sequence[str], spec: str) -> None:
    """Raises a UserError if `spec`, which is below `root`, is in none of its folders."""
    folder, *rest = spec.removeprefix(root).split("/")
    if not rest or folder in folders:
        return
    close = difflib.get_close_matches(folder, folders, 1, cutoff=0.4)
    hint = f"did you mean {root}{close[0]}/?" if close else f"use {', '.join(folders)}"
    raise UserError(
        f"{spec}: there is no such file, and no folder {folder} of published networks; {hint}"
    )
