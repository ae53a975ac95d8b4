"""What the golden files of networks say (golden/README.md), as assertions on networks of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.tflib import Network
from training.loss import path_lengths, r1_penalty

Arrays = Mapping[str, np.ndarray]


def assert_close(actual, expected, tolerance=2e-5):
    """max|actual - expected| <= tolerance · max|expected|."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def refused_by_growing(make_G: Callable, make_D: Callable) -> list[tuple[Callable, dict, str]]:
    """Keyword arguments that networks which grow refuse, and what their error says."""
    return [
        (make_G, {"structure": "tree"}, "'tree'.*auto, fixed, linear, recursive"),
        (make_D, {"structure": "tree"}, "'tree'.*auto, fixed, linear, recursive"),
        (make_G, {"architecture": "skip"}, "'architecture'"),
        (make_D, {"architecture": "resnet"}, "'architecture'"),
        (make_G, {"dtype": "float16"}, "float16"),
        (make_D, {"resolution": 24}, "resolution 24"),
    ]


def official_networks(file: SimpleNamespace, module: str) -> tuple[Network, Network]:
    """(G, D) of a golden file, with its weights, from the build functions of a module."""
    networks = []
    for name in ("G", "D"):
        net = Network(name, f"{module}.{file.meta[f'{name}_func']}", **file.meta[name])
        values = {k[2:]: v for k, v in file.arrays.items() if k.startswith(name + "/")}
        assert set(values) == set(net.vars)
        tflib.set_vars({net.vars[k]: v for k, v in values.items()})
        networks.append(net)
    return tuple(networks)


def check_networks(arrays: Arrays, G: Network, D: Network, **options) -> None:
    """All that a golden file says of a pair of networks."""
    check_images(arrays, G, **options)
    check_scores(arrays, D, **options)
    check_path_lengths(arrays, G.components.synthesis, **options)


def check_loaded(arrays: Arrays, generators: Sequence[Network], D: Network) -> None:
    """What loaded networks make of the golden inputs: truncated images, and scores."""
    for network in generators:
        images = network.run(
            arrays["z"], arrays["labels"], truncation_psi=0.7, randomize_noise=False
        )
        assert_close(images, arrays["images_psi0.7_cutNone"])
    assert_close(D.run(arrays["D_images"], arrays["D_labels"]), arrays["scores"])


def check_images(arrays: Arrays, G: Network, **options) -> None:
    """Images of every truncation, w, and images of w."""
    z, labels = arrays["z"], arrays["labels"]
    options = {"randomize_noise": False, **options}
    cases = [name for name in arrays if name.startswith("images_psi")]
    assert cases
    for name in cases:
        psi, cutoff = name.removeprefix("images_psi").split("_cut")
        truncation = {
            "truncation_psi": float(psi),
            "truncation_cutoff": None if cutoff == "None" else int(cutoff),
        }
        assert_close(G.run(z, labels, **truncation, **options), arrays[name])
    assert_close(G.components.mapping.run(z, labels), arrays["dlatents"])
    images = G.components.synthesis.run(arrays["dlatents"], **options)
    assert_close(images, arrays["images_from_dlatents"])


def check_scores(arrays: Arrays, D: Network, **options) -> None:
    """Scores, their slope, the R1 penalty, and the gradients of both losses."""
    images, labels = tf.constant(arrays["D_images"]), tf.constant(arrays["D_labels"])
    scores = D.get_output_for(images, labels, is_training=True, **options)
    slope = tf.gradients(tf.reduce_sum(scores), [images])[0]
    penalty = r1_penalty(scores, images)
    got = tflib.run([scores, slope, penalty])
    for value, name in zip(got, ("scores", "dscore_dimage", "r1_penalty"), strict=True):
        assert_close(value, arrays[name])
    _check_norms(tf.reduce_sum(penalty), D, arrays, "dr1/")
    _check_norms(tf.reduce_sum(tf.nn.softplus(scores)), D, arrays, "dsoftplus/")


def check_path_lengths(arrays: Arrays, synthesis: Network, **options) -> None:
    """Path lengths and their gradients, which are second-order."""
    dlatents = tf.constant(arrays["dlatents"])
    options = {"is_training": True, "randomize_noise": False, **options}
    images = synthesis.get_output_for(dlatents, **options)
    lengths = path_lengths(images, dlatents, tf.constant(arrays["pl_noise"]))
    assert_close(tflib.run(lengths), arrays["pl_lengths"])
    _check_norms(tf.reduce_sum(tf.square(lengths - 1)), synthesis, arrays, "dpl/")


def _check_norms(loss: tf.Tensor, network: Network, arrays: Arrays, prefix: str) -> None:
    """L2 norms of the gradients; what the file leaves out or the loss does not reach has 0."""
    names, variables = zip(*network.trainables.items(), strict=True)
    gradients = tf.gradients(loss, variables)
    norms = tflib.run([tf.zeros([]) if g is None else tf.norm(g) for g in gradients])
    expected = {k.removeprefix(prefix): float(v) for k, v in arrays.items() if k.startswith(prefix)}
    assert expected
    allowance = 1e-6 * max(expected.values())
    for name, value in zip(names, norms, strict=True):
        reference = expected.pop(name, 0.0)
        assert abs(value - reference) <= 1e-3 * reference + allowance, (name, value, reference)
    assert not expected


def give_random_values(network: Network, seed: int = 3) -> None:
    """Values for all variables but `lod`: those that start at zero would hide mistakes."""
    random = np.random.default_rng(seed)
    variables = [v for name, v in network.vars.items() if name.split("/")[-1] != "lod"]
    tflib.set_vars({v: random.normal(size=v.shape.as_list()) for v in variables})


def set_lod(network: Network, lod: float) -> None:
    """The level of detail of a network and its components."""
    for name, variable in network.vars.items():
        if name.split("/")[-1] == "lod":
            tflib.set_vars({variable: lod})


def outputs_and_gradients(network: Network, *inputs, **options) -> list[tf.Tensor]:
    """Output, its slope for the first input, and the gradients of the squared slope.

    Variables that the output does not depend on have gradients of zero.
    """
    tensors = [tf.constant(x, tf.float32) for x in inputs]
    output = network.get_output_for(*tensors, **options)
    slope = tf.gradients(tf.reduce_sum(tf.square(output)), tensors[:1])[0]
    variables = list(network.trainables.values())
    gradients = tf.gradients(tf.reduce_sum(tf.square(slope)), variables)
    pairs = zip(gradients, variables, strict=True)
    gradients = [tf.zeros(v.shape) if g is None else g for g, v in pairs]
    return [output, slope, *gradients]


def check_structures_agree(
    synthesis: Network,
    D: Network,
    inputs: tuple[np.ndarray, np.ndarray, np.ndarray],
    lods: Sequence[float],
    tolerance: float,
) -> None:
    """Linear, recursive and fixed structures compute the same, to the second derivative.

    Args:
        synthesis, D: Networks that grow.
        inputs: w, images and labels.
        lods: Levels of detail; the fixed structure has 0 only.
        tolerance: Largest difference, as a fraction of the largest value; a hundredth of it is
            allowed where all is zero.
    """
    w, images, labels = inputs
    tensors = {}
    for structure in ("linear", "recursive", "fixed"):
        options = {"randomize_noise": False, "structure": structure}
        tensors[structure] = outputs_and_gradients(synthesis, w, **options)
        tensors[structure] += outputs_and_gradients(D, images, labels, structure=structure)
    for lod in lods:
        set_lod(synthesis, lod)
        set_lod(D, lod)
        values = {name: tflib.run(t) for name, t in tensors.items() if lod == 0 or name != "fixed"}
        references = values.pop("linear")
        for others in values.values():
            for value, reference in zip(others, references, strict=True):
                scale = np.abs(reference).max()
                assert np.abs(value - reference).max() <= tolerance * (scale + 0.01)


def check_op_cases(file: SimpleNamespace, call: Callable[..., tf.Tensor | None]) -> int:
    """Values and gradients of `tf_ops.npz`.

    Args:
        file: The golden file.
        call: call(name of the op, arguments, keyword arguments, arrays of the case) -> output, or
            None for ops that are not meant.

    Returns:
        How many cases were compared.
    """
    compared = 0
    for i, case in enumerate(file.meta):
        a = {k[3:]: v for k, v in file.arrays.items() if k.startswith(f"{i:02d}/")}
        args = [tf.constant(a[f"arg{j}"]) for j in range(case["num_args"])]
        y = call(case["op"], args, case["kwargs"], a)
        if y is None:
            continue
        gradients = tf.gradients(y, [args[j] for j in case["wrt"]], grad_ys=tf.constant(a["dy"]))
        got_y, got_gradients = tflib.run([y, gradients])
        assert_close(got_y, a["y"])
        for j, gradient in zip(case["wrt"], got_gradients, strict=True):
            assert_close(gradient, a[f"grad_arg{j}"])
        compared += 1
    return compared
