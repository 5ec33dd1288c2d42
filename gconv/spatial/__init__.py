"""Graph convolutions defined by neighbours, one a file."""

from gconv.spatial.directional import DirectionalConv
from gconv.spatial.edge import EdgeConv
from gconv.spatial.feast import FeaStConv
from gconv.spatial.gat import GATConv
from gconv.spatial.gatv2 import GATv2Conv
from gconv.spatial.gin import GINConv
from gconv.spatial.monet import GMMConv
from gconv.spatial.nnconv import NNConv
from gconv.spatial.sage import SAGEConv

__all__ = [
    "DirectionalConv",
    "EdgeConv",
    "FeaStConv",
    "GATConv",
    "GATv2Conv",
    "GINConv",
    "GMMConv",
    "NNConv",
    "SAGEConv",
]
