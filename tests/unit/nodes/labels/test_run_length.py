"""Masks as text are COCO's, and come back as they went."""

from __future__ import annotations

import json

import numpy as np
import pytest
from defectforge.nodes.algorithms.run_length import decode, encode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(arrays(bool, SHAPES))
def test_a_mask_comes_back_as_it_went(mask):
    code = json.loads(json.dumps(encode(mask)))
    assert np.array_equal(decode(code), mask)
    assert all(count > 0 for count in code["counts"][1:]), "runs are as long as they can be"


def test_runs_go_down_the_columns_and_begin_with_zeros():
    assert encode(np.array([[0, 1], [0, 1], [1, 1]], bool)) == {"size": [3, 2], "counts": [2, 4]}
    assert encode(np.ones((2, 2), bool)) == {"size": [2, 2], "counts": [0, 4]}
    assert encode(np.zeros((2, 3), bool)) == {"size": [2, 3], "counts": [6]}


@given(arrays(bool, SHAPES))
def test_pycocotools_reads_the_same_mask(mask):
    coco = pytest.importorskip("pycocotools.mask")
    code = encode(mask)
    packed = coco.frPyObjects(code, *code["size"])
    assert np.array_equal(coco.decode(packed).astype(bool), mask)


@pytest.mark.parametrize("counts", [[3], [5], [-1, 5], []])
def test_runs_that_do_not_fill_the_size_are_refused(counts):
    with pytest.raises(ValueError, match="run-length code"):
        decode({"size": [2, 2], "counts": counts})
