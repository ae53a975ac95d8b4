"""The table of metrics: official name → class and arguments.

Names and numbers are those of the StyleGAN, StyleGAN2 and ADA papers and repositories. `_full`
compares with every image of the dataset, unmirrored; the others with at most as many reals as
there are fakes, mirrored as the training was. A smaller number in a name is a quick look.
"""

from __future__ import annotations

from typing import Any

from dnnlib import EasyDict


def _table(*rows: tuple[str, str, dict[str, Any]]) -> EasyDict:
    table = EasyDict()
    for name, function, kwargs in rows:
        table[name] = EasyDict(name=name, func_name=f"metrics.{function}", **kwargs)
    return table


_FID = "frechet_inception_distance.FID"
_KID = "kernel_inception_distance.KID"
_IS = "inception_score.IS"
_PPL = "perceptual_path_length.PPL"
_PR = "precision_recall.PR"
_LS = "linear_separability.LS"
_COPIES = "copies.Copies"
_ALL = {"max_reals": None, "mirror": False}  # Every real image, as it is.


def _ppl(space: str, sampling: str, crop: bool = True) -> dict[str, Any]:
    arguments = {"space": space, "sampling": sampling, "crop": crop}
    return {"num_samples": 50_000, "epsilon": 1e-4, **arguments}


# `crop` cuts out the faces of FFHQ and CelebA-HQ; `ppl2_wend` is for all other pictures.
metric_defaults = _table(
    ("fid50k", _FID, {"num_fakes": 50_000, "max_reals": 50_000}),
    ("fid50k_full", _FID, {"num_fakes": 50_000, **_ALL}),
    ("fid5k_full", _FID, {"num_fakes": 5_000, **_ALL}),
    ("fid1k", _FID, {"num_fakes": 1_000, "max_reals": 1_000}),
    ("kid50k_full", _KID, {"num_fakes": 50_000, **_ALL}),
    ("kid5k_full", _KID, {"num_fakes": 5_000, **_ALL}),
    ("kid1k_full", _KID, {"num_fakes": 1_000, **_ALL}),
    ("is50k", _IS, {"num_images": 50_000, "num_splits": 10}),
    ("ppl_zfull", _PPL, _ppl("z", "full")),
    ("ppl_wfull", _PPL, _ppl("w", "full")),
    ("ppl_zend", _PPL, _ppl("z", "end")),
    ("ppl_wend", _PPL, _ppl("w", "end")),
    ("ppl2_wend", _PPL, _ppl("w", "end", crop=False)),
    ("pr50k3", _PR, {"num_fakes": 50_000, "max_reals": 50_000, "nhood_size": 3}),
    ("pr50k3_full", _PR, {"num_fakes": 50_000, "nhood_size": 3, **_ALL, "max_reals": 200_000}),
    ("copies", _COPIES, {"num_fakes": 1_000}),
    ("ls", _LS, {"num_samples": 200_000, "num_keep": 100_000, "num_attributes": 40}),
)
