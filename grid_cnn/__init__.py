"""Convolutional networks on grids, as layers over a domain. Needs torch only."""

from grid_cnn import models
from grid_cnn.arithmetic import output_size
from grid_cnn.binding import Bound, bind
from grid_cnn.conv import Conv1d, Conv2d, Conv3d
from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import Layer, Sequential
from grid_cnn.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from grid_cnn.ops import GridOps, Ops
from grid_cnn.pool import (
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MinPool1d,
    MinPool2d,
    MinPool3d,
)

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bound",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "Domain",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Grid",
    "GridOps",
    "Layer",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MinPool1d",
    "MinPool2d",
    "MinPool3d",
    "Ops",
    "Sequential",
    "bind",
    "models",
    "output_size",
]
