"""mmcv's compiled operators in plain Python and NumPy: one number at a time, nothing of the library.

Written from mmcv's sources below `mmcv/ops/csrc`, whose names they have. Arrays are float64.
"""

import math
from itertools import product

import numpy as np


def sigmoid_focal_loss(logits, targets, gamma, alpha):
    losses = np.zeros(logits.shape)
    for n, c in np.ndindex(*logits.shape):
        p = 1 / (1 + math.exp(-logits[n, c]))
        if targets[n] == c:
            losses[n, c] = -alpha * (1 - p) ** gamma * math.log(p)
        else:
            losses[n, c] = -(1 - alpha) * p**gamma * math.log(1 - p)
    return losses


def softmax_focal_loss(logits, targets, gamma, alpha):
    losses = np.zeros(len(logits))
    for n, target in enumerate(targets):
        if target >= 0:
            p = math.exp(logits[n, target]) / sum(math.exp(x) for x in logits[n])
            losses[n] = -alpha * (1 - p) ** gamma * math.log(p)
    return losses


def bilinear(plane, y, x):
    """Between the cells' centres, which are whole numbers; 0 outside, fading over one cell."""
    height, width = plane.shape
    if y <= -1 or y >= height or x <= -1 or x >= width:
        return 0.0
    value = 0.0
    for row, column in product((math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)):
        if 0 <= row < height and 0 <= column < width:
            value += plane[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


def deform_conv(images, offsets, masks, weights, bias, stride, padding, dilation, groups, offset_groups):
    """stride, padding, dilation: (y, x)."""
    batch, channels, height, width = images.shape
    out, inputs, kh, kw = weights.shape
    size = [
        (side + 2 * p - (d * (k - 1) + 1)) // s + 1
        for side, p, d, k, s in zip((height, width), padding, dilation, (kh, kw), stride, strict=True)
    ]
    output = np.zeros((batch, out, *size))
    for b, o, y, x in np.ndindex(*output.shape):
        total = bias[o]
        for c, i, j in np.ndindex(inputs, kh, kw):
            channel = o // (out // groups) * inputs + c
            place = channel // (channels // offset_groups) * kh * kw + i * kw + j
            sample = bilinear(
                images[b, channel],
                y * stride[0] - padding[0] + i * dilation[0] + offsets[b, 2 * place, y, x],
                x * stride[1] - padding[1] + j * dilation[1] + offsets[b, 2 * place + 1, y, x],
            )
            total += weights[o, c, i, j] * masks[b, place, y, x] * sample
        output[b, o, y, x] = total
    return output


def ms_deform_attn(values, shapes, locations, weights):
    batch, queries, heads, levels, points, _ = locations.shape
    channels = values.shape[3]
    starts = np.cumsum([0] + [h * w for h, w in shapes])
    output = np.zeros((batch, queries, heads * channels))
    for b, q, m, level, p in np.ndindex(batch, queries, heads, levels, points):
        height, width = shapes[level]
        x, y = locations[b, q, m, level, p]
        for c in range(channels):
            plane = values[b, starts[level] : starts[level + 1], m, c].reshape(height, width)
            sample = bilinear(plane, y * height - 0.5, x * width - 0.5)
            output[b, q, m * channels + c] += weights[b, q, m, level, p] * sample
    return output


def carafe(features, masks, kernel, groups, factor):
    batch, channels, height, width = features.shape
    output = np.zeros((batch, channels, height * factor, width * factor))
    half = (kernel - 1) // 2
    for b, c, y, x in np.ndindex(*output.shape):
        group = c // (channels // groups)
        for i, j in np.ndindex(kernel, kernel):
            row, column = y // factor - half + i, x // factor - half + j
            if 0 <= row < height and 0 <= column < width:
                weight = masks[b, (group * kernel + i) * kernel + j, y, x]
                output[b, c, y, x] += features[b, c, row, column] * weight
    return output


def masked_conv(images, mask, weights, bias, padding):
    _, _, height, width = images.shape
    out, channels, kh, kw = weights.shape
    output = np.zeros((1, out, height + 2 * padding - kh + 1, width + 2 * padding - kw + 1))
    for y, x in np.argwhere(mask[0] > 0):
        for o, c, i, j in np.ndindex(out, channels, kh, kw):
            row, column = y - padding + i, x - padding + j
            if 0 <= row < height and 0 <= column < width:
                output[0, o, y, x] += weights[o, c, i, j] * images[0, c, row, column]
        output[0, :, y, x] += bias
    return output


def roi_pool(images, rois, size, scale):
    _, channels, height, width = images.shape
    output = np.zeros((len(rois), channels, *size))
    for n, c, i, j in np.ndindex(*output.shape):
        x1, y1, x2, y2 = (
            rois[n, 1] * scale,
            rois[n, 2] * scale,
            (rois[n, 3] + 1) * scale,
            (rois[n, 4] + 1) * scale,
        )
        if x2 <= x1 or y2 <= y1:
            continue
        tall, wide = (y2 - y1) / size[0], (x2 - x1) / size[1]
        rows = range(max(math.floor(i * tall + y1), 0), min(math.ceil((i + 1) * tall + y1), height))
        columns = range(max(math.floor(j * wide + x1), 0), min(math.ceil((j + 1) * wide + x1), width))
        cells = [images[int(rois[n, 0]), c, row, column] for row, column in product(rows, columns)]
        output[n, c, i, j] = max(cells, default=0)
    return output


def iou(a, b, offset):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def softnms(boxes, scores, threshold, sigma, lowest, method, offset):
    """The boxes' indices and lowered scores; the swaps, and so the order of equal scores, are mmcv's."""
    left = [[i, score] for i, score in enumerate(scores)]
    i = 0
    while i < len(left):
        best = max(range(i, len(left)), key=lambda k: (left[k][1], -k))
        left[i], left[best] = left[best], left[i]
        k = i + 1
        while k < len(left):
            overlap = iou(boxes[left[i][0]], boxes[left[k][0]], offset)
            if method == "gaussian":
                left[k][1] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                left[k][1] *= 0 if method == "naive" else 1 - overlap
            if left[k][1] < lowest:
                left[k] = left[-1]
                left.pop()
            else:
                k += 1
        i += 1
    return [index for index, _ in left], [score for _, score in left]


def nms_match(boxes, scores, threshold):
    left, groups = sorted(range(len(boxes)), key=lambda i: -scores[i]), []
    while left:
        first, *rest = left
        groups.append([first] + [i for i in rest if iou(boxes[first], boxes[i], 0) >= threshold])
        left = [i for i in rest if i not in groups[-1]]
    return groups
