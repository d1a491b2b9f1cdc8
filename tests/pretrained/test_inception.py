"""Weights of the FID Inception through every file format, and what is refused."""

import functools
import itertools

import numpy as np
import pytest

from drifting.pretrained import files, inception, tensorflow_graph
from drifting.pretrained.files import WeightsError


@pytest.fixture(scope="module")
def state():
    generator = np.random.default_rng(0)
    shapes = inception.state_shapes()
    return {k: generator.standard_normal(s, np.float32) for k, s in shapes.items()}


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    files.write(state, path)
    return path


def test_the_port_has_as_many_arrays_and_numbers():
    shapes = inception.state_shapes()
    assert len(shapes) == 5 * 94 + 2
    fixed = sum(int(np.prod(s)) for k, s in shapes.items() if "running" in k)
    assert fixed == 2 * 17_216  # a mean and a variance a channel
    assert sum(int(np.prod(s)) for s in shapes.values()) - fixed == 23_850_960


def test_safetensors_and_back(state, file):
    found = inception.read(file)
    assert found.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(found[key], value)


def test_the_pytorch_port(state, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {k: torch.from_numpy(v) for k, v in state.items()}
    tensors["Conv2d_1a_3x3.bn.num_batches_tracked"] = torch.tensor(0)
    torch.save(tensors, tmp_path / "w.pth")
    found = inception.read(tmp_path / "w.pth")
    assert inception.digest(inception.to_params(found)) == inception.digest(
        inception.to_params(state)
    )


# --- TensorFlow's graph --------------------------------------------------------------------------


def add_constant(graph, name, array):
    """A node as TensorFlow freezes it; returns its tensor."""
    from tensorflow.core.framework import types_pb2

    node = graph.node.add(name=name, op="Const")
    node.attr["dtype"].type = types_pb2.DT_FLOAT
    tensor = node.attr["value"].tensor
    tensor.dtype = types_pb2.DT_FLOAT
    for n in array.shape:
        tensor.tensor_shape.dim.add(size=n)
    tensor.tensor_content = np.ascontiguousarray(array).tobytes()
    return tensor


@pytest.fixture
def graph():
    return pytest.importorskip("tensorflow.core.framework.graph_pb2").GraphDef()


def test_the_tensorflow_graph(graph, state, tmp_path):
    add = functools.partial(add_constant, graph)
    graph.node.add(name="ExpandDims/dim", op="Const").attr["value"].tensor.int_val.append(0)
    graph.node.add(name="Mul", op="Mul").input.extend(["Sub", "Mul/y"])
    add("softmax/weights", state["fc.weight"].T)
    add("softmax/biases", state["fc.bias"])
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
             "running_var": "moving_variance"}  # fmt: skip
    for layer, scope in inception._graph_scopes():
        add(f"{scope}/conv2d_params", state[f"{layer}.conv.weight"].transpose(2, 3, 1, 0))
        for ours, theirs in names.items():
            add(f"{scope}/batchnorm/{theirs}", state[f"{layer}.bn.{ours}"])
    path = tmp_path / "graph.pb"
    path.write_bytes(graph.SerializeToString())
    found = inception.read(path)
    for key, value in state.items():
        np.testing.assert_array_equal(found[key], value)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="truncated"):
        inception.read(path)


def test_constants_of_a_graph_in_every_form(graph):
    array = np.float32([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    add_constant(graph, "content", array)
    for name, values in {"floats": array, "one value for all": array[:1, :1]}.items():
        tensor = add_constant(graph, name, array)
        tensor.ClearField("tensor_content")
        tensor.float_val.extend(values.ravel())
    add_constant(graph, "scalar", np.float32(7.0))
    add_constant(graph, "empty", np.zeros((0, 3), np.float32))
    found = tensorflow_graph.constants(graph.SerializeToString())
    expected = {
        "content": array,
        "floats": array,
        "one value for all": np.ones((2, 3)),
        "scalar": 7.0,
        "empty": np.zeros((0, 3)),
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, strict=name == "content")
        assert found[name].dtype == np.float32


def test_a_damaged_graph_is_an_error_of_value(graph):
    """Whatever its bytes are, and not a wait: the work is linear in their number."""
    add_constant(graph, "a", np.ones((2, 3), np.float32))
    whole = graph.SerializeToString()
    for length in range(1, len(whole)):
        with pytest.raises(ValueError, match="the graph is|buffer|reshape"):
            tensorflow_graph.constants(whole[:length])
    refused = 0
    for at, byte in itertools.product(range(len(whole)), range(256)):
        damaged = bytearray(whole)
        damaged[at] = byte
        try:
            tensorflow_graph.constants(bytes(damaged))
        except ValueError:
            refused += 1
    assert refused > 0.25 * 256 * len(whole)
    with pytest.raises(ValueError, match="an integer does not end"):
        tensorflow_graph.constants(b"\xff" * 10 + b"\x01")
    with pytest.raises(ValueError, match="truncated or damaged"):
        tensorflow_graph.constants(b"\x0b" + b"\x01" * 20)  # a group, which no graph has


def test_names_in_the_graph_are_those_of_2015():
    """Scopes as the published graph has them, read off its node list."""
    scopes = dict(inception._graph_scopes())
    assert len(scopes) == 94 and len(set(scopes.values())) == 94
    assert scopes["Conv2d_1a_3x3"] == "conv"
    assert scopes["Conv2d_4a_3x3"] == "conv_4"
    assert scopes["Mixed_5b.branch_pool"] == "mixed/tower_2/conv"
    assert scopes["Mixed_6a.branch3x3dbl_3"] == "mixed_3/tower/conv_2"
    assert scopes["Mixed_7c.branch3x3dbl_3b"] == "mixed_10/tower_1/mixed/conv_1"


@pytest.mark.parametrize(
    "content,message",
    [
        (lambda b: b[: len(b) // 2], "truncated or not a weight file"),
        (lambda b: b"", "truncated or not a weight file"),
        (lambda b: b"not weights at all", "truncated or not a weight file"),
    ],
)
def test_damaged_files_are_refused(file, tmp_path, content, message):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content(file.read_bytes()))
    with pytest.raises(WeightsError, match=message):
        inception.read(path)


def test_other_weights_are_refused(state, tmp_path):
    path = tmp_path / "w.safetensors"
    files.write(state | {"fc.weight": state["fc.weight"][:1000]}, path)
    with pytest.raises(WeightsError, match=r"fc.weight has shape \(1000, 2048\).*\(1008, 2048\)"):
        inception.read(path)
    files.write({k: v for k, v in state.items() if "Mixed_7c" not in k}, path)
    with pytest.raises(WeightsError, match="45 of 472 arrays are missing, Mixed_7c"):
        inception.read(path)
    with pytest.raises(WeightsError, match="no weights at"):
        inception.read(tmp_path / "nowhere.safetensors")
    with pytest.raises(WeightsError, match="unknown kind of weight file"):
        inception.read(tmp_path / "w.h5")
