"""The inference of cnn-mnist by hand in ONNX Runtime and in OpenVINO, of an ONNX model by hand."""

import numpy as np

BATCH = 64


def model_by_hand(weights):
    """The bytes of the ONNX model, the batch pinned."""
    from onnx import TensorProto, helper, numpy_helper

    names = [name.replace(".", "_") for name in weights]
    w1, b1, w2, b2, w3, b3, w4, b4 = names
    nodes = [
        helper.make_node("Conv", ["x", w1, b1], ["c1"]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", w2, b2], ["c2"]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", w3, b3], ["d"], transB=1),
        helper.make_node("Relu", ["d"], ["r3"]),
        helper.make_node("Gemm", ["r3", w4, b4], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn-mnist",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [BATCH, 1, 28, 28])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [BATCH, 10])],
        [
            numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in zip(names, weights.values(), strict=True)
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return model.SerializeToString()


def onnxruntime_by_hand(arrays, weights, optimizer, mode, precision):
    """`InferenceSession.run` on arrays, with as many threads as there are cores."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model_by_hand(weights), providers=["CPUExecutionProvider"]
    )
    return {"infer": lambda index: session.run(None, {"x": arrays[index][0]})}


def openvino_by_hand(arrays, weights, optimizer, mode, precision):
    """A compiled model that is called with tensors."""
    import openvino

    hints = {"PERFORMANCE_HINT": mode.upper(), "INFERENCE_PRECISION_HINT": "f32"}
    core = openvino.Core()
    model = core.compile_model(core.read_model(model_by_hand(weights)), "CPU", hints)
    request = model.create_infer_request()
    tensors = [openvino.Tensor(np.ascontiguousarray(images)) for images, _ in arrays]
    return {"infer": lambda index: request.infer([tensors[index]])}
