"""Detectron's merging of views in plain Python: one number at a time, no arrays, nothing of the library.

Written from the published descriptions: Gidaris & Komodakis 2015 for voting; Detectron's `box_voting`,
`im_detect_bbox_aug`, `im_detect_keypoints_aug`, `combine_heatmaps_size_dep` and `heatmaps_to_keypoints`.
The differences are meant: a box's area is (x2 − x1)(y2 − y1), without Detectron's +1; a survivor always votes
on itself; what has no area overlaps nothing; where all votes weigh nothing, the survivor stays.
"""

import math

# --- boxes: (x1, y1, x2, y2) ---


def overlap(a, b):
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def nms(boxes, scores, categories, threshold):
    """The positions of the survivors, the best score first, of equal scores the first."""
    survivors = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(categories[i] != categories[s] or overlap(boxes[i], boxes[s]) <= threshold for s in survivors):
            survivors.append(i)
    return survivors


def score_of(rule, own, votes, ious, beta):
    """A survivor's score after voting; votes: the scores of its voters, ious: their overlap with it."""
    n = len(votes)
    if rule == "id":
        return own
    if rule == "avg":
        return sum(votes) / n
    if rule == "temp_avg":  # of P(category) against P(not the category), at temperature beta
        smooth = [(p ** (1 / beta), (1 - p) ** (1 / beta)) for p in votes]
        return sum(yes / (yes + no) for yes, no in smooth) / n
    if rule == "iou_avg":
        return sum(p * iou for p, iou in zip(votes, ious, strict=True)) / sum(ious)
    if rule == "generalized_avg":
        return (sum(p**beta for p in votes) / n) ** (1 / beta)
    if rule == "quasi_sum":
        return sum(votes) / n**beta
    raise ValueError(rule)


def vote(boxes, scores, categories, nms_threshold, vote_threshold, rule, beta, most):
    """(box, score, category) of every merged box of an image, the best score first."""
    results = []
    for s in nms(boxes, scores, categories, nms_threshold):
        voters, ious = [], []
        for i in range(len(boxes)):
            iou = 1.0 if i == s else overlap(boxes[i], boxes[s])
            if categories[i] == categories[s] and iou >= vote_threshold:
                voters.append(i)
                ious.append(iou)
        weight = sum(scores[i] for i in voters)
        box = list(boxes[s])
        if weight > 0:
            box = [sum(scores[i] * boxes[i][side] for i in voters) / weight for side in range(4)]
        score = score_of(rule, scores[s], [scores[i] for i in voters], ious, beta)
        results.append((box, score, categories[s]))
    results.sort(key=lambda result: -round(result[1], 9))
    return results[:most]


def image_box(box, flip, view_size, size):
    """A box (x, y, w, h) of a resized, mirrored view, in the image and cut at its borders; sizes: w, h."""
    x1, y1, x2, y2 = box[0], box[1], box[0] + box[2], box[1] + box[3]
    if flip:
        x1, x2 = view_size[0] - x2, view_size[0] - x1
    factors = size[0] / view_size[0], size[1] / view_size[1]
    corners = x1 * factors[0], y1 * factors[1], x2 * factors[0], y2 * factors[1]
    return [min(max(value, 0.0), size[i % 2]) for i, value in enumerate(corners)]


def union(views):
    """Detectron's UNION: all boxes of all views, each view a list of (box, score, category)."""
    return [detection for view in views for detection in view]


def average(views):
    """Detectron's AVG: coordinates and scores of the same proposals, averaged over views."""
    rows = []
    for same in zip(*views, strict=True):
        box = [sum(box[side] for box, _, _ in same) / len(same) for side in range(4)]
        rows.append((box, sum(score for _, score, _ in same) / len(same), same[0][2]))
    return rows


# --- heatmaps: [keypoint][row][column] of one RoI ---


def unflipped(heatmap, pairs):
    """The heatmap of a mirrored view in the image: columns turned around, left and right channels swapped."""
    partner = dict(pairs) | {right: left for left, right in pairs}
    return [
        [list(reversed(row)) for row in heatmap[partner.get(keypoint, keypoint)]]
        for keypoint in range(len(heatmap))
    ]


def softmax(rows):
    """Probabilities over all cells of one map."""
    top = max(max(row) for row in rows)
    powers = [[math.exp(value - top) for value in row] for row in rows]
    total = sum(sum(row) for row in powers)
    return [[value / total for value in row] for row in powers]


def used(scale, plain, area, large):
    """Whether a view takes part for an object of an area; large None: all do."""
    if large is None:
        return True
    return scale >= plain if area < large else scale <= plain


def merge(views, kind, pairs, plain=None, area=None, large=None):
    """(probabilities, logits) of one RoI over views, each a (heatmap, scale, flip).

    kind: probability (the paper), logit (HM_AVG) or max_logit (HM_MAX).
    """
    maps = [
        unflipped(heatmap, pairs) if flip else heatmap
        for heatmap, scale, flip in views
        if used(scale, plain, area, large)
    ]

    def cell_by_cell(function, maps):
        return [
            [[function(values) for values in zip(*rows, strict=True)] for rows in zip(*planes, strict=True)]
            for planes in zip(*maps, strict=True)
        ]

    def mean(values):
        return sum(values) / len(values)

    logits = cell_by_cell(max if kind == "max_logit" else mean, maps)
    if kind == "probability":
        return cell_by_cell(mean, [[softmax(plane) for plane in heatmap] for heatmap in maps]), logits
    return [softmax(plane) for plane in logits], logits


def cubic(distance, a=-0.75):
    """Weight of a sample at a distance, Keys 1981 with OpenCV's parameter."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def resize(rows, width, height):
    """A map resized by bicubic interpolation, centres of cells on centres; the border is repeated."""

    def line(values, length):
        result = []
        for i in range(length):
            at = (i + 0.5) * len(values) / length - 0.5
            first = math.floor(at) - 1
            taps = range(first, first + 4)
            result.append(sum(cubic(at - j) * values[min(max(j, 0), len(values) - 1)] for j in taps))
        return result

    wide = [line(row, width) for row in rows]
    columns = [line(column, height) for column in zip(*wide, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def peak(rows):
    """(row, column) of the highest cell, of equals the first by rows."""
    cells = [(row, column) for row in range(len(rows)) for column in range(len(rows[0]))]
    return max(cells, key=lambda cell: (rows[cell[0]][cell[1]], -cell[0], -cell[1]))


def decode(probabilities, logits, box):
    """(x, y, probability, logit) of one keypoint in the RoI `box`: the centre of its best cell."""
    row, column = peak(probabilities)
    height, width = len(probabilities), len(probabilities[0])
    x = box[0] + (column + 0.5) / width * (box[2] - box[0])
    y = box[1] + (row + 0.5) / height * (box[3] - box[1])
    return x, y, probabilities[row][column], logits[row][column]


def pixels(box):
    """(width, height) of the map that Detectron decodes: the RoI's sides, at least 1, rounded up."""
    return tuple(math.ceil(max(box[i + 2] - box[i], 1)) for i in (0, 1))


def decode_pixels(evidence, logits, box):
    """(x, y, logit) of one keypoint: the peak of the evidence, resized like the logits to the RoI."""
    width, height = pixels(box)
    row, column = peak(resize(evidence, width, height))
    x = box[0] + (column + 0.5) * max(box[2] - box[0], 1) / width
    y = box[1] + (row + 0.5) * max(box[3] - box[1], 1) / height
    return x, y, resize(logits, width, height)[row][column]
