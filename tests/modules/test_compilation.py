import copy
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mvlm_plugin.modules.blocks import EncoderBlock
from mvlm_plugin.modules.compilation import compile_modules
from mvlm_plugin.modules.cross_stream import CrossStream
from tests.cli.commands import run
from tests.helpers import assert_same_tensors, gradients, roughen


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch.compiler.reset()


def test_a_compiled_module_gives_the_same_gradients_under_the_same_names() -> None:
    plain = roughen(CrossStream(12, 6, 1, 3, 20))
    compiled = copy.deepcopy(plain)
    compile_modules([compiled], backend="aot_eager")
    x, context = torch.randn(3, 4, 12), torch.randn(3, 5, 6)
    outputs = []
    for stream in (plain, compiled):
        outputs.append(stream(x, None, stream.project(context), None))
        outputs[-1].square().sum().backward()
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=1e-5)
    assert_same_tensors(gradients(compiled), gradients(plain), tolerance=1e-4)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(compiled.state_dict())
    torch.testing.assert_close(copy.deepcopy(compiled)(x, None, plain.project(context), None), outputs[0])


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for the CPU needs g++")
@torch.no_grad()
def test_the_real_compiler_gives_the_same_outputs(caplog: pytest.LogCaptureFixture) -> None:
    block = roughen(EncoderBlock(6, 1, 10))
    expected = block(torch.ones(2, 3, 6))
    compile_modules([block])
    torch.testing.assert_close(block(torch.ones(2, 3, 6)), expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not [record for record in caplog.records if record.name == "mvlm_plugin.modules.compilation"]


def test_the_first_failure_ends_compilation_for_all_modules_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = []

    def backend(graph: Any, inputs: Any) -> Any:
        calls.append(graph)
        raise RuntimeError("unsupported")

    modules = [EncoderBlock(3, 1, 5) for _ in range(2)]
    plain = copy.deepcopy(modules)
    compile_modules(modules, backend=backend)
    x = torch.randn(2, 1, 3)
    for compiled, uncompiled in zip(modules * 2, plain * 2, strict=True):
        assert torch.equal(compiled(x), uncompiled(x))
    assert len(calls) == 1
    ours = [record for record in caplog.records if record.name == "mvlm_plugin.modules.compilation"]
    assert [record.getMessage() for record in ours] == [
        "torch.compile failed, the model goes on uncompiled: RuntimeError: unsupported"
    ]


def test_an_error_of_the_module_itself_is_raised() -> None:
    module = EncoderBlock(3, 1, 5)
    compile_modules([module], backend="eager")
    with pytest.raises(RuntimeError, match=r"shapes|size"):
        module(torch.randn(2, 1, 4))


def test_commands_that_compile_nothing_do_not_load_the_compiler() -> None:
    run([sys.executable, "-c", "import sys, mvlm_plugin; sys.exit('torch._dynamo' in sys.modules)"])
