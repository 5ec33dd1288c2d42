"""Convolutional networks on grids, as layers over a domain. Needs torch only."""

from grid_cnn import image_kernels, models
from grid_cnn.adaptive import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    SpatialPyramidPool,
)
from grid_cnn.arithmetic import output_size
from grid_cnn.binding import Bound, bind
from grid_cnn.conv import Conv1d, Conv2d, Conv3d
from grid_cnn.domain import Domain, Grid
from grid_cnn.fft import FFTConv1d, FFTConv2d, FFTConv3d
from grid_cnn.join import Add, Concat
from grid_cnn.layer import Layer, Sequential
from grid_cnn.lecun import RBF, Subsampling2d, digit_codes
from grid_cnn.local import LocallyConnected1d, LocallyConnected2d, PositionBias
from grid_cnn.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, LocalResponseNorm
from grid_cnn.ops import GridOps, Ops
from grid_cnn.pool import (
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MinPool1d,
    MinPool2d,
    MinPool3d,
)
from grid_cnn.readout import Flatten, GlobalAvgPool, GlobalMaxPool
from grid_cnn.separable import LENET_C3, DepthwiseConv2d, PartialConv2d, SeparableConv2d
from grid_cnn.squash import ScaledTanh
from grid_cnn.transposed import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from grid_cnn.unpool import LpPool1d, LpPool2d, LpPool3d, MaxUnpool1d, MaxUnpool2d, MaxUnpool3d

__all__ = [
    "LENET_C3",
    "RBF",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "Add",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bound",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "DepthwiseConv2d",
    "Domain",
    "FFTConv1d",
    "FFTConv2d",
    "FFTConv3d",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Grid",
    "GridOps",
    "Layer",
    "LocalResponseNorm",
    "LocallyConnected1d",
    "LocallyConnected2d",
    "LpPool1d",
    "LpPool2d",
    "LpPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "MinPool1d",
    "MinPool2d",
    "MinPool3d",
    "Ops",
    "PartialConv2d",
    "PositionBias",
    "ScaledTanh",
    "SeparableConv2d",
    "Sequential",
    "SpatialPyramidPool",
    "Subsampling2d",
    "bind",
    "digit_codes",
    "image_kernels",
    "models",
    "output_size",
]
