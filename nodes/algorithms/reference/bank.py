"""Features of a reference, and a cache that keeps them for the next step, picture and seed.

The features depend on the weights, the reference, its noise, the noise level and the context, never on the picture
being sampled: they are computed once and shared.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

LayerKey = tuple[str, int, int]
PointKey = tuple[str, int]
Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Bank:
    """Features of one reference at one noise level in one context.

    Attributes:
        tokens: keys and values ``[1, tokens, width]`` for each attention layer.
        moments: mean and variance ``[1, channels, 1, 1]`` for each AdaIN point.
    """

    tokens: Mapping[LayerKey, Pair] = field(default_factory=dict)
    moments: Mapping[PointKey, Pair] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        pairs = (*self.tokens.values(), *self.moments.values())
        return sum(tensor.numel() * tensor.element_size() for pair in pairs for tensor in pair)

    def to(self, device: torch.device) -> Bank:
        """The same on another device (itself where it already is there)."""
        if all(tensor.device == device for pair in (*self.tokens.values(), *self.moments.values()) for tensor in pair):
            return self
        return Bank(
            {key: (k.to(device), v.to(device)) for key, (k, v) in self.tokens.items()},
            {key: (mean.to(device), variance.to(device)) for key, (mean, variance) in self.moments.items()},
        )


class BankCache:
    """Least recently used banks up to a memory limit; safe for several threads.

    Args:
        limit: bytes that the banks may take together; 0 keeps nothing.
        device: where the banks are kept; None: where they were computed.
    """

    def __init__(self, limit: int, device: torch.device | None = None) -> None:
        if limit < 0:
            raise ValueError(f"memory limit {limit} bytes: expected 0 or more")
        self.limit = limit
        self.device = device
        self.hits = 0
        self.misses = 0
        self._banks: OrderedDict[Hashable, Bank] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> BankCache:
        """Itself: a model that is cloned shares the cache, it does not copy the features."""
        return self

    def __len__(self) -> int:
        return len(self._banks)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._banks

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return self._bytes

    def get(self, key: Hashable) -> Bank | None:
        """The bank under `key`, which becomes the most recently used, or None."""
        with self._lock:
            bank = self._banks.get(key)
            if bank is None:
                self.misses += 1
                return None
            self.hits += 1
            self._banks.move_to_end(key)
            return bank

    def put(self, key: Hashable, bank: Bank) -> None:
        """Keep `bank`; the least recently used ones make room. A bank above the limit is not kept at all."""
        size = bank.nbytes
        if size > self.limit:
            return
        if self.device is not None:
            bank = bank.to(self.device)
        with self._lock:
            old = self._banks.pop(key, None)
            self._bytes -= old.nbytes if old is not None else 0
            while self._banks and self._bytes + size > self.limit:
                self._bytes -= self._banks.popitem(last=False)[1].nbytes
            self._banks[key] = bank
            self._bytes += size

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._banks.clear()
            self._bytes = 0


def digest(tensor: torch.Tensor | None) -> str:
    """Fingerprint of a tensor's values, shape and type; ``-`` for None."""
    if tensor is None:
        return "-"
    raw = tensor.detach().to("cpu").contiguous().reshape(-1)
    state = hashlib.blake2b(f"{tuple(tensor.shape)} {tensor.dtype}".encode(), digest_size=16)
    state.update(raw.view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


class Same:
    """Key part that stands for one live object: equal to itself alone. Holds the object, so its id is never reused."""

    __slots__ = ("thing",)

    def __init__(self, thing: object) -> None:
        self.thing = thing

    def __hash__(self) -> int:
        return id(self.thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.thing is self.thing
