"""Coarser domains, and readouts."""

from gconv.pooling.grid import GridPool
from gconv.pooling.readout import Flatten, GlobalAvgPool, GlobalMaxPool

__all__ = ["Flatten", "GlobalAvgPool", "GlobalMaxPool", "GridPool"]
