"""What every part of the project uses and that knows nothing of GANs."""

from dnnlib.util import EasyDict, UserError

__all__ = ["EasyDict", "UserError"]
