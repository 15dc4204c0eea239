"""The articulated human body: its keypoints, plausible poses, and forward kinematics.

Frames. Body: x to the body's left, y up, z to where it faces; standing height = 1. Camera: x right, y up,
z towards the viewer, so that a body facing the camera shows its left on the right. Image: x right, y down,
pixels, a pixel's centre at +0.5. Index 0 of a pair is the left side, 1 the right.

Left and right follow from what can be seen (face, chest, toes, the way elbows and knees bend), as in people:
the mirror image of a figure with left and right swapped is as likely a figure as the original. A colour
that marks the left side would break this, and with it every flip in training and prediction.
"""

from dataclasses import dataclass

import numpy as np

KEYPOINTS = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
]  # fmt: skip
SKELETON = [  # 1-based, as COCO has it
    [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9], [8, 10],
    [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
]  # fmt: skip
FLIP_PAIRS = [[i, i + 1] for i in range(1, 17, 2)]

# Parts in the identity map; a pair's right side is the left's number + 1.
HEAD, TORSO, PELVIS, UPPER_ARM, FOREARM, THIGH, SHANK = 1, 2, 3, 4, 6, 8, 10
PARTS = 16  # numbers per figure
_JOINT_PARTS = {
    "shoulder": (TORSO, UPPER_ARM), "elbow": (UPPER_ARM, FOREARM), "wrist": (FOREARM,),
    "hip": (TORSO, PELVIS, THIGH), "knee": (THIGH, SHANK), "ankle": (SHANK,),
}  # fmt: skip


def own_parts(keypoint: int) -> set[int]:
    """The parts at whose surface a keypoint is visible; any other part on top hides it."""
    side, _, joint = KEYPOINTS[keypoint].partition("_")
    paired = {part + (side == "right") if part >= UPPER_ARM else part for part in _JOINT_PARTS.get(joint, ())}
    return paired or {HEAD}


@dataclass(frozen=True)
class Pose:
    """Angles in radians. Flexion moves a limb forward (knees: the shank backward)."""

    hip: np.ndarray
    hip_out: np.ndarray
    knee: np.ndarray
    arm: np.ndarray
    arm_out: np.ndarray
    elbow: np.ndarray
    elbow_turn: np.ndarray  # turns the plane in which the elbow bends; positive is inwards
    spine: np.ndarray  # bend forward, bend to the left, twist to the left
    head: np.ndarray  # nod, tilt to the left, turn to the left
    view: np.ndarray  # camera above, roll clockwise in the image, turn of the body to the image's right


@dataclass(frozen=True)
class Shape:
    """Proportions as multiples of an average build."""

    width: float
    limbs: float
    head: float
    thickness: float


def sample_pose(rng: np.random.Generator) -> Pose:
    """A plausible pose seen from a plausible side."""

    def pair(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, 2)

    hip, hip_out, knee = pair(-0.1, 0.2), pair(0.02, 0.2), pair(0.0, 0.25)
    arm, arm_out, elbow = pair(-0.3, 0.4), pair(0.08, 0.45), pair(0.05, 0.9)
    elbow_turn = pair(-0.5, 1.0)
    spine = rng.normal(0, [0.12, 0.1, 0.2])
    side = rng.permutation(2)  # which leg leads
    kinds = ["stand", "walk", "sit", "squat", "bend", "kick"]
    kind = rng.choice(kinds, p=[0.45, 0.39, 0.04, 0.04, 0.04, 0.04])
    if kind == "walk":
        stride = rng.uniform(0.25, 0.9)
        hip = np.array([stride, -0.6 * stride])[side]
        knee = np.array([rng.uniform(0.05, 0.6), rng.uniform(0.2, 0.5) + 0.9 * stride])[side]
        arm = np.array([-0.8 * stride, 0.9 * stride])[side] + pair(-0.2, 0.2)
        elbow = pair(0.1, 0.5) + rng.uniform(0, 1.3) * stride
    elif kind == "sit":
        hip, hip_out, knee = pair(1.2, 1.7), pair(0.0, 0.4), pair(1.0, 1.9)
        arm, elbow = pair(0.1, 0.9), pair(0.2, 1.4)
    elif kind == "squat":
        hip, hip_out, knee = pair(1.2, 2.1), pair(0.1, 0.6), pair(1.5, 2.3)
        arm, spine[0] = pair(0.2, 1.5), rng.uniform(0.1, 0.6)
    elif kind == "bend":
        hip, spine[0], arm = hip + rng.uniform(0.3, 0.8), rng.uniform(0.5, 1.2), pair(0.3, 1.6)
    elif kind == "kick":
        hip = np.array([rng.uniform(0.6, 1.6), rng.uniform(-0.3, 0.1)])[side]
        knee = np.array([rng.uniform(0.0, 1.6), rng.uniform(0.0, 0.4)])[side]
        hip_out = pair(0.05, 0.5)
    for s in np.flatnonzero(rng.random(2) < 0.4 if rng.random() < 0.5 else [False, False]):
        raised = rng.choice(["side", "up", "front", "hip"])  # an arm that does something of its own
        low, high = {"side": (1.0, 1.8), "up": (1.9, 2.9), "front": (0.0, 0.4), "hip": (0.6, 0.9)}[raised]
        arm_out[s] = rng.uniform(low, high)
        arm[s] = rng.uniform(0.8, 2.6) if raised == "front" else rng.uniform(-0.4, 0.3)
        elbow[s] = rng.uniform(1.4, 2.0) if raised == "hip" else rng.uniform(0.0, 1.9)
        elbow_turn[s] = rng.uniform(0.9, 1.5) if raised == "hip" else rng.uniform(-1.6, 1.0)
    yaw = rng.choice([0.0, np.pi, np.pi / 2, -np.pi / 2], p=[0.66, 0.22, 0.06, 0.06]) + rng.normal(0, 0.35)
    roll = rng.normal(0, 0.08)
    if rng.random() < 0.02:
        roll = rng.choice([-1, 1]) * rng.normal(np.pi / 2, 0.25)  # lying
    view = np.array([rng.normal(0.12, 0.12), roll, yaw])
    head = rng.normal(0, [0.2, 0.15, 0.45])
    return Pose(hip, hip_out, knee, arm, arm_out, elbow, elbow_turn, spine, head, view)


def rotation(x: float, z: float, y: float) -> np.ndarray:
    """(3, 3): turn by y about the y axis, then by x about x (the top goes to +z), by z about z (to +x)."""
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_z = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def _limb(side: int, flex: float, out: float, bend: float, turn: float) -> np.ndarray:
    """(3, 3) rows in the parent's frame: direction of the upper segment, of the lower, the lower's front."""
    sign = 1 - 2 * side
    down = np.array([sign * np.sin(out), -np.cos(out) * np.cos(flex), np.cos(out) * np.sin(flex)])
    front = np.array([0.0, np.sin(flex), np.cos(flex)])
    if turn:
        front = np.cos(turn) * front - sign * np.sin(turn) * np.cross(front, down)
    return np.stack(
        [down, np.cos(bend) * down + np.sin(bend) * front, np.cos(bend) * front - np.sin(bend) * down]
    )


@dataclass(frozen=True)
class Body:
    """The figure's joints in the camera frame, before scaling and placing."""

    joints: np.ndarray  # (17, 3) COCO keypoints
    hands: np.ndarray  # (2, 3) fingertips
    heels: np.ndarray  # (2, 3)
    toes: np.ndarray  # (2, 3)
    pelvis: np.ndarray  # (3, 3) rotation of the pelvis
    trunk: np.ndarray  # (3, 3) rotation of the chest
    head: np.ndarray  # (3, 3) rotation of the head
    skull: np.ndarray  # (3,) centre of the head


SKULL = np.array([0.066, 0.092, 0.08])  # half axes
FACE = np.array(  # nose, eyes, ears in units of the half axes
    [[0, -0.15, 1.13], [0.42, 0.14, 0.9], [-0.42, 0.14, 0.9], [1.02, -0.02, 0], [-1.02, -0.02, 0]]
)


def pose_body(pose: Pose, shape: Shape) -> Body:
    """Forward kinematics."""
    pelvis = rotation(*pose.view)
    trunk = pelvis @ rotation(pose.spine[0], pose.spine[1], pose.spine[2])
    head = trunk @ rotation(*pose.head)
    skull = trunk @ [0, 0.335, 0.0] + head @ np.array([0, 0.105, 0.012]) * shape.head
    joints = np.zeros((17, 3))
    joints[:5] = skull + (FACE * SKULL * shape.head) @ head.T
    hands, heels, toes = np.zeros((3, 2, 3))
    for s in range(2):
        sign = 1 - 2 * s
        upper, lower, _ = _limb(s, pose.arm[s], pose.arm_out[s], pose.elbow[s], pose.elbow_turn[s]) @ trunk.T
        shoulder = trunk @ [sign * 0.118 * shape.width, 0.285, 0]
        elbow = shoulder + 0.165 * shape.limbs * upper
        wrist = elbow + 0.14 * shape.limbs * lower
        hands[s] = wrist + 0.055 * lower
        upper, lower, front = _limb(s, pose.hip[s], pose.hip_out[s], -pose.knee[s], 0.0) @ pelvis.T
        hip = pelvis @ [sign * 0.07 * shape.width, 0, 0]
        knee = hip + 0.245 * shape.limbs * upper
        ankle = knee + 0.235 * shape.limbs * lower
        heels[s] = ankle + 0.025 * lower - 0.02 * front
        toes[s] = ankle + 0.04 * lower + 0.1 * front
        joints[5 + s :: 2] = shoulder, elbow, wrist, hip, knee, ankle
    return Body(joints, hands, heels, toes, pelvis, trunk, head, skull)
