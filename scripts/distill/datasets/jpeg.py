"""JPEG files whose pixels are partly destroyed, which most readers take for sound.

libjpeg, and with it Pillow and OpenCV, paints grey or noise where the compressed pixels make no sense, and
warns nobody. FFmpeg's decoder stops there if asked to. Of photographs it finds nearly all in which a piece is
missing or overwritten, if they are baseline JPEGs (tests/test_images.py); of progressive ones, whose pixels
come in several passes, two in three; and a single wrong bit hardly ever, as that is still a picture. It costs
as much as decoding once more, so images are looked at once, when a dataset is made.
"""

import av

KNOWN = (0xC0, 0xC1, 0xC2)  # what frames begin with; FFmpeg cannot do the others, arithmetic coding
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # that are among the codes of frames
_ALONE = (0x01, *range(0xD0, 0xDA))  # markers without a segment


def is_torn(data: bytes) -> bool:
    """Whether the pixels of a JPEG, all bytes of the file, break off or make no sense somewhere. False where
    FFmpeg cannot judge, as it does not know this kind of JPEG."""
    if _coding(data) not in KNOWN:
        return False
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.thread_type = "NONE"  # files are looked at side by side
    decoder.options = {"err_detect": "explode"}
    try:
        return not [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except av.error.PatchWelcomeError:  # an arrangement of colours that it has not
        return False
    except av.FFmpegError:
        return True


def _coding(data: bytes) -> int | None:
    """The marker that the frame begins with."""
    at = 2
    while (at := data.find(0xFF, at)) >= 0 and at + 4 <= len(data):  # over bytes that are no marker
        code = data[at + 1]
        if 0xC0 <= code <= 0xCF and code not in _NO_FRAME:
            return code
        skip = int.from_bytes(data[at + 2 : at + 4])
        at += 1 if code == 0xFF else 2 if code in _ALONE else 2 + skip
    return None
