"""Models in the formats of others: for torchvision, mmdet and mmpose, and as ONNX."""
