"""Where feature networks come from: files of the user, or downloads that are checked."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dnnlib import UserError, cli, downloads, urls
from dnnlib.files import atomic_write
from dnnlib.schema import read_json_object
from dnnlib.util import did_you_mean
from metrics.feature_networks.network import (
    FeatureNetwork,
    FeatureNetworkMissing,
    checksum_of,
    sha256_of,
)

_TF = "https://download.tensorflow.org/models/image/imagenet/"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
_TORCHVISION = "https://download.pytorch.org/models/"
_LPIPS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/"
_NVIDIA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada/pretrained/metrics/"


@dataclass(frozen=True)
class Role:
    """A part that a feature network plays.

    Attributes:
        what: for messages.
        url: where it is published as data; None where it is not.
        md5: published checksum of that file; None where there is none.
        sha256: the same, or the beginning of it.
        pickle_url: NVIDIA's file, which brings code.
    """

    what: str
    url: str | None = None
    md5: str | None = None
    sha256: str | None = None
    pickle_url: str | None = None


# What `--feature-net ROLE=FILE` names. Few of the publishers state a SHA-256: the one that is found
# at the first download counts from then on (`_check_download`).
ROLES: Mapping[str, Role] = {
    "inception": Role(
        "Inception of 2015-12-05: inception-2015-12-05.tgz or the .pb in it",
        url=_TF + "inception-2015-12-05.tgz",
        pickle_url=_NVIDIA + "inception_v3_features.pkl",
    ),
    "inception_softmax": Role(
        "Inception's class probabilities as a .pkl", pickle_url=_NVIDIA + "inception_v3_softmax.pkl"
    ),
    "vgg16": Role(
        "VGG16: vgg16_weights_tf_dim_ordering_tf_kernels.h5, an .npz, or torchvision's .pth",
        url=_KERAS + "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        # Stated in keras/applications/vgg16.py.
        md5="64373286793e3c8b2b4e3219cbf3544b",
        pickle_url=_NVIDIA + "vgg16.pkl",
    ),
    "lpips": Role(
        "LPIPS: vgg.pth (v0.1) of its authors, or an .npz",
        url=_LPIPS + "weights/v0.1/vgg.pth",
        # That of the file in version 0.1.4 of the authors' package.
        sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        pickle_url=_NVIDIA + "vgg16_zhang_perceptual.pkl",
    ),
    "vgg16_torchvision": Role(
        "the VGG16 that LPIPS looks through: torchvision's vgg16-397923af.pth",
        url=_TORCHVISION + "vgg16-397923af.pth",
        sha256="397923af",  # It is in the name.
    ),
    "classifiers": Role("a folder of 40 classifiers, celebahq-classifier-NN-*.pkl or -NN-*.pb"),
}


@dataclass
class FeatureSources:
    """Feature networks by role; each is read once.

    Args:
        files: {role: path} of files that the user gives.
        own_file: a user's own network for FID, KID, precision and recall: a graph, or a snapshot
            whose discriminator it is.
        allow_pickled_code: use NVIDIA's files, which bring code that runs here.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    own_file: str | None = None
    allow_pickled_code: bool = False
    _loaded: dict[str, FeatureNetwork] = field(default_factory=dict, repr=False)

    def get(self, role: str) -> FeatureNetwork:
        """The network of a role; `own` is the user's.

        Raises:
            FeatureNetworkMissing: it is not there and cannot be downloaded.
            UserError: the file is not what it should be.
        """
        if role not in self._loaded:
            if role == "own":
                from metrics.feature_networks.discriminator import SUFFIXES, DiscriminatorFeatures
                from metrics.feature_networks.own_graph import OwnNetwork

                is_snapshot = self.own_file.endswith(SUFFIXES)
                kind = DiscriminatorFeatures.of_snapshot if is_snapshot else OwnNetwork
                network = kind(self.own_file)
                print(f"Feature network {network.contract}", flush=True)
                self._loaded[role] = network
            else:
                self._loaded[role] = self._read(role, self.path(role))
        return self._loaded[role]

    def get_softmax(self) -> FeatureNetwork:
        """Inception's class probabilities: a `.pkl` of Inception gives features only."""
        return self.get("inception_softmax" if self._is_pickle("inception") else "inception")

    def is_at_hand(self, role: str) -> bool:
        """Whether a network is given, or all its files were downloaded before."""
        if role in self.files:
            return True
        parts = [role]
        if role == "lpips" and not self._is_pickle(role):
            parts.append(self._role_of_convolutions())
        urls_needed = [self._url(part) for part in parts if part not in self.files]
        return all(url is not None and downloads.cached(url) for url in urls_needed)

    def classifiers(self, count: int) -> list[FeatureNetwork]:
        """The classifiers of linear separability, in the order of their numbers."""
        from metrics.feature_networks.classifiers import read_classifiers

        return read_classifiers(self.path("classifiers"), count, self.allow_pickled_code)

    def path(self, role: str) -> str:
        """The file of a role, downloaded if need be.

        Raises:
            FeatureNetworkMissing: it is not there and cannot be downloaded.
        """
        given = self.files.get(role)
        if given is not None:
            if not os.path.exists(given):
                raise FeatureNetworkMissing(f"--feature-net={role}={given}: there is no such file")
            return given
        url = self._url(role)
        if url is None:
            raise FeatureNetworkMissing(
                f"no feature network {role}: give --feature-net={role}=FILE ({ROLES[role].what})"
            )
        try:
            path = downloads.fetch(url)
        except UserError as error:
            raise FeatureNetworkMissing(
                f"no feature network {role}: {error}; download {url} elsewhere and give "
                f"--feature-net={role}=FILE"
            ) from error
        _check_download(role, url, path)
        return path

    def check_given(self) -> None:
        """Reads the files that the user gives, all but parts of networks and classifiers.

        Raises:
            UserError: one is not what it should be.
        """
        given = [role for role in self.files if role not in ("vgg16_torchvision", "classifiers")]
        for role in [*given, "own"] if self.own_file else given:
            self.get(role)

    def fetch(self) -> None:
        """Downloads all networks that can be had, and prints where they are.

        Raises:
            FeatureNetworkMissing: some of them could not be downloaded; the others were.
        """
        problems = []
        for role in ROLES:
            if role not in self.files and self._url(role) is None:
                print(f"{role}: not published as data; {ROLES[role].what}")
                continue
            try:
                path = self.path(role)
                print(f"{role}: {path}", f"SHA-256 {sha256_of(path)}" * os.path.isfile(path))
            except FeatureNetworkMissing as error:
                problems.append(str(error))
        if problems:
            raise FeatureNetworkMissing("; ".join(problems))

    def _url(self, role: str) -> str | None:
        entry = ROLES[role]
        if self.allow_pickled_code and entry.pickle_url:
            return entry.pickle_url
        return entry.url

    def _is_pickle(self, role: str) -> bool:
        where = self.files.get(role) or self._url(role) or ""
        return where.endswith(".pkl")

    def _role_of_convolutions(self) -> str:
        """Where LPIPS has its VGG16 from, unless its own file has it."""
        own = "vgg16_torchvision"
        return "vgg16" if "vgg16" in self.files and own not in self.files else own

    def _read(self, role: str, path: str) -> FeatureNetwork:
        # Imported late: what is checked without TensorFlow should not wait for it.
        from metrics.feature_networks import inception, lpips, pickled, vgg16

        if self._is_pickle(role):
            output = "softmax" if role == "inception_softmax" else "features"
            return pickled.PickledNetwork(path, role, output, self.allow_pickled_code)
        readers: dict[str, Callable[[], FeatureNetwork]] = {
            "inception": lambda: inception.Inception(path),
            "vgg16": lambda: vgg16.Vgg16(path),
            "lpips": lambda: lpips.Lpips(path, lambda: self.path(self._role_of_convolutions())),
        }
        if role not in readers:
            raise UserError(f"--feature-net={role}={path}: expected a .pkl file")
        return readers[role]()


def parse_feature_net(text: str) -> tuple[str, str]:
    """(role, path) of an option `--feature-net`; the role of a user's own network is "own".

    Raises:
        UserError: a role that is not known.
    """
    match = re.fullmatch(r"([A-Za-z0-9_]+)=(.+)", text)
    if not match:
        return "own", os.path.expanduser(text)
    if match[1] not in ROLES:
        hint = did_you_mean(match[1], ROLES)
        raise UserError(f"--feature-net={text}: no role {match[1]!r}: {hint}use {', '.join(ROLES)}")
    return match[1], os.path.expanduser(match[2])


def find_feature_net(text: str) -> tuple[str, str]:
    """As `parse_feature_net`, of a file that is there.

    Raises:
        UserError: a role that is not known, or nothing at the path that can be read.
    """
    role, path = parse_feature_net(text)
    if not os.path.exists(path):
        raise UserError(f"there is no file {urls.show_source(path)}")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} cannot be read: permission denied")
    return role, path


def _check_download(role: str, url: str, path: str) -> None:
    """Compares a download with what it was the first time, and then with what is published."""
    pins_path = os.path.join(downloads.cache_folder(), "feature-networks.json")
    pins, sha256 = read_json_object(pins_path), sha256_of(path)
    published = ROLES[role].sha256 if url == ROLES[role].url else None
    if published is not None and not sha256.startswith(published):
        raise FeatureNetworkMissing(
            f"{path}, downloaded from {url}, has the SHA-256 {sha256}, expected {published}: "
            "remove the file and try again"
        )
    if published == sha256:
        return
    if url in pins:
        if pins[url] != sha256:
            raise FeatureNetworkMissing(
                f"{path}, downloaded from {url}, has the SHA-256 {sha256}, the first download had "
                f"{pins[url]}: remove its line in {pins_path} if you trust the new one"
            )
        return
    published = ROLES[role].md5 if url == ROLES[role].url else None
    if published is not None and (found := checksum_of([path], "md5")) != published:
        raise FeatureNetworkMissing(
            f"{path}, downloaded from {url}, has the MD5 {found}, its publishers state "
            f"{published}: remove the file and try again"
        )
    print(
        f"{role}: {url} has the SHA-256 {sha256}. Its publishers do not state it: from now on "
        "this one counts",
        file=sys.stderr,
    )
    with atomic_write(pins_path, "w") as file:
        json.dump({**pins, url: sha256}, file, indent=1)


def add_feature_net_option(add: Callable, text: str) -> None:
    """Adds --feature-net to a command line; `text` follows "file of a feature network"."""
    add(
        "--feature-net",
        type=cli.checked(find_feature_net),
        action="append",
        default=[],
        metavar="[ROLE=]FILE",
        help=f"file of a feature network {text}",
    )
