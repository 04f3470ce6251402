"""The library's own lock: nothing of it is freed, and nothing is collected, while it works."""

from __future__ import annotations

import gc
import threading

import pytest
from onnx import helper

from edge.engine.trt.errors import BuildFailed
from edge.engine.trt.messages import undisturbed
from tests.unit.test_trt_build import build, graph


def library_objects(error: BaseException | None) -> list[str]:
    """What the frames of an error hold of the library."""
    found, place = [], error.__traceback__ if error is not None else None
    while place is not None:
        found += [name for name, value in place.tb_frame.f_locals.items() if type(value).__module__.startswith("tensorrt_rtx")]
        place = place.tb_next
    return found


def test_a_failed_build_leaves_nothing_of_the_library_to_the_collector() -> None:
    # The library holds a lock of its own while it calls our logger, and freeing a builder takes it: a collection in there that found one waited for ever.
    with pytest.raises(BuildFailed) as caught:
        build(graph(helper.make_node("StringNormalizer", ["x"], ["y"], name="text")))
    assert library_objects(caught.value) == []


def test_while_the_library_works_nothing_is_collected() -> None:
    entered = threading.Event()

    def elsewhere() -> None:
        with undisturbed():
            entered.set()

    with undisturbed():
        with undisturbed():
            assert not gc.isenabled()
        assert not gc.isenabled()
        other = threading.Thread(target=elsewhere)
        other.start()
        assert not entered.wait(0.1)
    other.join(10)
    assert entered.is_set()
    assert gc.isenabled()
