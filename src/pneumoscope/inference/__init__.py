"""Films to answers by ONNX Runtime, without PyTorch."""
