"""Predictions for images by ONNX Runtime, without PyTorch."""
