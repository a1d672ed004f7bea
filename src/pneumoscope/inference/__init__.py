"""Images to answers by ONNX Runtime, without PyTorch."""
