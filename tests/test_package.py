import subprocess
import sys

import pytest

import pneumoscope
from pneumoscope import errors


def test_public_names_are_there_and_sorted():
    for name in pneumoscope.__all__:
        assert getattr(pneumoscope, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'load_detectors'"):
        pneumoscope.load_detectors  # noqa: B018


def test_every_error_is_in_the_tree_and_in_its_drawing():
    types = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(types) == 13
    for each in types:
        assert issubclass(each, errors.PneumoscopeError)
        assert each.__name__ in errors.__doc__


def test_help_loads_neither_torch_nor_onnx_runtime():
    code = (
        "import sys, pneumoscope.cli\n"
        "try: pneumoscope.cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'onnxruntime', 'numpy', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_data_and_evaluation_work_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import pneumoscope.data.dataset, pneumoscope.data.overview, pneumoscope.assessment.report"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
