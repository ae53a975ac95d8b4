"""Small stand-ins for the files that metrics read: feature networks, datasets, snapshots."""

from __future__ import annotations

import copyreg
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib.tflib import Network
from training.datasets.format.label_file import write_labels
from training.datasets.format.level_files import RecordWriter
from training.datasets.format.levels import finest_log2

CHANNELS = 8  # Of the convolution of the stand-in for Inception.


def inception_graph(seed: int = 0) -> tf.GraphDef:
    """A graph with the names, shapes and quirks of Inception of 2015-12-05, random weights.

    One convolution with the batch normalization of old, pooling, and fully connected layers to 2048
    and 1008, for one JPEG file: every shape is fixed to one image.
    """
    rng = np.random.default_rng(seed)
    graph = tf.GraphDef()

    def node(name, op, *inputs, **attrs):
        new = graph.node.add(name=name, op=op, input=list(inputs))
        for key, value in attrs.items():
            _set(new.attr[key], value)
        return name

    def const(name, value):
        array = np.asarray(value)
        dtype = tf.as_dtype(array.dtype).as_datatype_enum
        new = graph.node.add(name=name, op="Const")
        new.attr["dtype"].type = dtype
        new.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
        return name

    f32 = {"T": tf.float32}
    normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    const("DecodeJpeg/contents", np.array(b"no picture", object))
    node("DecodeJpeg", "DecodeJpeg", "DecodeJpeg/contents", channels=3)
    node("Cast", "Cast", "DecodeJpeg", SrcT=tf.uint8, DstT=tf.float32)
    const("ExpandDims/dim", np.int32(0))
    node("ExpandDims", "ExpandDims", "Cast", "ExpandDims/dim", **f32)
    const("ResizeBilinear/size", np.int32([299, 299]))
    node("ResizeBilinear", "ResizeBilinear", "ExpandDims", "ResizeBilinear/size", **f32)
    const("Sub/y", np.float32(128))
    node("Sub", "Sub", "ResizeBilinear", "Sub/y", **f32)
    const("Mul/y", np.float32(1 / 128))
    node("Mul", "Mul", "Sub", "Mul/y", **f32)
    const("conv/conv2d_params", normal(3, 3, 3, CHANNELS) / 5)
    conv = {**f32, "strides": [1, 8, 8, 1], "padding": b"VALID"}
    node("conv/Conv2D", "Conv2D", "Mul", "conv/conv2d_params", **conv)
    for name, value in (
        ("mean", normal(CHANNELS) / 4),
        ("variance", rng.uniform(0.5, 1.5, CHANNELS).astype(np.float32)),
        ("beta", normal(CHANNELS) / 4),
        ("gamma", rng.uniform(0.5, 1.5, CHANNELS).astype(np.float32)),
    ):
        const(f"conv/batchnorm/{name}", value)
    parts = [f"conv/batchnorm/{n}" for n in ("mean", "variance", "beta", "gamma")]
    norm = {**f32, "variance_epsilon": 0.001, "scale_after_normalization": False}
    node("conv/batchnorm", "BatchNormWithGlobalNormalization", "conv/Conv2D", *parts, **norm)
    node("conv/CheckNumerics", "CheckNumerics", "conv/batchnorm", message=b"", **f32)
    node("conv/control_dependency", "Identity", "conv/batchnorm", "^conv/CheckNumerics", **f32)
    node("conv", "Relu", "conv/control_dependency", **f32)
    pool = {"ksize": [1, 4, 4, 1], "strides": [1, 4, 4, 1], "padding": b"VALID"}
    node("pool", "MaxPool", "conv", **f32, **pool)
    node("pool_1", "AvgPool", "conv", **f32, **pool)
    const("join/concat_dim", np.int32(3))
    node("join", "Concat", "join/concat_dim", "pool", "pool_1", N=2, **f32)
    const("mixed/params", normal(1, 1, 2 * CHANNELS, 2048) / 4)
    one = {"strides": [1, 1, 1, 1], "padding": b"SAME"}
    node("mixed/Conv2D", "Conv2D", "join", "mixed/params", **f32, **one)
    node("mixed", "Relu", "mixed/Conv2D", **f32)
    last = {"ksize": [1, 9, 9, 1], "strides": [1, 1, 1, 1], "padding": b"VALID"}
    node("pool_3", "AvgPool", "mixed", **f32, **last)
    const("pool_3/_reshape/shape", np.int32([1, 2048]))
    node("pool_3/_reshape", "Reshape", "pool_3", "pool_3/_reshape/shape", **f32)
    const("softmax/weights", normal(2048, 1008) / 20)
    const("softmax/biases", normal(1008) / 4)
    node("softmax/logits/MatMul", "MatMul", "pool_3/_reshape", "softmax/weights", **f32)
    node("softmax/logits", "BiasAdd", "softmax/logits/MatMul", "softmax/biases", **f32)
    node("softmax", "Softmax", "softmax/logits", **f32)
    graph.versions.producer = 8  # Of an age when the old batch normalization was current.
    return graph


def _set(attr, value) -> None:
    if isinstance(value, tf.DType):
        attr.type = value.as_datatype_enum
    elif isinstance(value, bool):
        attr.b = value
    elif isinstance(value, float):
        attr.f = value
    elif isinstance(value, int):
        attr.i = value
    elif isinstance(value, bytes):
        attr.s = value
    else:
        attr.list.i.extend(value)


def constants(graph: tf.GraphDef) -> dict[str, np.ndarray]:
    """{name: value} of a graph's constants."""
    return {n.name: tf.make_ndarray(n.attr["value"].tensor) for n in graph.node if n.op == "Const"}


def save_inception(path: Path, graph: tf.GraphDef | None = None) -> Path:
    """Writes the archive that TensorFlow publishes, with other files beside the graph."""
    content = (graph or inception_graph()).SerializeToString()
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (("LICENSE", b"text"), ("classify_image_graph_def.pb", content)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def inception_by_hand(graph: tf.GraphDef, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(pool features [N, 2048], probabilities [N, 1008]) in NumPy, of uint8 [N, 3, H, W]."""
    c = {k: v.astype(np.float64) for k, v in constants(graph).items() if v.dtype != object}
    x = resize_bilinear(images.transpose(0, 2, 3, 1).astype(np.float64), 299)
    x = (x - 128) / 128
    x = conv2d(x, c["conv/conv2d_params"], stride=8)
    mean, variance, beta = (c[f"conv/batchnorm/{n}"] for n in ("mean", "variance", "beta"))
    x = np.maximum((x - mean) / np.sqrt(variance + 0.001) + beta, 0)
    x = np.concatenate([pool(x, 4, np.max), pool(x, 4, np.mean)], axis=3)
    x = np.maximum(x @ c["mixed/params"][0, 0], 0)
    features = x.mean(axis=(1, 2))
    logits = features @ c["softmax/weights"] + c["softmax/biases"]
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return features, e / e.sum(axis=1, keepdims=True)


def resize_bilinear(x: np.ndarray, side: int) -> np.ndarray:
    """TensorFlow's first ResizeBilinear of [N, H, W, C]: pixel i comes from i · H / side."""
    for axis in (1, 2):
        size = x.shape[axis]
        place = np.arange(side) * np.float32(size / side).astype(np.float64)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, size - 1)
        shape = [1, 1, 1, 1]
        shape[axis] = side
        t = (place - low).reshape(shape)
        x = np.take(x, low, axis) * (1 - t) + np.take(x, high, axis) * t
    return x


def conv2d(x: np.ndarray, kernel: np.ndarray, stride: int = 1) -> np.ndarray:
    """Convolution without padding of [N, H, W, C]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    windows = windows[:, ::stride, ::stride]  # [N, h, w, C, kh, kw]
    return np.einsum("nhwcij,ijcd->nhwd", windows, kernel, optimize=True)


def pool(x: np.ndarray, size: int, reduce) -> np.ndarray:
    """Pooling of size×size boxes of [N, H, W, C]; what is left over at the edges is left out."""
    n, h, w, c = x.shape
    x = x[:, : h // size * size, : w // size * size]
    return reduce(x.reshape(n, h // size, size, w // size, size, c), axis=(2, 4))


def make_dataset(folder: Path, images: np.ndarray, labels: np.ndarray | None = None) -> str:
    """A dataset of uint8 [N, C, H, W]; returns its folder."""
    folder.mkdir()
    levels = list(range(finest_log2(*images.shape[2:]), 1, -1))
    with RecordWriter(str(folder), folder.name, levels) as writer:
        for image in images:
            writer.add(image)
    if labels is not None:
        path = str(folder / f"{folder.name}-rxx.labels")
        write_labels(path, iter([labels]), *labels.shape)
    return str(folder)


def vgg16_weights(
    rng: np.random.Generator, scale: int, dense: bool = True
) -> dict[str, np.ndarray]:
    """Random weights of a VGG16 whose layers have `scale` times fewer channels, as `.npz` keys.

    Without `dense`, the fully connected layers are left out.
    """
    widths = [64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    blocks = [1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5]
    result, inputs, seen = {}, 3, {}
    for block, width in zip(blocks, widths, strict=True):
        seen[block] = seen.get(block, 0) + 1
        name, width = f"block{block}_conv{seen[block]}", width // scale
        kernel = rng.standard_normal([3, 3, inputs, width]) * np.sqrt(2 / (9 * inputs))
        result[f"{name}/kernel"] = kernel.astype(np.float32)
        result[f"{name}/bias"] = rng.standard_normal(width).astype(np.float32) / 10
        inputs = width
    inputs *= 49
    for name in ("fc1", "fc2") if dense else ():
        kernel = rng.standard_normal([inputs, 4096 // scale]) * np.sqrt(2 / inputs)
        result[f"{name}/kernel"] = kernel.astype(np.float32)
        result[f"{name}/bias"] = rng.standard_normal(4096 // scale).astype(np.float32) / 10
        inputs = 4096 // scale
    return result


class _Stub:
    """Pickles as a `Network` with any state."""

    __class__ = Network  # Which is what the pickler asks for.

    def __init__(self, state):
        self.state = state

    def __reduce_ex__(self, protocol):
        return copyreg.__newobj__, (Network,), self.state


def save_pickled_network(path: Path, source: str, function: str) -> str:
    """Writes a network that brings its code, as NVIDIA's feature networks do."""
    state = {"version": 5, "name": function, "static_kwargs": {}, "components": {}}
    state.update(build_module_src=source, build_func_name=function, variables=[])
    path.write_bytes(pickle.dumps(_Stub(state)))
    return str(path)
