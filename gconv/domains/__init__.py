"""Where signals live: graphs, their plans, operators and spectra."""

from gconv.domains.batch import batch_graphs, unbatch
from gconv.domains.build import grid_graph
from gconv.domains.graph import Graph
from gconv.domains.operators import Operator
from gconv.domains.spectrum import FourierBasis

__all__ = ["FourierBasis", "Graph", "Operator", "batch_graphs", "grid_graph", "unbatch"]
