"""Bias and activation by their official name, over `tf_ops.fused_bias_act`."""

from dnnlib.tflib.ops.face import official_face as _official_face
from tf_ops import fused_bias_act as _ops

fused_bias_act = _official_face(_ops.fused_bias_act)
