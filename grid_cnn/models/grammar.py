"""Networks written in the grammar of the lectures: `[(CONV-RELU)*2-POOL?]*3-(FC-RELU)*1,SOFTMAX`.

    chain = item { ('-' | ',') item }        item = (name | '(' chain ')' | '[' chain ']') [ '*' number ] [ '?' ]

Round and square brackets mean the same; `*n` repeats; `?` marks what may be left out (`optional=False` does so). Names,
in any case: CONV, POOL, AVGPOOL, RELU, TANH, NORM (or BN), LRN, DROPOUT, GAP (global average), FC, SOFTMAX. CONV and
the pools take a kernel size and a stride, as in `CONV5`, `CONV7/2`, `POOL3/2`. SOFTMAX is the classifier: a dense layer
to the classes, whose softmax is in the loss (`softmax=True` appends it). Shapes: `(B, C, H, W)` to `(B, num_classes)`.
Reference: Karpathy, CS231n, Convolutional networks, layer patterns (2015).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from grid_cnn.checks import probability, whole
from grid_cnn.domain import Domain
from grid_cnn.layer import Layer, Sequential
from grid_cnn.models.fit import features_size
from grid_cnn.models.network import Network, borders, setting
from grid_cnn.ops import Ops

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z]+)(?P<kernel>\d+)?(?:/(?P<stride>\d+))?|(?P<mark>[-,()\[\]?*])|(?P<number>\d+))"
)
_MOST = 1000
_CLOSING = {"(": ")", "[": "]"}
# What has channels or units of its own, what works on the domain, and what has a kernel.
_WEIGHTS, _ON_DOMAIN, _WINDOWS = ("CONV", "FC"), ("CONV", "POOL", "AVGPOOL", "GAP", "LRN"), ("CONV", "POOL", "AVGPOOL")
_OTHER_NAMES = {"BN": "NORM", "BATCHNORM": "NORM", "MAXPOOL": "POOL", "DENSE": "FC", "DROP": "DROPOUT"}


@dataclass(frozen=True)
class Word:
    """One layer of the text: its name, kernel and stride (0: not given), where it stands, and in which repetition.

    Two words share a stage if they stand in the same repetition of the same outermost item.
    """

    name: str
    kernel: int
    stride: int
    at: int
    stage: tuple[int, int] = (0, 0)


class GrammarError(ValueError):
    """A text that the grammar does not know; the message marks the position."""

    def __init__(self, text: str, at: int, what: str) -> None:
        self.text, self.at = text, at
        super().__init__(f"{what}, at position {at + 1}:\n    {text}\n    {' ' * at}^")


def parse(text: str, optional: bool = True) -> list[Word]:
    """The layers that a text stands for, repetitions written out.

    Args:
        text: in the grammar of the module. optional: whether what is marked `?` is kept.

    Raises:
        GrammarError: for a malformed text, with the position marked.

    >>> [word.name for word in parse("[(CONV-RELU)*2-POOL?]*2-FC,SOFTMAX", optional=False)]
    ['CONV', 'RELU', 'CONV', 'RELU', 'CONV', 'RELU', 'CONV', 'RELU', 'FC', 'SOFTMAX']
    """
    return _Parser(text, optional).parse()


class _Parser:
    """A parser by recursive descent over the tokens of one text."""

    def __init__(self, text: str, optional: bool) -> None:
        if not isinstance(text, str) or not text.strip():
            raise GrammarError(str(text), 0, "a network takes at least one layer, as in 'CONV-RELU-POOL-FC,SOFTMAX'")
        self.text, self.optional = text, optional
        self.tokens: list[re.Match[str]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            token = _TOKEN.match(text, at)
            if token is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                raise GrammarError(text, at, f"{text[at]!r} has no meaning here")
            self.tokens.append(token)
            at = token.end()
        self.next = 0

    def parse(self) -> list[Word]:
        words: list[Word] = []
        item = 0
        while True:
            for repetition, group in enumerate(self.item()):
                words += [Word(w.name, w.kernel, w.stride, w.at, (item, repetition)) for w in group]
            item += 1
            if self.next == len(self.tokens):
                return words
            if self.mark() not in ("-", ","):
                raise GrammarError(self.text, self.at(), "expected '-' or ',' between two layers")
            self.next += 1

    def chain(self) -> list[Word]:
        words = [word for group in self.item() for word in group]
        while self.mark() in ("-", ","):
            self.next += 1
            words += [word for group in self.item() for word in group]
        return words

    def item(self) -> list[list[Word]]:
        """The repetitions of one item."""
        at, opening = self.at(), self.mark()
        if opening in _CLOSING:
            self.next += 1
            words = self.chain()
            if self.mark() != _CLOSING[opening]:
                raise GrammarError(
                    self.text, self.at(), f"expected {_CLOSING[opening]!r} for the {opening!r} at position {at + 1}"
                )
            self.next += 1
        else:
            words = [self.word()]
        times = self.times() if self.mark() == "*" else 1
        if self.mark() == "?":
            self.next += 1
            times = times if self.optional else 0
        return [words] * times

    def times(self) -> int:
        self.next += 1
        token = self.tokens[self.next] if self.next < len(self.tokens) else None
        if token is None or token["number"] is None:
            raise GrammarError(self.text, self.at(), "expected a whole number after '*'")
        if int(token["number"]) > _MOST:
            raise GrammarError(self.text, self.at(), f"a repetition takes at most {_MOST}")
        self.next += 1
        return int(token["number"])

    def word(self) -> Word:
        at = self.at()
        token = self.tokens[self.next] if self.next < len(self.tokens) else None
        if token is None or token["name"] is None:
            raise GrammarError(self.text, at, "expected a layer, '(' or '['")
        name = _OTHER_NAMES.get(token["name"].upper(), token["name"].upper())
        if name not in _LAYERS:
            raise GrammarError(self.text, at, f"unknown layer {token['name']!r}; there are {', '.join(_LAYERS)}")
        kernel, stride = int(token["kernel"] or 0), int(token["stride"] or 0)
        if (token["kernel"] or token["stride"]) and name not in _WINDOWS:
            raise GrammarError(self.text, at, f"{name} takes no kernel size; only {', '.join(_WINDOWS)} do")
        if (token["kernel"] and not kernel) or (token["stride"] and not stride):
            raise GrammarError(self.text, at, "kernel sizes and strides are whole numbers >= 1")
        self.next += 1
        return Word(name, kernel, stride, at)

    def mark(self) -> str | None:
        return self.tokens[self.next]["mark"] if self.next < len(self.tokens) else None

    def at(self) -> int:
        """Where the next token begins."""
        if self.next == len(self.tokens):
            return len(self.text.rstrip())
        token = self.tokens[self.next]
        return token.end() - len(token[0].lstrip())


@dataclass
class _State:
    """What the layers so far leave: the channels or units, and whether the signal is a plain vector."""

    ops: Ops
    domain: Domain
    channels: int
    dropout: float
    flat: bool = False


def _conv(word: Word, width: int, state: _State) -> nn.Module:
    kernel = word.kernel or 3
    padding = borders(state.ops, kernel // 2 if kernel % 2 else "same")
    layer = state.ops.conv(state.channels, width, kernel, word.stride or 1, padding)
    state.channels = width
    return layer


def _fc(word: Word, width: int, state: _State) -> nn.Module:
    layer = nn.Linear(state.channels, width)
    state.channels = width
    return layer


def _norm(word: Word, width: int, state: _State) -> nn.Module:
    return nn.BatchNorm1d(state.channels) if state.flat else state.ops.norm(state.channels)


_LAYERS: dict[str, Callable[[Word, int, _State], nn.Module]] = {
    "CONV": _conv,
    "POOL": lambda word, width, state: state.ops.max_pool(word.kernel or 2, word.stride or word.kernel or 2),
    "AVGPOOL": lambda word, width, state: state.ops.avg_pool(word.kernel or 2, word.stride or word.kernel or 2),
    "RELU": lambda word, width, state: nn.ReLU(),
    "TANH": lambda word, width, state: nn.Tanh(),
    "NORM": _norm,
    "LRN": lambda word, width, state: state.ops.local_response_norm(5, alpha=5e-4, beta=0.75, k=2.0),
    "DROPOUT": lambda word, width, state: nn.Dropout(state.dropout),
    "GAP": lambda word, width, state: state.ops.global_avg_pool(),
    "FC": _fc,
    "SOFTMAX": _fc,
}


def cnn(
    text: str,
    widths: Sequence[int] | None = None,
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    optional: bool = True,
    dropout: float = 0.5,
    softmax: bool = False,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    """A network from a text in the lectures' grammar.

    Args:
        text: the layers, such as '[(CONV-RELU)*2-POOL?]*3-(FC-RELU)*1,SOFTMAX'.
        widths: channels of the CONVs and units of the FCs in order, one for each; or one for each stage that has any: a
            repetition of an outermost item. None: 32 for the first stage of CONVs, twice as many for each further one
            up to 512, and 256 for every FC.
        num_classes: outputs of SOFTMAX. in_channels: channels of the input signal.
        optional: whether items marked `?` are built. dropout: the probability of every DROPOUT.
        softmax: end in probabilities; without it in logits, as `torch.nn.functional.cross_entropy` takes them.
        ops: the family of layers; `GridOps()` if None. domain: where inputs live; `Grid((32, 32))` if None.

    Raises:
        GrammarError: for a malformed text, with the position marked.
        ValueError: for widths that do not match the text, or a domain that is too small.

    >>> import torch
    >>> net = cnn("[(CONV-RELU)*2-POOL?]*3-(FC-RELU)*1,SOFTMAX", widths=(16, 32, 64, 128))
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    ops, domain, _ = setting(ops, domain, True, num_classes=num_classes, in_channels=in_channels)
    probability("dropout", dropout)
    words = parse(text, optional)
    if not words:
        raise GrammarError(text, 0, "a network takes at least one layer, and every item is left out")
    wide = iter(_widths(text, words, widths))
    state = _State(ops, domain, in_channels, dropout)
    modules: list[nn.Module] = []
    for position, word in enumerate(words):
        if state.flat and word.name in _ON_DOMAIN:
            raise GrammarError(text, word.at, f"{word.name} works on a domain, and stands behind FC, GAP or SOFTMAX")
        if word.name == "SOFTMAX" and position != len(words) - 1:
            raise GrammarError(text, word.at, "SOFTMAX is the classifier, and stands last")
        if word.name in ("FC", "SOFTMAX") and not state.flat:
            state.channels *= (
                features_size("the network", Sequential(*modules), domain) if modules else domain.num_nodes
            )
            modules.append(ops.flatten())
            state.flat = True
        width = num_classes if word.name == "SOFTMAX" else next(wide) if word.name in _WEIGHTS else 0
        modules.append(_LAYERS[word.name](word, width, state))
        state.flat = state.flat or word.name == "GAP"
    if softmax:
        modules.append(nn.Softmax(1))
    sized = any(isinstance(m, Layer) and m.leaves_domain for m in modules) and "GAP" not in {w.name for w in words}
    return Network(*modules, name="the network", domain=domain, sized=sized)


def _widths(text: str, words: list[Word], widths: Sequence[int] | None) -> list[int]:
    """The width of every CONV and FC, in order."""
    weighted = [word for word in words if word.name in _WEIGHTS]
    stages = list(dict.fromkeys(word.stage for word in weighted))
    if widths is None:
        convs = list(dict.fromkeys(word.stage for word in weighted if word.name == "CONV"))
        return [256 if w.name == "FC" else min(32 << convs.index(w.stage), 512) for w in weighted]
    if not isinstance(widths, Sequence):
        raise ValueError(f"widths takes numbers in order, as in (16, 32), got {widths!r}")
    for width in widths:
        whole("widths", width)
    if len(widths) == len(weighted):
        return list(widths)
    if len(widths) == len(stages):
        return [widths[stages.index(word.stage)] for word in weighted]
    raise ValueError(
        f"widths takes one number for each of the {len(weighted)} CONVs and FCs of {text!r}, or for each of their "
        f"{len(stages)} stages; got {len(widths)}: {tuple(widths)}"
    )
