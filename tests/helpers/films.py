"""Short videos whose frames can be told apart."""

from fractions import Fraction

import av
import cv2
import numpy as np


def film(path, frames, container=None, codec="mpeg4", level=20):
    """Frame i is a flat grey of level · i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = 4
        stream.thread_count = 2  # slices, and so bytes, would be as many as the machine has cores
        for i in range(frames):
            grey = np.full((48, 64, 3), level * i, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        out.mux(stream.encode(None))
    return path


def unevenly(path, pictures):
    """Each of the pictures (H, W, 3), as 160x120, twice: after 0.06 seconds, and 0.14 before the next one."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 50)
        for number, picture in enumerate(pictures):
            pixels = cv2.resize(picture, (160, 120))
            for part in range(2):
                frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
                frame.pts, frame.time_base = number * 10 + 3 * part, stream.codec_context.time_base
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
