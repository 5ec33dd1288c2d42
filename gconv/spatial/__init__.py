"""Graph convolutions defined by neighbours, one a file."""

from gconv.spatial.directional import DirectionalConv
from gconv.spatial.monet import GMMConv

__all__ = ["DirectionalConv", "GMMConv"]
