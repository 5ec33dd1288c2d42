"""Data sets. Of images with one shape of answer: plain tensors in [0, 1], a training part and a held-out part.

`load(name)` gives an `ImageData`; `names()` lists what there is; a folder of pictures is loaded by its path, or left on
the disk by `load_lazily`.  Whatever a data set needs beyond torch and numpy (scikit-learn for `digits`, Pillow for
pictures) is imported when that data set is loaded, not here.

Of graphs: `load_planetoid` reads Cora, CiteSeer and PubMed; `Collate` makes batches of signals on graphs that all
differ, for a `DataLoader`, and `OnSignals` lets `gconv.training.fit` train on them.

>>> from gconv import data
>>> data.names()
('digits', 'mnist', 'fashion-mnist', 'cifar10', 'cifar100')
>>> data.load("digits", size=(8, 8))
ImageData('digits': 1,347 train + 450 test images, 1x8x8, 10 classes)
"""

from gconv.data.errors import DataError, MissingDataError
from gconv.data.folder import FolderData, load_folder
from gconv.data.graphs import Collate, OnSignals, Signals
from gconv.data.idx import read_idx
from gconv.data.images import ImageData, Part
from gconv.data.picture_files import PictureFiles
from gconv.data.pictures import read_picture
from gconv.data.planetoid import CitationGraph, load_planetoid
from gconv.data.registry import is_folder, load, load_lazily, names
from gconv.data.skipped import Skipped

__all__ = [
    "CitationGraph",
    "Collate",
    "DataError",
    "FolderData",
    "ImageData",
    "MissingDataError",
    "OnSignals",
    "Part",
    "PictureFiles",
    "Signals",
    "Skipped",
    "is_folder",
    "load",
    "load_folder",
    "load_lazily",
    "load_planetoid",
    "names",
    "read_idx",
    "read_picture",
]
