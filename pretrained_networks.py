"""Official face: published networks by their `gdrive:` names, and snapshots in general."""

from __future__ import annotations

from dnnlib import tflib
from dnnlib.tflib import Network
from training.snapshots import pickles, pretrained
from training.snapshots.roles import ALONE, build_in_order, by_role

gdrive_urls = pretrained.gdrive_names()


def get_path_or_url(path_or_gdrive_path: str) -> str:
    """The URL of a published network, by any name that `--network` takes; paths as they are.

    Raises:
        UserError: there is no published network of that `gdrive:` name.
    """
    return pretrained.url_of(path_or_gdrive_path) or path_or_gdrive_path


def load_networks(
    path_or_gdrive_path: str,
) -> tuple[Network | None, Network | None, Network | None]:
    """Reads a snapshot, which is downloaded first if need be, and makes a session if there is none.

    Returns:
        (G, D, Gs), None in the place of one that the file does not have. A network that is alone in
        its file is Gs.

    Raises:
        UserError: as `training.snapshots.pickles.load`.
    """
    tflib.init_tf()
    networks = pickles.load(path_or_gdrive_path)
    build_in_order(networks)
    found = by_role(networks)
    return found.get("G"), found.get("D"), found.get("Gs") or found.get(ALONE)
