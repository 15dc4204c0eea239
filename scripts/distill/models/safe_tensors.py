"""Reading files of the format safetensors, in which timm and others publish weights: numbers, and no program.

Eight bytes say how long the header is, JSON of each tensor's type, shape and place; the numbers follow
(https://github.com/huggingface/safetensors, section Format).
"""

import json
import math
from pathlib import Path

import torch

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
ENDING = ".safetensors"


def read_safe_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors by name. Raises ValueError where the file is damaged, or has numbers of another type."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    if not 8 < end <= len(content):
        raise ValueError("its header is cut off")
    header = json.loads(content[8:end])
    numbers = memoryview(bytearray(content[end:]))  # torch wants to be able to write
    return {name: _tensor(name, about, numbers) for name, about in header.items() if name != "__metadata__"}


def _tensor(name: str, about: dict, numbers: memoryview) -> torch.Tensor:
    """One tensor of a header's entry {dtype, shape, data_offsets}."""
    try:
        dtype, shape, (start, stop) = TYPES[about["dtype"]], about["shape"], about["data_offsets"]
        if not 0 <= start <= stop <= len(numbers) or stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError("its numbers are cut off")
        if start == stop:
            return torch.zeros(shape, dtype=dtype)
        return torch.frombuffer(numbers[start:stop], dtype=dtype).reshape(shape)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name:.80}: {error}") from None
