"""A graph reads only what its package lists."""

from pathlib import Path

import numpy as np
import pytest

from field.edits import sign
from gliodistill.errors import PackageError
from gliodistill.models import ModelPackage
from gliodistill.models.graph_files import check_graph, external_files

onnx = pytest.importorskip("onnx")


def model(location: str, inside: str = "initializer") -> bytes:
    """A graph that adds three numbers of another file to its input."""
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[3])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    info = [onnx.helper.make_tensor_value_info(name, 1, [3]) for name in "xy"]
    add = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    held = onnx.helper.make_node("Constant", [], ["w"], value=weight)
    alone = onnx.helper.make_graph([held], "inner", [], [onnx.ValueInfoProto(name="w")])
    nodes, initializers = [add], [weight]
    if inside == "constant":
        nodes, initializers = [held, add], []
    elif inside == "branch":
        chosen = onnx.helper.make_node("If", ["c"], ["w"], then_branch=alone, else_branch=alone)
        nodes, initializers = [chosen, add], []
    graph = onnx.helper.make_graph(nodes, "g", info[:1], info[1:], initializers)
    made = onnx.helper.make_model(graph)
    if inside == "function":
        function = made.functions.add(name="f", domain="here")
        function.node.append(held)
        del made.graph.initializer[:]
    if inside == "sparse":
        made.graph.sparse_initializer.add().values.CopyFrom(weight)
        del made.graph.initializer[:]
    return made.SerializeToString()


@pytest.mark.parametrize("inside", ["initializer", "constant", "branch", "function", "sparse"])
@pytest.mark.parametrize("location", ["secret.bin", "../x", "/etc/x", "sub/../secret.bin", "é", ""])
def test_every_way_to_name_a_file_is_found(location, inside):
    assert external_files(model(location, inside)) == {location}


def test_the_last_of_several_names_hides_none():
    """Readers take one of two keys; which one is theirs to say."""
    made = onnx.load_model_from_string(model("a.bin"))
    made.graph.initializer[0].external_data.add(key="location", value="b.bin")
    assert external_files(made.SerializeToString()) == {"a.bin", "b.bin"}
    # A message that stands twice is merged by protobuf: both halves count.
    assert external_files(model("a.bin") + model("b.bin")) == {"a.bin", "b.bin"}


@pytest.mark.parametrize(
    "content", [b"\xff" * 20, b"\x3a\xff\xff\xff\xff\x0f", b"\x3b", b"\x00", b"\x3a\x05ab"]
)
def test_what_is_no_model(content):
    with pytest.raises(ValueError, match=r"byte|end"):
        external_files(content)


def test_messages_without_end():
    graph = b""
    for _ in range(120):  # node → attribute → graph → …
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            graph = tag + _length(graph) + graph
    with pytest.raises(ValueError, match="deeper than 100"):
        external_files(b"\x3a" + _length(graph) + graph)


def _length(content: bytes) -> bytes:
    count, text = len(content), b""
    while count > 127:
        text, count = text + bytes([count & 127 | 128]), count >> 7
    return text + bytes([count])


@pytest.mark.parametrize("location", ["README.md", "./model.bin", "../model.bin", "secret.bin"])
def test_a_listed_file_may_be_read_and_no_other(tmp_path, location):
    (tmp_path / "model.onnx").write_bytes(model("model.bin"))
    check_graph(tmp_path, ("model.onnx", "model.bin"))
    with pytest.raises(PackageError, match=r"does not list .*'model.bin'.*expected no other file"):
        check_graph(tmp_path, ("model.onnx",))
    (tmp_path / "model.onnx").write_bytes(model(location))
    with pytest.raises(PackageError, match=r"model.onnx: graph reads a file"):
        check_graph(tmp_path, ("model.onnx", "model.bin"))


def test_onnx_by_the_name_of_an_openvino_graph(model_folder: Path):
    """OpenVINO goes by content: it would read this graph, and the file beside it."""
    np.ones(3, np.float32).tofile(model_folder / "secret.bin")
    (model_folder / "model.xml").write_bytes(model("secret.bin"))
    with pytest.raises(PackageError, match=r"model.xml: not an OpenVINO graph"):
        ModelPackage.open(sign(model_folder))


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    import tiny_model

    return tiny_model.export(tmp_path / "model").folder


def test_what_onnx_runtime_cannot_read_is_raised_and_not_printed(tmp_path, capfd):
    """It would print, and try again, where its output is a JSON document to somebody."""
    pytest.importorskip("onnxruntime")
    from gliodistill.inference.runtimes.onnx import OnnxRuntime

    (tmp_path / "model.onnx").write_bytes(b"\x3a\x05\xeb\x80\xff\xfe\xfd")
    with pytest.raises(PackageError, match="ONNX Runtime cannot read the graph"):
        OnnxRuntime(tmp_path / "model.onnx", threads=1)
    assert capfd.readouterr() == ("", "")
