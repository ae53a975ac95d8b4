"""What runs in a process that has nothing of this project: exported models, as users load them.

    python -I bare.py write-keras SAVED_MODEL FOLDER …       models that Keras and Python can call
    python -I bare.py write-tflite SAVED_MODEL FILE …        files for TF Lite
    python -I bare.py run-FORMAT FOLDER IN.npz OUT.npz …

The last asks models of each of their signatures: IN.npz has `z`, `psi` and `labels` if there are
any; OUT.npz gets `images`, `w`, `w_images`, `values` of these w, `first` (the first image alone),
`png0`, `png1`, … where there are any, and `programs`, by which the model was run.

This script imports the standard library, NumPy and what loads the format, and no more.
"""

from __future__ import annotations

import os
import sys

import numpy as np


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    command, *paths = sys.argv[1:]
    step = 2 if command in _WRITERS else 3
    for i in range(0, len(paths), step):
        if command in _WRITERS:
            _WRITERS[command](*paths[i : i + step])
            continue
        folder, source, target = paths[i : i + step]
        with np.load(source, allow_pickle=False) as file:
            given = dict(file)
        np.savez(target, **_RUNNERS[command](folder, given))


def _run_saved_model(folder: str, given: dict) -> dict:
    import tensorflow.compat.v1 as tf

    model = tf.saved_model.load_v2(folder)

    def ask(name, **inputs):
        outputs = model.signatures[name](**{k: tf.constant(v) for k, v in inputs.items()})
        return {key: value.numpy() for key, value in outputs.items()}

    result = _results(ask, given)
    if "png" in model.signatures:
        files = ask("png", **given)["png_bytes"]
        result |= {f"png{i}": np.frombuffer(f, np.uint8) for i, f in enumerate(files)}
    return result | {"programs": f"TensorFlow {tf.__version__}"}


def _run_keras(folder: str, given: dict) -> dict:
    import tensorflow.compat.v1 as tf

    keras, layers = tf.compat.v2.keras, {}

    def ask(name, **inputs):
        endpoint = {"serving_default": "serve"}.get(name, name)
        if name not in layers:
            layers[name] = keras.layers.TFSMLayer(folder, call_endpoint=endpoint)
        tensors = {k: keras.ops.convert_to_tensor(v) for k, v in inputs.items()}
        return {key: np.asarray(value) for key, value in layers[name](tensors).items()}

    return _results(ask, given) | {"programs": f"Keras {keras.__version__}"}


def _run_onnx(folder: str, given: dict) -> dict:
    import onnxruntime

    sessions = {
        name: onnxruntime.InferenceSession(
            os.path.join(folder, f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
        for name in ("generator", "synthesis")
    }

    def ask(name, **inputs):
        session = sessions["synthesis" if "w" in inputs else "generator"]
        output = {"mapping": "w", "values": "values"}.get(name, "images")
        return {output: session.run([output], inputs)[0]}

    return _results(ask, given) | {"programs": f"onnxruntime {onnxruntime.__version__}"}


def _run_tflite(folder: str, given: dict) -> dict:
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(os.path.join(folder, "model.tflite"))

    def ask(name, **inputs):
        return interpreter.get_signature_runner(name)(**inputs)

    return _results(ask, given) | {"programs": f"LiteRT {version('ai-edge-litert')}"}


def _results(ask, given: dict) -> dict:
    """What every format has; `ask` gives the outputs of a signature by name."""
    w = ask("mapping", **given)["w"]
    first = {key: value[:1] for key, value in given.items()}
    return {
        "images": ask("serving_default", **given)["images"],
        "first": ask("serving_default", **first)["images"],
        "w": w,
        "w_images": ask("synthesis", w=w)["images"],
        "values": ask("values", w=w)["values"],
    }


def _write_keras(source: str, folder: str) -> None:
    """A SavedModel with functions of one argument, {name: tensor}, which `TFSMLayer` calls."""
    import tensorflow.compat.v1 as tf

    with tf.Session(graph=tf.Graph()) as session:
        meta = tf.saved_model.load(session, ["serve"], source)
    tf = tf.compat.v2
    module, shared = tf.Module(), {}
    for node in meta.graph_def.node:  # Large constants, once for all functions.
        value = tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None
        if value is not None and value.size > 256 and value.dtype == np.float32:
            shared[f"{node.name}:0"] = tf.Variable(value, trainable=False, name=node.name)
    module.weights = list(shared.values())
    for name, signature in meta.signature_def.items():
        function = _keras_function(meta.graph_def, signature, shared)
        setattr(module, "serve" if name == "serving_default" else name, function)
    tf.saved_model.save(module, folder)


def _keras_function(graph, signature, shared: dict):
    """The function of a signature; what it computes stands among other nodes of a graph."""
    import tensorflow.compat.v1 as tf

    given = {key: info.name for key, info in signature.inputs.items()}
    wanted = {key: info.name for key, info in signature.outputs.items()}
    outputs = [name.partition(":")[0] for name in wanted.values()]
    graph = tf.graph_util.extract_sub_graph(graph, outputs)
    nodes = {f"{node.name}:0": node for node in graph.node}
    used = {name: variable for name, variable in shared.items() if name in nodes}
    shapes = {key: nodes[name].attr["shape"].shape for key, name in given.items()}
    for name in used:  # Else it would be in the file twice.
        graph.node.remove(nodes[name])
    specs = {k: tf.TensorSpec(tf.TensorShape(s), tf.float32, k) for k, s in shapes.items()}

    def function(inputs):
        replaced = {name: inputs[key] for key, name in given.items()}
        replaced |= {name: variable.read_value() for name, variable in used.items()}
        made = tf.import_graph_def(
            graph, input_map=replaced, return_elements=list(wanted.values()), name=""
        )
        return dict(zip(wanted, made, strict=True))

    return tf.compat.v2.function(function, input_signature=[specs])


def _write_tflite(source: str, path: str) -> None:
    import tensorflow.compat.v1 as tf

    names = ["serving_default", "mapping", "synthesis", "values"]
    converter = tf.compat.v2.lite.TFLiteConverter.from_saved_model(source, signature_keys=names)
    with open(path, "wb") as file:
        file.write(converter.convert())


_WRITERS = {"write-keras": _write_keras, "write-tflite": _write_tflite}
_RUNNERS = {
    "run-savedmodel": _run_saved_model,
    "run-keras": _run_keras,
    "run-onnx": _run_onnx,
    "run-tflite": _run_tflite,
}

if __name__ == "__main__":
    main()
