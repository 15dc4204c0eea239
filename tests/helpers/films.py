"""Short videos whose frames can be told apart."""

import av
import numpy as np


def film(path, frames, container=None, codec="mpeg4", level=20):
    """Frame i is a flat grey of level · i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = 4
        for i in range(frames):
            grey = np.full((48, 64, 3), level * i, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        out.mux(stream.encode(None))
    return path
