"""Normalisation of signals on graphs, one kind a file. None reads a neighbour."""

from gconv.norm.batch import BatchNorm
from gconv.norm.graph import GraphNorm
from gconv.norm.instance import InstanceNorm
from gconv.norm.layer import LayerNorm
from gconv.norm.response import LocalResponseNorm

__all__ = ["BatchNorm", "GraphNorm", "InstanceNorm", "LayerNorm", "LocalResponseNorm"]
