"""Where TensorFlow would compute a training step on a GPU: read from the graph, without one.

TensorFlow's wheels for Linux know their kernels for GPUs also where there is none, as does the
library of native operations. On a GPU the graph is placed as it says: an operation without a kernel
there is an error at the first step.
"""

from __future__ import annotations

import functools
from collections import Counter

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import kernels

from dnnlib import UserError, tflib
from dnnlib.tflib import Network
from tf_ops import layout, native
from training.architecture.precision import computed_in
from training.config.options import set_network_size
from training.config.presets import preset
from training.dataset import TFRecordDataset
from training.datasets.format.level_files import RecordWriter
from training.run.data import complete_options
from training.run.train_graph import TrainGraph

# What is read on the host and made on the GPU, so that a step waits for it: source and reader of
# tensors in a step of ADA in mixed precision, see docs/gpu.md.
WAITS = {
    ("All", "Switch"),  # Whether a gradient is finite: decides if the optimizer moves.
    ("Cast", "Sub"),  # How far images are moved by whole pixels.
    ("Const", "AssignVariableOp"),  # Statistics, which are kept on the host.
    ("DynamicStitch", "Reshape"),  # Shapes, in gradients of sums.
    ("Identity", "Switch"),
    ("Pack", "AssignAddVariableOp"),
    ("Prod", "Pack"),
    ("Select", "Less"),  # Where styles are mixed.
    ("Select", "Shape"),
    ("StatelessRandomUniformIntV2", "AddV2"),
    ("Transpose", "Reshape"),
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A step of ADA in mixed precision as it is built for a GPU."""
    if not tf.test.is_built_with_cuda():
        pytest.skip("needs a TensorFlow that is built for GPUs")
    try:
        native.find("upfirdn_2d", "native", tf.float32)
    except UserError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("data") / "noise"
    folder.mkdir()
    with RecordWriter(str(folder), "noise", [4, 3, 2]) as writer:
        for image in np.random.default_rng(0).integers(0, 256, [8, 3, 16, 16], dtype=np.uint8):
            writer.add(image)
    dataset = TFRecordDataset(str(folder))
    options = preset("auto", 16, 1, 8)
    options.sched_args.minibatch_size_base = 8
    options.augment_args.mode = "ada"
    set_network_size(options, 512, 32, 32)
    options = complete_options(options, dataset)
    with pytest.MonkeyPatch.context() as patch, tflib.graph_session(seed=0) as session:
        patch.setattr(layout, "_has_gpu", lambda: True)
        with computed_in("mixed"):
            G, D = Network("G", **options.G_args), Network("D", **options.D_args)
            TrainGraph(G, D, G.clone("Gs"), dataset, options, ["/gpu:0"])
        return session.graph


@functools.cache
def known_kernels(op_type: str) -> tuple[list, set[str]]:
    """Those for GPUs, and the attributes that they depend on."""
    known = kernels.get_registered_kernels_for_op(op_type).kernel
    found = [k for k in known if k.device_type in ("GPU", "DEFAULT") and not k.label]
    return found, {constraint.name for k in found for constraint in k.constraint}


def kernel_for_gpus(op: tf.Operation):
    """The kernel that TensorFlow takes on a GPU, or None."""
    known, names = known_kernels(op.type)
    values = {name: op.get_attr(name) for name in names}
    types = {n: {t.as_datatype_enum for t in np.atleast_1d(v)} for n, v in values.items()}
    fitting = [
        k
        for k in known
        if all(types[c.name] <= set(c.allowed_values.list.type) for c in k.constraint)
    ]
    return max(fitting, key=lambda k: k.priority, default=None)


def on_host(op: tf.Operation, names, arguments, count: int) -> list[bool]:
    """For every input or output, whether it is in the memory of the host."""
    if "CPU" in op.device.upper() or op.type == "Placeholder":
        return [True] * count
    result = []
    for argument in arguments:
        length = 1
        if argument.number_attr:
            length = op.get_attr(argument.number_attr)
        elif argument.type_list_attr:
            length = len(op.get_attr(argument.type_list_attr))
        result += [argument.name in names] * length
    return result


def test_every_operation_has_a_kernel_for_gpus(graph):
    on_gpu = [op for op in graph.get_operations() if "GPU" in op.device.upper()]
    types = Counter(op.type for op in on_gpu)
    assert types["TfOpsUpfirdn2D"] and types["TfOpsFusedBiasAct"] and types["TfOpsResample2D"]
    assert [op.name for op in on_gpu if kernel_for_gpus(op) is None] == []
    with tf.Graph().as_default():  # The test can fail.
        assert kernel_for_gpus(tf.strings.length("x").op) is None


def test_what_a_step_waits_for(graph):
    """Tensors that go from the GPU to the host; random seeds are made where they are read."""
    memory = {}
    for op in graph.get_operations():
        names = set(getattr(kernel_for_gpus(op), "host_memory_arg", ()))
        memory[op] = [
            on_host(op, names, arguments, len(tensors))
            for arguments, tensors in (
                (op.op_def.input_arg, op.inputs),
                (op.op_def.output_arg, op.outputs),
            )
        ]
    waits = {}
    for op in graph.get_operations():
        for tensor, is_read_on_host in zip(op.inputs, memory[op][0], strict=True):
            made_on_host = memory[tensor.op][1][tensor.value_index]
            if is_read_on_host and not made_on_host and tensor.dtype != tf.resource:
                waits.setdefault(tensor.name, (tensor.op.type, op.type))
    counts = Counter(waits.values())
    print(counts)
    assert set(counts) == WAITS


def test_no_transposes_of_activations(graph):
    """But of images around resampling by augmentation, which works on pixels."""
    shapes = [
        op.outputs[0].shape.as_list()
        for op in graph.get_operations()
        if op.type == "Transpose" and op.outputs[0].shape.ndims == 4 and "GPU" in op.device
    ]
    assert all(3 in shape for shape in shapes), shapes
