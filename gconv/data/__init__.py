"""Image data sets with one shape of answer: plain tensors in [0, 1], a training part and a held-out part.

`load(name)` gives an `ImageData`; `names()` lists what there is.  Whatever a data set needs beyond torch and numpy
(scikit-learn for `digits`, pooch for a download) is imported when that data set is loaded, not here.

>>> from gconv import data
>>> data.names()
('digits', 'mnist', 'cifar10', 'cifar100')
>>> data.load("digits", size=(8, 8))
ImageData('digits': 1,347 train + 450 test images, 1x8x8, 10 classes)
"""

from gconv.data.errors import DataError, MissingDataError
from gconv.data.idx import read_idx
from gconv.data.images import ImageData
from gconv.data.registry import load, names

__all__ = ["DataError", "ImageData", "MissingDataError", "load", "names", "read_idx"]
