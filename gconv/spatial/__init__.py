"""Graph convolutions defined by neighbours, one a file."""

from gconv.spatial.anisotropic import AnisotropicConv
from gconv.spatial.diffusion import DiffusionConv
from gconv.spatial.directional import DirectionalConv
from gconv.spatial.dynamic_edge import DynamicEdgeConv
from gconv.spatial.edge import EdgeConv
from gconv.spatial.feast import FeaStConv
from gconv.spatial.gat import GATConv
from gconv.spatial.gated_graph import GatedGraphConv
from gconv.spatial.gatv2 import GATv2Conv
from gconv.spatial.geodesic import GeodesicConv
from gconv.spatial.gin import GINConv
from gconv.spatial.gine import GINEConv
from gconv.spatial.graph import GraphConv
from gconv.spatial.message_passing import MessagePassing
from gconv.spatial.monet import GMMConv
from gconv.spatial.nnconv import NNConv
from gconv.spatial.patchy_san import PatchySanConv
from gconv.spatial.res_gated_graph import ResGatedGraphConv
from gconv.spatial.rgcn import RGCNConv
from gconv.spatial.sage import SAGEConv
from gconv.spatial.spline import SplineConv
from gconv.spatial.transformer import TransformerConv

__all__ = [
    "AnisotropicConv",
    "DiffusionConv",
    "DirectionalConv",
    "DynamicEdgeConv",
    "EdgeConv",
    "FeaStConv",
    "GATConv",
    "GATv2Conv",
    "GINConv",
    "GINEConv",
    "GMMConv",
    "GatedGraphConv",
    "GeodesicConv",
    "GraphConv",
    "MessagePassing",
    "NNConv",
    "PatchySanConv",
    "RGCNConv",
    "ResGatedGraphConv",
    "SAGEConv",
    "SplineConv",
    "TransformerConv",
]
