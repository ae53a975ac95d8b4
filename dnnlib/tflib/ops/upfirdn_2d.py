"""Resampling by its official names, over `tf_ops.upfirdn_2d`."""

from dnnlib.tflib.ops.face import official_face as _official_face
from tf_ops import upfirdn_2d as _ops

upfirdn_2d = _official_face(_ops.upfirdn_2d)
filter_2d = _official_face(_ops.filter_2d)
upsample_2d = _official_face(_ops.upsample_2d)
downsample_2d = _official_face(_ops.downsample_2d)
upsample_conv_2d = _official_face(_ops.upsample_conv_2d)
conv_downsample_2d = _official_face(_ops.conv_downsample_2d)
