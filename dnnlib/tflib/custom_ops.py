"""What the official code compiles its operations with, and this project does without."""

from dnnlib.left_out import left_out

__getattr__ = left_out(
    __name__,
    {
        "get_plugin": "operations are built at first use and loaded without it; call those of "
        "dnnlib.tflib.ops.upfirdn_2d and dnnlib.tflib.ops.fused_bias_act, or load a library of "
        "your own by tf.load_op_library",
    },
)
